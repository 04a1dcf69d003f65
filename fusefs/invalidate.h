/*
 * Making the kernel forget names that are gone.
 *
 * It keeps the inode of every name ever used, and sends no FORGET by itself;
 * fuse_lowlevel_notify_inval_entry() makes it.  That call takes the lock of
 * the directory in the kernel, which a process may hold that waits for an
 * answer of the session thread: so it is made by a thread of its own.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct fuse_session;
struct invalidator;

/* -ENOMEM, -EAGAIN */
int invalidator_start(struct invalidator **ret, struct fuse_session *session, int stopped_event);
/* Queues a name; without memory, it is forgotten later. */
void invalidator_add(struct invalidator *invalidator, uint64_t parent, const char *name);
/* No more names.  `stopped_event` is written to when the last call is over;
 * until then the session must be served. */
void invalidator_stop(struct invalidator *invalidator);
bool invalidator_has_stopped(struct invalidator *invalidator);
/* After that, or after the end of the connection. */
void invalidator_free(struct invalidator *invalidator);
