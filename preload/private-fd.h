/*
 * Descriptors of the shim's own, out of the program's way.
 *
 * A program counts on the lowest free number, asks for numbers by dup2(2), and
 * closes what it does not know.  So ours lie where few programs look, and
 * everything that closes descriptors leaves them alone.  They are
 * close-on-exec, but for those that execve(2) hands over (handover.h).
 */
#pragma once

#include <limits.h>
#include <stdatomic.h>
#include <stdbool.h>

/* open(2), also where the program has used up its limit of descriptors. */
int shim_private_open(const char *path, int flags);
/* A duplicate of one of the program's, for a moment; or a negative errno. */
int shim_private_duplicate(int fd);
/* Moves a descriptor to its place, and makes it close-on-exec and known as one
 * of ours.  Returns the new number.  On failure closes it, and returns a
 * negative errno. */
int shim_private_place(int fd);
/* Gives it a new number, as the program wants this one; or a negative errno,
 * and nothing has changed. */
int shim_private_move(int fd);
void shim_private_close(int fd);

/* None of ours is below. */
extern _Atomic int shim_private_lowest;
bool shim_private_has(int fd);

static inline bool shim_is_private(int fd)
{
	return fd >= atomic_load_explicit(&shim_private_lowest, memory_order_acquire) &&
	       shim_private_has(fd);
}

/* The first of ours from `from` on, or INT_MAX. */
int shim_private_next(int from);
/* After execve(2): this one was handed over. */
bool shim_private_adopt(int fd);
/* In a forked child: closes all of them, and knows of none any more. */
void shim_private_close_all(void);
/* The one and the other by itself. */
void shim_private_close_copies(void);
void shim_private_forget_all(void);
