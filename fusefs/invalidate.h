/*
 * Making the kernel forget names that are gone.
 *
 * It keeps the inode of every name ever used, and sends no FORGET by itself.
 * Since Linux 6.18 it can be asked to give one up.  Before, there is only
 * fuse_lowlevel_notify_inval_entry(), which takes the lock of the directory: a
 * process may hold that while it waits for an answer of the session thread.  So
 * it is called by a thread of its own.  If the daemon is killed while that thread
 * waits, both wait for ever, and the connection that the thread has open does
 * not end, but in a supervised mount.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct fuse_session;
struct invalidator;

/* -ENOMEM, -EAGAIN */
int invalidator_start(struct invalidator **ret, struct fuse_session *session, int stopped_event);
/* Queues a name and its inode; without memory, it is forgotten later. */
void invalidator_add(struct invalidator *invalidator, uint64_t parent, const char *name,
		     uint64_t inode);
/* No more names.  `stopped_event` is written to when the last call is over;
 * until then the session must be served. */
void invalidator_stop(struct invalidator *invalidator);
bool invalidator_has_stopped(struct invalidator *invalidator);
/* After that, or after the end of the connection. */
void invalidator_free(struct invalidator *invalidator);
