/*
 * The OFD locks of one open file description of our own: the kernel knows them
 * best, so nobody else keeps a list.
 */
#pragma once

#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>

/* One of them: type, l_start and l_len from the beginning of the file, where
 * l_len 0 reaches to the end; l_pid is 0.  False: no more. */
typedef bool shim_held_visit(void *argument, const struct flock *held);

/*
 * Calls visit(argument, lock) for each, from the first byte to the last.  0, or
 * a negative errno where they cannot be seen: Linux before 6.6 shows them in
 * /proc only.
 */
int shim_held_each(int fd, shim_held_visit *visit, void *argument);

/* The same on any kernel, where there is a /proc. */
int shim_held_each_by_proc(int fd, shim_held_visit *visit, void *argument);

/* The last byte of such an answer. */
static inline off_t shim_held_last(const struct flock *held)
{
	return held->l_len == 0 ? INT64_MAX : held->l_start + held->l_len - 1;
}
