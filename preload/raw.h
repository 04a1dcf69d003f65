/*
 * System calls without libc.
 *
 * The shim runs inside fcntl(2) of somebody else's program: before libc's own
 * constructors, in a signal handler, in a vfork child, with errno to be left
 * alone on success.  A system call made here sets no errno, is no cancellation
 * point and goes through no symbol that could lead back to the shim (syscall
 * itself is one of those it defines).  Everything returns what the kernel
 * returned: a value, or a negative errno.
 *
 * The one wait that must be a cancellation point goes through glibc's
 * __fcntl instead; see shim_kernel_lock().
 */
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/vfs.h>
#include <time.h>

/* Half the width, and an offset would not fit the registers used here; the
 * two commands of each kind (F_SETLK, F_SETLK64) would be different ones. */
_Static_assert(sizeof(long) == 8 && sizeof(void *) == 8, "64-bit architectures only");
_Static_assert(F_SETLK == F_SETLK64 && F_SETLKW == F_SETLKW64 && F_GETLK == F_GETLK64,
	       "struct flock is struct flock64");

#if defined(__x86_64__)
static inline long raw_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}
#elif defined(__aarch64__)
static inline long raw_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	register long x8 __asm__("x8") = number;
	register long x0 __asm__("x0") = a;
	register long x1 __asm__("x1") = b;
	register long x2 __asm__("x2") = c;
	register long x3 __asm__("x3") = d;
	register long x4 __asm__("x4") = e;
	register long x5 __asm__("x5") = f;

	__asm__ volatile("svc 0"
			 : "+r"(x0)
			 : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), "r"(x5)
			 : "memory");
	return x0;
}
#else
#error "raw_syscall() and syscall.S need this architecture's calling convention"
#endif

static inline int raw_fcntl(int fd, int command, void *argument)
{
	return (int)raw_syscall(SYS_fcntl, fd, command, (long)argument, 0, 0, 0);
}

static inline int raw_openat(int directory, const char *path, int flags, mode_t mode)
{
	return (int)raw_syscall(SYS_openat, directory, (long)path, flags, (long)mode, 0, 0);
}

static inline void raw_close(int fd)
{
	raw_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
}

/* Ownership of a descriptor that a function opens for itself. */
static inline void raw_close_owned(int *fd)
{
	if (*fd >= 0)
		raw_close(*fd);
}
#define _cleanup_raw_close_ __attribute__((cleanup(raw_close_owned)))

static inline ssize_t raw_read(int fd, void *buffer, size_t size)
{
	return raw_syscall(SYS_read, fd, (long)buffer, (long)size, 0, 0, 0);
}

static inline ssize_t raw_write(int fd, const void *bytes, size_t size)
{
	return raw_syscall(SYS_write, fd, (long)bytes, (long)size, 0, 0, 0);
}

static inline ssize_t raw_getdents64(int fd, void *buffer, size_t size)
{
	return raw_syscall(SYS_getdents64, fd, (long)buffer, (long)size, 0, 0, 0);
}

static inline ssize_t raw_readlink(const char *path, char *buffer, size_t size)
{
	return raw_syscall(SYS_readlinkat, AT_FDCWD, (long)path, (long)buffer, (long)size, 0, 0);
}

static inline ssize_t raw_getcwd(char *buffer, size_t size)
{
	return raw_syscall(SYS_getcwd, (long)buffer, (long)size, 0, 0, 0, 0);
}

static inline off_t raw_lseek(int fd, off_t offset, int whence)
{
	return raw_syscall(SYS_lseek, fd, offset, whence, 0, 0, 0);
}

static inline int raw_fstat(int fd, struct stat *ret)
{
	return (int)raw_syscall(SYS_fstat, fd, (long)ret, 0, 0, 0, 0);
}

static inline int raw_fstatfs(int fd, struct statfs *ret)
{
	return (int)raw_syscall(SYS_fstatfs, fd, (long)ret, 0, 0, 0, 0);
}

static inline int raw_statx(int directory, const char *path, int flags, unsigned mask,
			    struct statx *ret)
{
	return (int)raw_syscall(SYS_statx, directory, (long)path, flags, mask, (long)ret, 0);
}

static inline pid_t raw_getpid(void)
{
	return (pid_t)raw_syscall(SYS_getpid, 0, 0, 0, 0, 0, 0);
}

static inline pid_t raw_gettid(void)
{
	return (pid_t)raw_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

static inline int raw_clock_gettime(clockid_t clock, struct timespec *ret)
{
	return (int)raw_syscall(SYS_clock_gettime, clock, (long)ret, 0, 0, 0, 0);
}
