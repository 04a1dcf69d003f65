/*
 * Ends the serving process of a supervised relockfs by SIGKILL at a chosen
 * system call: LD_PRELOADed, it counts the calls of the session thread that
 * another process could notice or that the kernel keeps, before each and after
 * each.  In between a process changes nothing but its memory, of which the
 * ledger is all that remains.
 */
#include "kill-at.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTIFY_RESEND = 7 };

static struct kill_at *state;
static pid_t supervisor;

static void __attribute__((constructor)) begin(void)
{
	const char *path = getenv("KILL_AT");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

	supervisor = getpid();
	if (fd < 0)
		return;
	void *memory = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (memory != MAP_FAILED)
		state = memory;
	close(fd);
}

static int is_session_thread(void)
{
	return state && getpid() != supervisor && gettid() == getpid();
}

static int is_doomed;

static void end(void)
{
	atomic_fetch_add(&state->kills, 1);
	kill(getpid(), SIGKILL);
}

/* Two calls of it for each call of the server. */
static void point(void)
{
	int before = errno;

	if (is_session_thread() && (is_doomed || (atomic_load(&state->countdown) > 0 &&
						  atomic_fetch_sub(&state->countdown, 1) == 1)))
		end();
	errno = before;
}

/* It ends at the next call. */
static void check_deadly(const char *bytes, ssize_t length)
{
	size_t wanted = is_session_thread() ? strlen(state->deadly) : 0;

	is_doomed = wanted > 0 && length > 0 &&
		    memmem(bytes, (size_t)length, state->deadly, wanted) != NULL;
}

static void *next(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (!function)
		abort();
	return function;
}

#define CALL(type, name, parameters, ...)                                                          \
	type name parameters                                                                       \
	{                                                                                          \
		static type(*real) parameters;                                                     \
                                                                                                   \
		if (!real)                                                                         \
			real = (type(*) parameters)next(#name);                                    \
		point();                                                                           \
		type result = real(__VA_ARGS__);                                                   \
		point();                                                                           \
		return result;                                                                     \
	}

CALL(ssize_t, pwrite, (int fd, const void *bytes, size_t size, off_t offset), fd, bytes, size,
     offset)
CALL(ssize_t, pwrite64, (int fd, const void *bytes, size_t size, off64_t offset), fd, bytes, size,
     offset)
CALL(ssize_t, write, (int fd, const void *bytes, size_t size), fd, bytes, size)
CALL(int, close, (int fd), fd)
CALL(int, unlinkat, (int folder, const char *path, int flags), folder, path, flags)

ssize_t read(int fd, void *bytes, size_t size)
{
	static ssize_t (*real)(int fd, void *bytes, size_t size);

	if (!real)
		real = (ssize_t(*)(int fd, void *bytes, size_t size))next("read");
	point();
	ssize_t result = real(fd, bytes, size);
	point();
	check_deadly(bytes, result);
	return result;
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
	static ssize_t (*real)(int fd, const struct iovec *parts, int count);
	struct fuse_out_header header;

	if (!real)
		real = (ssize_t(*)(int fd, const struct iovec *parts, int count))next("writev");
	if (state && atomic_load(&state->cannot_resend) && count > 0 &&
	    parts[0].iov_len == sizeof header) {
		memcpy(&header, parts[0].iov_base, sizeof header);
		if (header.unique == 0 && header.error == NOTIFY_RESEND) {
			errno = EINVAL;
			return -1;
		}
	}
	/* Given up, the request is deadly no more. */
	if (is_doomed && count > 0 && parts[0].iov_len == sizeof header) {
		memcpy(&header, parts[0].iov_base, sizeof header);
		is_doomed = header.error != -EIO;
	}
	point();
	ssize_t result = real(fd, parts, count);
	point();
	return result;
}

#define FCNTL(name)                                                                                \
	int name(int fd, int command, ...)                                                         \
	{                                                                                          \
		static int (*real)(int fd, int command, ...);                                      \
		va_list arguments;                                                                 \
                                                                                                   \
		if (!real)                                                                         \
			real = (int (*)(int fd, int command, ...))next(#name);                     \
		va_start(arguments, command);                                                      \
		void *argument = va_arg(arguments, void *);                                        \
		va_end(arguments);                                                                 \
		point();                                                                           \
		int result = real(fd, command, argument);                                          \
		point();                                                                           \
		return result;                                                                     \
	}

FCNTL(fcntl)
FCNTL(fcntl64)
