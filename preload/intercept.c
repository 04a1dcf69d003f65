/*
 * The functions of locking that a program calls in place of libc's: fcntl,
 * fcntl64, lockf, lockf64, and the fcntl of syscall(2).
 *
 * F_SETLK, F_SETLKW and F_GETLK go to the semantics of semantics.h; every
 * other command, known or not, goes to libc with its argument pointer-wide, as
 * libc itself takes it.  Here a negative errno becomes errno and -1; on
 * success errno is not touched.
 *
 * <fcntl.h> renames fcntl and lockf to their 64-bit twins or not, depending on
 * macros.  So these have C names of their own, and the symbol is given by hand;
 * where off_t has 64 bits the twins are one function.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdbool.h>
#include <unistd.h>

#include "caller-memory.h"
#include "debug.h"
#include "intercept.h"
#include "range.h"
#include "raw.h"
#include "semantics.h"
#include "settings.h"

/* See semantics.c. */
extern int __fcntl(int fd, int command, ...);

EXPORT int shim_fcntl(int fd, int command, ...) __asm__("fcntl");
EXPORT int shim_fcntl64(int fd, int command, ...) __asm__("fcntl64")
	__attribute__((alias("fcntl")));
EXPORT int shim_lockf(int fd, int command, off_t length) __asm__("lockf");
EXPORT int shim_lockf64(int fd, int command, off_t length) __asm__("lockf64")
	__attribute__((alias("lockf")));

struct operation {
	const char *name;
	enum { SET, GET, TEST } kind;
	enum shim_wait wait;
};

/* glibc's lockf() says that a range is free if the lock there is this
 * process's own; so does this. */
static int test(const struct shim_semantics *semantics, int fd, struct flock *request)
{
	int result = semantics->test(fd, request);

	if (result < 0)
		return result;
	return request->l_type == F_UNLCK || request->l_pid == raw_getpid() ? 0 : -EACCES;
}

static int carry_out(const struct operation *operation, const struct shim_semantics *semantics,
		     int fd, struct flock *request)
{
	switch (operation->kind) {
	case GET:
		return semantics->get(fd, request);
	case TEST:
		return test(semantics, fd, request);
	default:
		return semantics->set(fd, request, operation->wait);
	}
}

__attribute__((noinline)) static int carry_out_aloud(const struct operation *operation,
						     const struct shim_settings *settings,
						     const struct shim_semantics *semantics, int fd,
						     struct flock *request)
{
	struct shim_debug_call call = {
		.settings = settings,
		.name = operation->name,
		.fd = fd,
		.request = request,
		.is_question = operation->kind == GET,
	};

	shim_debug_begin(&call);
	call.result = carry_out(operation, semantics, fd, request);
	call.semantics = shim_semantics_name(semantics, fd);
	shim_debug_end(&call);
	return call.result;
}

/* 0 or a negative errno. */
static int record_lock(const struct operation *operation, int fd, struct flock *request)
{
	struct shim_settings scratch;
	const struct shim_settings *settings = shim_settings(&scratch);
	bool is_unlock = operation->kind == SET && shim_caller_is_at_hand(request) &&
			 request->l_type == F_UNLCK;
	const struct shim_semantics *semantics = shim_semantics_for(settings, fd, is_unlock);

	return shim_settings_want_reports(settings)
		       ? carry_out_aloud(operation, settings, semantics, fd, request)
		       : carry_out(operation, semantics, fd, request);
}

int shim_fcntl(int fd, int command, ...)
{
	static const struct operation set = {"fcntl(F_SETLK)", SET, SHIM_AT_ONCE};
	static const struct operation set_wait = {"fcntl(F_SETLKW)", SET, SHIM_WAIT_CANCELLABLE};
	static const struct operation get = {"fcntl(F_GETLK)", GET, SHIM_AT_ONCE};
	va_list arguments;

	/* Also where the program gave none: as in libc, it is whatever the
	 * register holds, and the kernel does not look. */
	va_start(arguments, command);
	void *argument = va_arg(arguments, void *);
	va_end(arguments);

	switch (command) {
	case F_SETLK:
		return shim_errno_result(record_lock(&set, fd, argument));
	case F_SETLKW:
		return shim_errno_result(record_lock(&set_wait, fd, argument));
	case F_GETLK:
		return shim_errno_result(record_lock(&get, fd, argument));
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		return shim_errno_result(shim_kernel_dup(fd, command, (long)argument));
	default:
		return __fcntl(fd, command, argument);
	}
}

/* Unlike fcntl(), the wait is no cancellation point, and F_GETOWN is not
 * translated. */
long shim_kernel_fcntl(int fd, int command, long argument)
{
	static const struct operation set = {"syscall(F_SETLK)", SET, SHIM_AT_ONCE};
	static const struct operation set_wait = {"syscall(F_SETLKW)", SET, SHIM_WAIT};
	static const struct operation get = {"syscall(F_GETLK)", GET, SHIM_AT_ONCE};

	switch (command) {
	case F_SETLK:
		return record_lock(&set, fd, (struct flock *)argument);
	case F_SETLKW:
		return record_lock(&set_wait, fd, (struct flock *)argument);
	case F_GETLK:
		return record_lock(&get, fd, (struct flock *)argument);
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		return shim_kernel_dup(fd, command, argument);
	default:
		return raw_syscall(SYS_fcntl, fd, command, argument, 0, 0, 0);
	}
}

int shim_lockf(int fd, int command, off_t length)
{
	static const struct operation set = {"lockf(F_TLOCK)", SET, SHIM_AT_ONCE};
	static const struct operation set_wait = {"lockf(F_LOCK)", SET, SHIM_WAIT_CANCELLABLE};
	static const struct operation unset = {"lockf(F_ULOCK)", SET, SHIM_AT_ONCE};
	static const struct operation look = {"lockf(F_TEST)", TEST, SHIM_AT_ONCE};
	const struct operation *operation;
	short type = F_WRLCK;

	switch (command) {
	case F_TLOCK:
		operation = &set;
		break;
	case F_LOCK:
		operation = &set_wait;
		break;
	case F_ULOCK:
		operation = &unset;
		type = F_UNLCK;
		break;
	case F_TEST:
		operation = &look;
		type = F_RDLCK;
		break;
	default:
		errno = EINVAL;
		return -1;
	}

	struct flock request = shim_range_from_offset(type, length);
	return shim_errno_result(record_lock(operation, fd, &request));
}
