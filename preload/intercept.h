/*
 * What the files of intercepted functions have in common.  The shim_kernel_*
 * do what the system call does and return 0 or more, or a negative errno.
 */
#pragma once

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>

#define EXPORT __attribute__((visibility("default")))

/* As libc's functions return: errno is not touched on success. */
static inline int shim_errno_result(long result)
{
	if (result >= 0)
		return (int)result;
	errno = (int)-result;
	return -1;
}

/* Does anything that this program locks belong to the process, so that its
 * descriptors have to be followed?  See semantics.c. */
extern _Atomic bool shim_tracks_descriptors;

static inline bool shim_is_tracking(void)
{
	return atomic_load_explicit(&shim_tracks_descriptors, memory_order_relaxed);
}

int shim_kernel_close(int fd);
int shim_kernel_close_range(unsigned first, unsigned last, unsigned flags);
/* fcntl with F_DUPFD or F_DUPFD_CLOEXEC, or dup. */
enum { SHIM_DUP = -1 };
int shim_kernel_dup(int fd, int command, long lowest);
int shim_kernel_dup2(int fd, int wanted);
int shim_kernel_dup3(int fd, int wanted, int flags);
/* Of syscall(2): no wait is a cancellation point. */
long shim_kernel_fcntl(int fd, int command, long argument);
int shim_kernel_execve(const char *path, char *const arguments[], char *const environment[]);
int shim_kernel_execveat(int folder, const char *path, char *const arguments[],
			 char *const environment[], int flags);
