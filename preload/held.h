/*
 * The OFD locks of one open file description of our own: the kernel knows them
 * best, so nobody else keeps a list.
 */
#pragma once

#include <fcntl.h>
#include <stdint.h>

/*
 * The first lock at or behind the byte `from`, in *ret: type, l_start and
 * l_len from the beginning of the file, where l_len 0 reaches to the end.
 * 1 if there is one, 0 if there is none, or a negative errno where they cannot
 * be seen: Linux before 6.6 shows them in /proc only.
 */
int shim_held_next(int fd, off_t from, struct flock *ret);

/* The same on any kernel, where there is a /proc. */
int shim_held_next_by_proc(int fd, off_t from, struct flock *ret);

/* The last byte of such an answer. */
static inline off_t shim_held_last(const struct flock *held)
{
	return held->l_len == 0 ? INT64_MAX : held->l_start + held->l_len - 1;
}
