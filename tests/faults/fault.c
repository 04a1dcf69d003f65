#include "fault.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Not among them: what would be a lie and not a failure, as ESRCH of a process
 * that lives. */
static const struct {
	const char *name;
	int errors[10];
} calls[FAULT_CALLS] = {
	[FAULT_OPENAT] = {"openat", {EMFILE, EACCES, EROFS, ENOSPC, ENOMEM, EIO}},
	[FAULT_OPEN] = {"open", {EMFILE, EACCES, ENOMEM}},
	[FAULT_SETLK] = {"F_OFD_SETLK", {ENOLCK, EIO, EACCES}},
	[FAULT_SETLKW] = {"F_OFD_SETLKW", {ENOLCK, EINTR}},
	[FAULT_GETLK] = {"F_OFD_GETLK", {EINVAL, EIO}},
	[FAULT_GETFL] = {"F_GETFL", {EPERM}},
	[FAULT_SETFL] = {"F_SETFL", {EPERM}},
	[FAULT_SETFD] = {"F_SETFD", {EPERM}},
	[FAULT_FLOCK] = {"flock", {ENOLCK, EINTR, EIO}},
	[FAULT_FSTAT] = {"fstat", {EIO, ENOMEM, ESTALE}},
	[FAULT_FSTATAT] = {"fstatat", {EIO, EACCES, ENOENT}},
	[FAULT_STAT] = {"stat", {EIO, ENOENT}},
	[FAULT_LSTAT] = {"lstat", {EIO}},
	[FAULT_STATX] = {"statx", {EIO, ENOSYS}},
	[FAULT_FSTATFS] = {"fstatfs", {ENOSYS}},
	[FAULT_PREAD] = {"pread", {EIO, EINTR}},
	[FAULT_PWRITE] = {"pwrite", {ENOSPC, EIO, EDQUOT, EINTR, FAULT_SHORT_WRITE}},
	[FAULT_READ] = {"read", {EIO, EINTR}},
	[FAULT_WRITE] = {"write", {ENOSPC, EDQUOT, EIO, EINTR, EROFS}},
	[FAULT_FUTIMENS] = {"futimens", {EIO, EROFS, EPERM, ESTALE}},
	[FAULT_LINKAT] = {"linkat",
			  {ENOENT, EPERM, ENOSPC, EMLINK, EDQUOT, EIO, ESTALE, FAULT_LOST_REPLY}},
	[FAULT_FCHMOD] = {"fchmod", {EPERM, EROFS}},
	[FAULT_UNLINKAT] = {"unlinkat", {EPERM, EROFS, EIO, ESTALE}},
	[FAULT_RENAMEAT] = {"renameat", {ENOSPC, EPERM, EROFS, EIO, EDQUOT, FAULT_LOST_REPLY}},
	[FAULT_UTIMENSAT] = {"utimensat", {EPERM}},
	[FAULT_OPENDIR] = {"opendir", {EMFILE, EACCES, ENOENT}},
	[FAULT_FDOPENDIR] = {"fdopendir", {ENOMEM}},
	[FAULT_READDIR] = {"readdir", {EIO}},
	[FAULT_READLINK] = {"readlink", {EACCES, ENOENT}},
	[FAULT_ACCESS] = {"access", {ENOENT}},
	[FAULT_MALLOC] = {"malloc", {ENOMEM}},
	[FAULT_CALLOC] = {"calloc", {ENOMEM}},
	[FAULT_REALLOC] = {"realloc", {ENOMEM}},
	[FAULT_REALLOCARRAY] = {"reallocarray", {ENOMEM}},
	[FAULT_STRDUP] = {"strdup", {ENOMEM}},
	[FAULT_PTHREAD_CREATE] = {"pthread_create", {EAGAIN, EPERM}},
	[FAULT_DLOPEN] = {"dlopen", {ENOENT}},
	[FAULT_PIDFD_OPEN] = {"pidfd_open", {EMFILE, ENOSYS, EPERM}},
	[FAULT_PIDFD_GETFD] = {"pidfd_getfd", {EPERM, ENOSYS, EMFILE}},
	[FAULT_INOTIFY_INIT] = {"inotify_init1", {EMFILE}},
	[FAULT_INOTIFY_ADD] = {"inotify_add_watch", {ENOSPC}},
	[FAULT_GETRANDOM] = {"getrandom", {EAGAIN}},
};

/* Threads of the library make calls, too. */
static atomic_int armed = FAULT_CALLS;
static atomic_uint left;
static atomic_int armed_error;
static atomic_bool hit;

const char *fault_name(enum fault_call call)
{
	return calls[call].name;
}

const int *fault_errors(enum fault_call call)
{
	return calls[call].errors;
}

void fault_arm(enum fault_call call, unsigned n, int error)
{
	hit = false;
	left = n;
	armed_error = error;
	armed = (int)call;
}

bool fault_disarm(void)
{
	armed = FAULT_CALLS;
	return hit;
}

/* Sets errno if this is the call that shall fail. */
static bool is_due(enum fault_call call)
{
	if (armed != (int)call || atomic_fetch_sub(&left, 1) != 1)
		return false;
	hit = true;
	armed = FAULT_CALLS;
	errno = armed_error;
	return true;
}

/*
 * A call of fixed arguments: what the library calls NAME comes to __wrap_NAME,
 * and __real_NAME is libc's.
 */
#define WRAP(call, failure, type, name, parameters, arguments)                                     \
	type __real_##name parameters;                                                             \
	type __wrap_##name parameters;                                                             \
	type __wrap_##name parameters                                                              \
	{                                                                                          \
		if (is_due(call))                                                                  \
			return failure;                                                            \
		return __real_##name arguments;                                                    \
	}

WRAP(FAULT_FLOCK, -1, int, flock, (int fd, int operation), (fd, operation))
WRAP(FAULT_FSTAT, -1, int, fstat64, (int fd, struct stat *ret), (fd, ret))
WRAP(FAULT_FSTATAT, -1, int, fstatat64, (int fd, const char *path, struct stat *ret, int flags),
     (fd, path, ret, flags))
WRAP(FAULT_STAT, -1, int, stat64, (const char *path, struct stat *ret), (path, ret))
WRAP(FAULT_LSTAT, -1, int, lstat64, (const char *path, struct stat *ret), (path, ret))
WRAP(FAULT_STATX, -1, int, statx,
     (int fd, const char *path, int flags, unsigned mask, struct statx *ret),
     (fd, path, flags, mask, ret))
WRAP(FAULT_FSTATFS, -1, int, fstatfs64, (int fd, struct statfs *ret), (fd, ret))
WRAP(FAULT_PREAD, -1, ssize_t, pread64, (int fd, void *to, size_t size, off_t at),
     (fd, to, size, at))
WRAP(FAULT_READ, -1, ssize_t, read, (int fd, void *to, size_t size), (fd, to, size))
WRAP(FAULT_FCHMOD, -1, int, fchmod, (int fd, mode_t mode), (fd, mode))
WRAP(FAULT_UNLINKAT, -1, int, unlinkat, (int fd, const char *path, int flags), (fd, path, flags))
WRAP(FAULT_WRITE, -1, ssize_t, write, (int fd, const void *from, size_t size), (fd, from, size))
WRAP(FAULT_FUTIMENS, -1, int, futimens, (int fd, const struct timespec *times), (fd, times))
WRAP(FAULT_UTIMENSAT, -1, int, utimensat,
     (int fd, const char *path, const struct timespec *times, int flags), (fd, path, times, flags))
WRAP(FAULT_OPENDIR, NULL, DIR *, opendir, (const char *path), (path))
WRAP(FAULT_FDOPENDIR, NULL, DIR *, fdopendir, (int fd), (fd))
WRAP(FAULT_READDIR, NULL, struct dirent *, readdir64, (DIR * dir), (dir))
WRAP(FAULT_READLINK, -1, ssize_t, readlink, (const char *path, char *to, size_t size),
     (path, to, size))
WRAP(FAULT_ACCESS, -1, int, access, (const char *path, int mode), (path, mode))
WRAP(FAULT_MALLOC, NULL, void *, malloc, (size_t size), (size))
WRAP(FAULT_CALLOC, NULL, void *, calloc, (size_t count, size_t size), (count, size))
WRAP(FAULT_REALLOC, NULL, void *, realloc, (void *pointer, size_t size), (pointer, size))
WRAP(FAULT_REALLOCARRAY, NULL, void *, reallocarray, (void *pointer, size_t count, size_t size),
     (pointer, count, size))
WRAP(FAULT_STRDUP, NULL, char *, strdup, (const char *text), (text))
WRAP(FAULT_PTHREAD_CREATE, armed_error, int, pthread_create,
     (pthread_t * thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument),
     (thread, attributes, run, argument))
WRAP(FAULT_DLOPEN, NULL, void *, dlopen, (const char *name, int flags), (name, flags))
WRAP(FAULT_INOTIFY_INIT, -1, int, inotify_init1, (int flags), (flags))
WRAP(FAULT_INOTIFY_ADD, -1, int, inotify_add_watch, (int fd, const char *path, uint32_t mask),
     (fd, path, mask))
WRAP(FAULT_GETRANDOM, -1, ssize_t, getrandom, (void *to, size_t size, unsigned flags),
     (to, size, flags))

int __real_linkat(int from, const char *old_path, int to, const char *new_path, int flags);
int __wrap_linkat(int from, const char *old_path, int to, const char *new_path, int flags);
int __wrap_linkat(int from, const char *old_path, int to, const char *new_path, int flags)
{
	if (!is_due(FAULT_LINKAT))
		return __real_linkat(from, old_path, to, new_path, flags);
	if (armed_error == FAULT_LOST_REPLY) {
		(void)__real_linkat(from, old_path, to, new_path, flags);
		errno = EEXIST;
	}
	return -1;
}

int __real_renameat(int from, const char *old_path, int to, const char *new_path);
int __wrap_renameat(int from, const char *old_path, int to, const char *new_path);
int __wrap_renameat(int from, const char *old_path, int to, const char *new_path)
{
	if (!is_due(FAULT_RENAMEAT))
		return __real_renameat(from, old_path, to, new_path);
	if (armed_error == FAULT_LOST_REPLY) {
		(void)__real_renameat(from, old_path, to, new_path);
		errno = ENOENT;
	}
	return -1;
}

ssize_t __real_pwrite64(int fd, const void *from, size_t size, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *from, size_t size, off_t at);
ssize_t __wrap_pwrite64(int fd, const void *from, size_t size, off_t at)
{
	if (!is_due(FAULT_PWRITE))
		return __real_pwrite64(fd, from, size, at);
	return armed_error == FAULT_SHORT_WRITE ? __real_pwrite64(fd, from, size / 2, at) : -1;
}

/* Calls of variable arguments: one, or none, that is passed on as it came. */

int __real_openat64(int fd, const char *path, int flags, mode_t mode);
int __wrap_openat64(int fd, const char *path, int flags, ...);
int __wrap_openat64(int fd, const char *path, int flags, ...)
{
	va_list arguments;

	if (is_due(FAULT_OPENAT))
		return -1;
	va_start(arguments, flags);
	mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	return __real_openat64(fd, path, flags, mode);
}

int __real_open64(const char *path, int flags, mode_t mode);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...)
{
	va_list arguments;

	if (is_due(FAULT_OPEN))
		return -1;
	va_start(arguments, flags);
	mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(arguments, mode_t) : 0;
	va_end(arguments);
	return __real_open64(path, flags, mode);
}

static enum fault_call fault_of_fcntl(int command)
{
	switch (command) {
	case F_OFD_SETLK:
		return FAULT_SETLK;
	case F_OFD_SETLKW:
		return FAULT_SETLKW;
	case F_OFD_GETLK:
		return FAULT_GETLK;
	case F_GETFL:
		return FAULT_GETFL;
	case F_SETFL:
		return FAULT_SETFL;
	case F_SETFD:
		return FAULT_SETFD;
	default:
		return FAULT_CALLS;
	}
}

int __real_fcntl64(int fd, int command, void *argument);
int __wrap_fcntl64(int fd, int command, ...);
int __wrap_fcntl64(int fd, int command, ...)
{
	enum fault_call call = fault_of_fcntl(command);
	va_list arguments;

	if (call != FAULT_CALLS && is_due(call))
		return -1;
	va_start(arguments, command);
	void *argument = va_arg(arguments, void *);
	va_end(arguments);
	return __real_fcntl64(fd, command, argument);
}

static enum fault_call fault_of_syscall(long number)
{
	switch (number) {
	case SYS_fstat:
		return FAULT_FSTAT;
	case SYS_flock:
		return FAULT_FLOCK;
	case SYS_pidfd_open:
		return FAULT_PIDFD_OPEN;
	case SYS_pidfd_getfd:
		return FAULT_PIDFD_GETFD;
	default:
		return FAULT_CALLS;
	}
}

long __real_syscall(long number, long a, long b, long c, long d, long e, long f);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
	enum fault_call call = fault_of_syscall(number);
	long with[6];
	va_list arguments;

	if (call != FAULT_CALLS && is_due(call))
		return -1;
	va_start(arguments, number);
	for (size_t i = 0; i < 6; i++)
		with[i] = va_arg(arguments, long);
	va_end(arguments);
	return __real_syscall(number, with[0], with[1], with[2], with[3], with[4], with[5]);
}
