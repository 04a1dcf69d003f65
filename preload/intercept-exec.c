/*
 * execve(2) and its family: the locks that survive are handed over before, and
 * taken back if it fails (handover.h).  A vfork child has none to hand over.
 *
 * All of the family are made of two here, as in libc: execve, and execvpe where
 * a path is searched for.
 */
#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include "child.h"
#include "handover.h"
#include "intercept.h"
#include "raw.h"
#include "real.h"

typedef char *const strings[];

EXPORT int shim_execve(const char *path, strings arguments, strings environment) __asm__("execve");
EXPORT int shim_execv(const char *path, strings arguments) __asm__("execv");
EXPORT int shim_execvp(const char *file, strings arguments) __asm__("execvp");
EXPORT int shim_execvpe(const char *file, strings arguments,
			strings environment) __asm__("execvpe");
EXPORT int shim_execl(const char *path, const char *argument, ...) __asm__("execl");
EXPORT int shim_execle(const char *path, const char *argument, ...) __asm__("execle");
EXPORT int shim_execlp(const char *file, const char *argument, ...) __asm__("execlp");
EXPORT int shim_fexecve(int fd, strings arguments, strings environment) __asm__("fexecve");
EXPORT int shim_execveat(int folder, const char *path, strings arguments, strings environment,
			 int flags) __asm__("execveat");

/* What is to be executed, one way or the other. */
struct image {
	int folder;
	const char *path;
	int flags;
	bool is_searched_for;
};

static int execute(const struct image *image, strings arguments, strings environment)
{
	if (image->is_searched_for)
		return shim_real()->execvpe(image->path, arguments, environment) < 0 ? -errno : 0;
	if (image->folder == AT_FDCWD && image->flags == 0)
		return (int)raw_syscall(SYS_execve, (long)image->path, (long)arguments,
					(long)environment, 0, 0, 0);
	return (int)raw_syscall(SYS_execveat, image->folder, (long)image->path, (long)arguments,
				(long)environment, image->flags, 0);
}

static int hand_over_and_execute(const struct image *image, strings arguments, strings environment)
{
	struct shim_handover handover;

	if (shim_is_foreign())
		return execute(image, arguments, environment);
	shim_check_fork();
	shim_handover_begin(&handover, environment);
	int result = execute(image, arguments, handover.environment);
	/* Too much to tell: the locks go over untold, and last until the end. */
	if (result == -E2BIG && handover.environment != environment)
		result = execute(image, arguments, environment);
	shim_handover_undo(&handover);
	return result;
}

int shim_kernel_execve(const char *path, strings arguments, strings environment)
{
	return hand_over_and_execute(&(struct image){AT_FDCWD, path, 0, false}, arguments,
				     environment);
}

int shim_kernel_execveat(int folder, const char *path, strings arguments, strings environment,
			 int flags)
{
	return hand_over_and_execute(&(struct image){folder, path, flags, false}, arguments,
				     environment);
}

static int search_and_execute(const char *file, strings arguments, strings environment)
{
	return hand_over_and_execute(&(struct image){AT_FDCWD, file, 0, true}, arguments,
				     environment);
}

int shim_execve(const char *path, strings arguments, strings environment)
{
	return shim_errno_result(shim_kernel_execve(path, arguments, environment));
}

int shim_execv(const char *path, strings arguments)
{
	return shim_execve(path, arguments, environ);
}

int shim_execvp(const char *file, strings arguments)
{
	return shim_errno_result(search_and_execute(file, arguments, environ));
}

int shim_execvpe(const char *file, strings arguments, strings environment)
{
	return shim_errno_result(search_and_execute(file, arguments, environment));
}

int shim_execveat(int folder, const char *path, strings arguments, strings environment, int flags)
{
	return shim_errno_result(shim_kernel_execveat(folder, path, arguments, environment, flags));
}

int shim_fexecve(int fd, strings arguments, strings environment)
{
	if (fd < 0 || !arguments || !environment) {
		errno = EINVAL;
		return -1;
	}
	return shim_execveat(fd, "", arguments, environment, AT_EMPTY_PATH);
}

/* The arguments of execl and its kind are collected on the stack: a vfork child
 * must not use malloc. */

static size_t count_strings(const char *first, va_list *list)
{
	va_list counted;
	size_t count = 0;

	va_copy(counted, *list);
	for (const char *string = first; string; string = va_arg(counted, char *))
		count++;
	va_end(counted);
	return count;
}

/* With the NULL at their end. */
static void collect_strings(const char *first, va_list *list, const char **ret)
{
	*ret++ = first;
	for (const char *string = first; string; *ret++ = string)
		string = va_arg(*list, char *);
}

/* execv takes strings that it does not change as ones that can be. */
static int execute_listed(int (*execute_array)(const char *path, strings arguments),
			  const char *path, const char *first, va_list *list)
{
	const char **arguments =
		__builtin_alloca((count_strings(first, list) + 1) * sizeof *arguments);

	collect_strings(first, list, arguments);
	return execute_array(path, (char *const *)arguments);
}

int shim_execl(const char *path, const char *argument, ...)
{
	va_list list;

	va_start(list, argument);
	int result = execute_listed(shim_execv, path, argument, &list);
	va_end(list);
	return result;
}

int shim_execlp(const char *file, const char *argument, ...)
{
	va_list list;

	va_start(list, argument);
	int result = execute_listed(shim_execvp, file, argument, &list);
	va_end(list);
	return result;
}

int shim_execle(const char *path, const char *argument, ...)
{
	va_list list;

	va_start(list, argument);
	const char **arguments =
		__builtin_alloca((count_strings(argument, &list) + 1) * sizeof *arguments);
	collect_strings(argument, &list, arguments);
	char *const *environment = va_arg(list, char *const *);
	va_end(list);
	return shim_execve(path, (char *const *)arguments, environment);
}
