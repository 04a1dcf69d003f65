/*
 * Waiting for what others do to a file in a folder.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

/* Zeroed, but for `fd`, when it begins. */
struct folder_watch {
	int fd;         /* inotify(7); -1: none yet */
	int file;       /* the watch descriptor; 0: none */
	int64_t pause;  /* the last one, where it polls */
	bool is_polled; /* the file system, or the kernel, does not tell all */
	bool is_gone;   /* there was no file of that name */
};

/*
 * To be called before the look, or the try, whose result a wait is for: what
 * happens to the file of that name from now on ends the wait.  `is_local`:
 * folder_is_local().
 */
void folder_watch_begin(struct folder_watch *watch, int dir_fd, const char *name, bool is_local);

/*
 * Waits until something may have changed: 0, and the caller looks again; or until
 * `deadline` (CLOCK_MONOTONIC, INT64_MAX: none): -ETIMEDOUT; or -EINTR.  `look_at`
 * is when it is worth a look whatever happens, INT64_MAX: never; `process_fd` is a
 * descriptor that becomes readable when it is, for example pidfd_open(2) of the
 * holder, or -1.  Cancellation is as for wait_for().
 */
int folder_watch_wait(struct folder_watch *watch, int64_t deadline, int64_t look_at, int process_fd,
		      int cancel_state);

/* There is nothing to wait for, until it begins again. */
void folder_watch_rest(struct folder_watch *watch);

/* Ends it.  A child of fork(2) does so, too. */
void folder_watch_end(struct folder_watch *watch);
