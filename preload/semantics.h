/*
 * What a record lock means: the seam between the calls that a program makes
 * (intercept.c) and the locks that the kernel gets to see.
 *
 * A semantics is a table of functions, one file each.  They are handed the
 * program's own struct flock, not a copy: the kernel shall be the one that
 * reads it first, so that a bad pointer is EFAULT and never a crash of ours.
 * Results are what the kernel returns, 0 or a negative errno; errno itself is
 * not touched.
 */
#pragma once

#include <fcntl.h>
#include <stdbool.h>

#include "settings.h"

/* What to do about a conflict. */
enum shim_wait {
	SHIM_AT_ONCE,          /* F_SETLK */
	SHIM_WAIT,             /* F_SETLKW by syscall(2), which nothing cancels */
	SHIM_WAIT_CANCELLABLE, /* F_SETLKW by fcntl(2) or lockf(3) */
};

struct shim_semantics {
	const char *name;
	/* F_SETLK and F_SETLKW: lock or unlock. */
	int (*set)(int fd, struct flock *request, enum shim_wait wait);
	/* F_GETLK: answers in the program's struct, with the holder's true pid. */
	int (*get)(int fd, struct flock *request);
	/* What lockf(F_TEST) needs of F_GETLK: `request` is the shim's own, and
	 * l_pid comes back as the kernel gives it, -1 for an OFD lock. */
	int (*test)(int fd, struct flock *request);
};

extern const struct shim_semantics shim_semantics_process;
extern const struct shim_semantics shim_semantics_ofd;
extern const struct shim_semantics shim_semantics_legacy;

/* The semantics of a call on `fd`: the one asked for, but legacy calls on file
 * systems where OFD locks would do harm.  That takes less where the call is
 * known to be an unlock. */
const struct shim_semantics *shim_semantics_for(const struct shim_settings *settings, int fd,
						bool is_unlock);

/* How the calls on `fd` are carried out, where `process` leaves a file to
 * others. */
const char *shim_semantics_name(const struct shim_semantics *semantics, int fd);

/* F_GETLK as the program made it on `fd`, answered by an F_OFD_GETLK on
 * `asked`, which is `fd` or another description of the same file. */
int shim_ofd_answer(int fd, int asked, struct flock *request);

/* Notes once, under RELOCK_DEBUG, that the kernel has none. */
void shim_note_no_ofd_locks(void);

/* F_SETLK, F_SETLKW, F_OFD_SETLK or F_OFD_SETLKW in the kernel; a cancellation
 * point with SHIM_WAIT_CANCELLABLE, else not. */
int shim_kernel_lock(int fd, int command, struct flock *request, enum shim_wait wait);
