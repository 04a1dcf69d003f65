/*
 * Holders that are looked at again and again: the look that found a holder with
 * its descriptor leaves the folder /proc/PID/fd open, and for a tenth of a second the
 * next ones only see whether the descriptor is there.
 *
 * An open folder of /proc/PID belongs to that process and to no other one, also
 * when the number is used again.  The entry of a descriptor is looked up anew each
 * time, and has the rights that the descriptor gives (tid_fd_revalidate() in
 * fs/proc/fd.c).  So a holder that has ended, or has closed the descriptor, is seen
 * to have done so at once; one that has opened something else by the same number
 * and for the same access, when the tenth of a second is over.
 *
 * A look is a system call then in place of twelve, and it waits for nobody: it is
 * the session thread's own, and no errand.  What tells the file itself cannot be:
 * to follow the link waits for an execve(2) of the process (process.h), and to read
 * its fdinfo for whatever the file there may be; that of an epoll(7) waits while
 * another thread is in epoll_wait(2), and writes to memory that a FUSE server
 * of the user's own has to provide.
 */
#pragma once

#include "entry.h"

/* What a look leaves behind. */
struct sight {
	int folder; /* /proc/PID/fd; -1: nothing */
	mode_t mode;
	char number[12];
	int64_t taken; /* CLOCK_MONOTONIC */
};

#define SIGHT_NONE ((struct sight){.folder = -1})

/* The process has the file open by this number, and can be looked at again so.
 * Not in the session thread. */
bool sight_take(struct sight *ret, const struct process *process, int number, dev_t device,
		ino_t inode);
void sight_drop(struct sight *sight);

struct sights;

/* NULL without memory. */
struct sights *sights_new(void);
void sights_free(struct sights *sights);

/* The handle's holder lives, and has the descriptor that it holds by, now.  False:
 * that is not known. */
bool sights_see(struct sights *sights, const struct handle *handle);
/* It was looked for a moment ago already: it pays to keep what the look, which
 * comes next, will have seen. */
bool sights_want(struct sights *sights, const struct handle *handle);
/* Keeps it, if it is of that holder that is wanted; it is the callee's. */
void sights_keep(struct sights *sights, uint64_t handle, const struct process *holder,
		 struct sight *sight);

/* Forgets all, and closes what is open for them. */
void sights_forget(struct sights *sights);
bool sights_any(const struct sights *sights);
