/*
 * Holders that are looked at again and again: the look that found a holder with
 * its descriptor leaves the file of /proc that says so open, and the next one
 * reads that.
 *
 * An open file of /proc/PID/fdinfo belongs to that process and to no other one,
 * also when the number is used again, and to its descriptor of that number: it
 * is made anew at each read, which fails once process or descriptor is gone
 * (seq_show() in fs/proc/fd.c).  So as long as it reads as it did, byte for byte,
 * the holder lives and has the same file of the same mount open.  If it reads
 * otherwise, which a write to the descriptor is enough for, somebody looks anew.
 *
 * A look is a system call then in place of twelve, and none of them waits for
 * anybody: it is the session thread's own, and no errand.
 */
#pragma once

#include "entry.h"

/* What a look leaves behind. */
struct sight {
	int fd; /* of /proc/PID/fdinfo/N; -1: nothing */
	size_t length;
	char text[128];
};

#define SIGHT_NONE ((struct sight){.fd = -1})

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
