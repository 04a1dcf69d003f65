/*
 * A child that asks what may never be answered.
 *
 * A daemon that is stopped, or stuck, answers nobody, and who asks it waits in
 * the kernel, where perhaps not even SIGKILL ends the wait.  So a child asks, and
 * writes to a pipe what it has learnt; when patience is at an end it is left to
 * itself.  Not a thread: its process could not end before it does.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct courier {
	pid_t child;
	int in;
	bool is_late;
};

/* Runs in the child, which ends when it returns. */
typedef void courier_work(int out, void *argument);

/* Writes all of it, or ends the child. */
void courier_tell(int out, const void *bytes, size_t size);

/* Errors of pipe(2) and fork(2). */
int courier_send(struct courier *ret, courier_work *work, void *argument);

/* Exactly so many bytes, within `patience` nanoseconds: -ETIMEDOUT; -EIO if the
 * child has ended before. */
int courier_hear(struct courier *courier, void *bytes, size_t size, int64_t patience);

/* Ends the child, or leaves it to itself if it was late. */
void courier_end(struct courier *courier);
