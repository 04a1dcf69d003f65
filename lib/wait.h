/*
 * Waiting in the kernel for a lock, within a deadline.
 */
#pragma once

#include <stdint.h>

/*
 * How a kernel lock that covers a file, or a range of it, is set.  `how` means
 * what the implementation wants it to (a mode, a range); `wait` is false for
 * "at once or -EAGAIN".  With `wait` it is a cancellation point, in the sense
 * that pthread_cancel() ends the wait; the grant may have won by then.
 */
struct wait_operation {
	int (*set)(int fd, const void *how, int wait);
	/* After a wait that was given up: the lock may have been granted all
	 * the same; set it as it was before. */
	void (*restore)(int fd, const void *before);
};

/*
 * Sets a lock, waiting until the deadline (CLOCK_MONOTONIC; INT64_MAX: for
 * ever).  To be called with cancellation disabled; it is enabled while waiting
 * if `cancel_state`, the caller's former state, says so.
 *
 * -ETIMEDOUT, -EINTR, or what set() returned.
 */
int wait_for(const struct wait_operation *operation, int fd, const void *how, const void *before,
	     int64_t deadline, int cancel_state);

/* The same by trying again and again, which never leaves it open whether the
 * lock was granted. */
int wait_by_polling(const struct wait_operation *operation, int fd, const void *how,
		    int64_t deadline, int cancel_state);
