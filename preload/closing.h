/*
 * A descriptor of the program is closed or duplicated: what that does to its locks.
 *
 * In the kernel the locks go after the descriptor has, and so they do here:
 *
 *	struct shim_closing closing;
 *	shim_closing_begin(&closing, fd);
 *	... the close itself ...
 *	shim_closing_end(&closing);        or, if it was not closed,
 *	shim_closing_undo(&closing);
 *
 * In between the tables do not know the descriptor, so that its number can
 * already be another one's.
 */
#pragma once

#include "descriptors.h"

struct shim_closing {
	int fd;
	descriptor_tag tag;
};

void shim_closing_begin(struct shim_closing *closing, int fd);
void shim_closing_end(struct shim_closing *closing);
void shim_closing_undo(struct shim_closing *closing);

/* There may be files that only calls that are under way keep here. */
extern _Atomic bool shim_closing_has_orphans;
void shim_closing_sweep(void);
/* A lock call is over (calls.h).  Outside the gate. */
static inline void shim_closing_call_is_over(void)
{
	if (atomic_load(&shim_closing_has_orphans))
		shim_closing_sweep();
}

/* The descriptor was found to be another file by now: somebody closed it by a
 * way that the shim cannot see.  Inside the gate. */
void shim_closing_unseen(int fd);

/* Nothing has come of a lock on this file: its record goes, if no descriptor has it.
 * Inside the gate. */
void shim_closing_unneeded(uint32_t file);

/* After the close of a descriptor that was not locked through: another thread may
 * just have begun to. */
void shim_closing_look_again(int fd);
static inline void shim_closing_look(int fd)
{
	if (tag_file(descriptor_tag_of(fd)))
		shim_closing_look_again(fd);
}

/* `copy` has just been made a duplicate of `fd` by the program. */
void shim_duplicated(int fd, int copy);
