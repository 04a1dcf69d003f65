/*
 * The ways to make a process that run no fork handlers: _Fork(3) and clone(3).
 * (vfork is in vfork.S, the system calls by syscall(2) come from syscall.S,
 * and fork(3) is not intercepted: see child.c.  posix_spawn(3), system(3) and
 * popen(3) make children that exec at once, by a clone inside libc.)
 */
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/types.h>

#include "child.h"
#include "intercept.h"
#include "raw.h"
#include "real.h"

/* Another name of libc's clone. */
extern int __clone(int (*function)(void *argument), void *stack, int flags, void *argument, ...);

EXPORT pid_t shim_fork_without_handlers(void) __asm__("_Fork");
EXPORT int shim_clone(int (*function)(void *argument), void *stack, int flags, void *argument,
		      ...) __asm__("clone");

void shim_syscall_child(long number, long flags);

/* A child that has a copy of the memory: what the flags say is still to be
 * told apart. */
static void become_child(int flags)
{
	if (flags & CLONE_FILES)
		shim_remain_owner();
	else
		shim_check_fork();
}

pid_t shim_fork_without_handlers(void)
{
	pid_t pid = shim_real()->fork();

	if (pid == 0)
		become_child(0);
	return pid;
}

/* On the stack of the caller, which the child has a copy of; or which stays as
 * it is, because the caller waits. */
struct start {
	int (*function)(void *argument);
	void *argument;
	int flags;
};

static int start_copy(void *argument)
{
	struct start start = *(struct start *)argument;

	become_child(start.flags);
	return start.function(start.argument);
}

static int start_vfork_child(void *argument)
{
	struct start start = *(struct start *)argument;

	/* Of its own thread's, or of its parent's thread, which sleeps. */
	if (start.flags & CLONE_SETTLS)
		shim_vfork_depth = 1;
	return start.function(start.argument);
}

int shim_clone(int (*function)(void *argument), void *stack, int flags, void *argument, ...)
{
	struct start start = {function, argument, flags};
	va_list arguments;

	va_start(arguments, argument);
	pid_t *parent_tid = va_arg(arguments, pid_t *);
	void *tls = va_arg(arguments, void *);
	pid_t *child_tid = va_arg(arguments, pid_t *);
	va_end(arguments);

	/* Errors first: they are libc's to find. */
	if (!function || !stack)
		return __clone(function, stack, flags, argument, parent_tid, tls, child_tid);
	if (!(flags & CLONE_VM))
		return __clone(start_copy, stack, flags, &start, parent_tid, tls, child_tid);
	/* A thread, a process with the same descriptors, or one that goes on
	 * beside its parent and would have to be told from it by its pid. */
	if (flags & (CLONE_THREAD | CLONE_FILES) || !(flags & CLONE_VFORK))
		return __clone(function, stack, flags, argument, parent_tid, tls, child_tid);

	bool has_our_tls = !(flags & CLONE_SETTLS);
	shim_vfork_depth += has_our_tls;
	int result = __clone(start_vfork_child, stack, flags, &start, parent_tid, tls, child_tid);
	shim_vfork_depth -= has_our_tls;
	return result;
}

/* From syscall.S: a fork, clone or clone3 has returned 0. */
void shim_syscall_child(long number, long flags)
{
	/* clone3 has its flags in a struct. */
	if (number == SYS_clone3)
		flags = *(const long *)flags;
	else if (number != SYS_clone)
		flags = 0;
	/* The tables of a child that shares the memory are its parent's. */
	if (!(flags & CLONE_VM))
		become_child((int)flags);
}
