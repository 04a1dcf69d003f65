/*
 * A descriptor of the program is closed: what that does to its locks.
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

/* A thread has returned from its wait for a lock, and has kept the lock or given
 * it back.  Outside the gate. */
void shim_closing_wait_is_over(void);

/* The descriptor was found to be another file by now: somebody closed it by a
 * way that the shim cannot see. */
void shim_closing_unseen(int fd);
