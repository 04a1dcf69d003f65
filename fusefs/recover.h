/*
 * Going on where another process was killed.
 *
 * A supervised mount writes down what it knows (ledger.h), and has the kernel
 * send again what was not answered (wire.h).  That comes in any order: so
 * those who were parked take their old places first, and until the last request
 * has come again nobody is served.  It has when the first request comes that
 * was never sent before: the kernel puts those that come again in front.
 *
 * A request may have done its work, and only not been answered.  So each is
 * handled so that it can come twice: a grant is found by the request that asked
 * for it, a lookup is counted once, a break takes only what was there.
 */
#pragma once

#include <stdbool.h>

#include "server.h"

/*
 * In a new serving process, before the first request: brings back what the
 * ledger has, if it has anything.  Negative errno if the mount is gone.
 */
int recover_begin(struct server *server);

/*
 * Each request passes here before it is processed, and again after.  False: it
 * is not to be processed, it has been answered.
 */
bool recover_request(struct server *server, const struct fuse_buf *buffer);
void recover_request_done(struct server *server);

/* There is no request to read: all have come again that will. */
void recover_is_idle(struct server *server);

/* Closes what a former process has opened, and does not belong to a hold. */
void recover_close_descriptors(struct ledger *ledger, const int *keep, size_t keep_count);
