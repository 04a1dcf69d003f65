/*
 * Makes the n-th call of one kind fail, with any errno.
 *
 * The tests link the library's objects, and the linker leads their calls of
 * libc here (ld --wrap), so a fault hits librelock and the test itself, but
 * not libc's own use of the same calls.  Works the same under a sanitizer,
 * whose own interceptors are then what is called in the end.
 */
#pragma once

#include <stdbool.h>

/* Each kind has its plausible errors in fault.c.  fcntl(2) and syscall(2)
 * count by what they are asked for. */
enum fault_call {
	FAULT_OPENAT,
	FAULT_OPEN,
	FAULT_SETLK,
	FAULT_SETLKW,
	FAULT_GETLK,
	FAULT_GETFL,
	FAULT_SETFL,
	FAULT_SETFD,
	FAULT_FLOCK,
	FAULT_FSTAT,
	FAULT_FSTATAT,
	FAULT_STAT,
	FAULT_LSTAT,
	FAULT_STATX,
	FAULT_FSTATFS,
	FAULT_PREAD,
	FAULT_PWRITE,
	FAULT_READ,
	FAULT_WRITE,
	FAULT_FUTIMENS,
	FAULT_LINKAT,
	FAULT_FCHMOD,
	FAULT_UNLINKAT,
	FAULT_RENAMEAT,
	FAULT_UTIMENSAT,
	FAULT_OPENDIR,
	FAULT_FDOPENDIR,
	FAULT_READDIR,
	FAULT_READLINK,
	FAULT_ACCESS,
	FAULT_MALLOC,
	FAULT_CALLOC,
	FAULT_REALLOC,
	FAULT_REALLOCARRAY,
	FAULT_STRDUP,
	FAULT_PTHREAD_CREATE,
	FAULT_DLOPEN,
	FAULT_PIDFD_OPEN,
	FAULT_PIDFD_GETFD,
	FAULT_INOTIFY_INIT,
	FAULT_INOTIFY_ADD,
	FAULT_GETRANDOM,
	FAULT_CALLS,
};

/* A write that stops in the middle instead of failing. */
#define FAULT_SHORT_WRITE (-1)
/* linkat and renameat: it is done, but the reply was lost, and what repeated the
 * request found EEXIST or ENOENT. */
#define FAULT_LOST_REPLY (-2)

const char *fault_name(enum fault_call call);
/* The errors to try, ended by 0. */
const int *fault_errors(enum fault_call call);

/* The n-th call from now on (from 1) fails, once. */
void fault_arm(enum fault_call call, unsigned n, int error);
/* No fault any more.  Did it happen? */
bool fault_disarm(void);
