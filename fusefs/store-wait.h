/*
 * Waiting for a lock that somebody holds in the store directly.
 *
 * The session thread must not block, and the kernel's wait for a lock is a
 * system call that does: so a contended name gets a thread that waits in
 * relock_acquire().  When it has the lock it says so through an event
 * descriptor.  It is ended by pthread_cancel(): relock_acquire() is a
 * cancellation point while it waits, and leaves the lock as it was.
 *
 * One thread a name, not one a waiter: it waits for whoever is first in the
 * mount's own queue, and the lock is passed on from there.
 */
#pragma once

#include <relock.h>
#include <stdbool.h>

struct entry;
struct store_wait;

/* All waits of a mount. */
struct store_waits;

/* `event` is an eventfd, written to when store_waits_next_done() has something
 * to say.  NULL without memory. */
struct store_waits *store_waits_new(int event);
/* No wait may be left. */
void store_waits_free(struct store_waits *waits);

/*
 * Starts to wait with `lock`, which belongs to the wait from then on; the
 * request is copied, with its on_behalf; it has neither command nor info of its
 * own.
 *
 * -ENOMEM, -EAGAIN (no more threads)
 */
int store_wait_start(struct store_wait **ret, struct store_waits *waits, struct entry *entry,
		     relock_lock *lock, const struct relock_request *request);

struct entry *store_wait_entry(const struct store_wait *wait);
enum relock_mode store_wait_mode(const struct store_wait *wait);

/* The thread sleeps in the kernel: it has its place among the store's
 * waiters. */
bool store_wait_is_queued(const struct store_wait *wait);

/* A wait that is over and has not been ended yet, or NULL. */
struct store_wait *store_waits_next_done(struct store_waits *waits);

/*
 * Ends a wait, done or not, and frees it.  Gives the lock back to the caller,
 * in `ret_lock`: held if the result is 0, else not.
 *
 * -ECANCELED: it was still waiting; or the error of relock_acquire()
 */
int store_wait_end(struct store_wait *wait, relock_lock **ret_lock);
