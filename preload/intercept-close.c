/*
 * Everything of libc by which a program closes or duplicates descriptors:
 * close, close_range, closefrom, dup, dup2, dup3, fclose, freopen, closedir;
 * fcntl(F_DUPFD) and the system calls of syscall(2) come here, too.
 *
 * (fcloseall(3) only flushes.  What else closes inside libc closes what it has
 * opened itself, and nobody locks that.)
 *
 * Few descriptors are of interest: those with a tag (descriptors.h), and those
 * that are the shim's own, which the program must not find: they are closed by
 * nothing, and move where a dup2 wants their number.  A vfork child does as it
 * pleases: its descriptors are copies, and the tables are its parent's.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/single_threaded.h>
#include <unistd.h>

#include "child.h"
#include "closing.h"
#include "deadlock.h"
#include "gate.h"
#include "intercept.h"
#include "private-fd.h"
#include "raw.h"
#include "real.h"

/* Other names of libc's close and fclose, which it exports for its own use. */
extern int __close(int fd);
extern int _IO_fclose(FILE *stream);

EXPORT int shim_close(int fd) __asm__("close");
EXPORT int shim_close_range(unsigned first, unsigned last, int flags) __asm__("close_range");
EXPORT void shim_closefrom(int first) __asm__("closefrom");
EXPORT int shim_dup(int fd) __asm__("dup");
EXPORT int shim_dup2(int fd, int wanted) __asm__("dup2");
EXPORT int shim_dup3(int fd, int wanted, int flags) __asm__("dup3");
EXPORT int shim_fclose(FILE *stream) __asm__("fclose");
EXPORT FILE *shim_freopen(const char *path, const char *mode, FILE *stream) __asm__("freopen");
EXPORT FILE *shim_freopen64(const char *path, const char *mode, FILE *stream) __asm__("freopen64")
	__attribute__((alias("freopen")));
EXPORT int shim_closedir(DIR *folder) __asm__("closedir");

/* Nothing that needs to be known about it. */
static bool is_plain(int fd)
{
	return !descriptor_tag_of(fd) && !shim_is_private(fd);
}

/* close(2) of a descriptor that was locked through. */
static int close_tagged(int fd)
{
	struct shim_closing closing;
	struct shim_gate gate;

	/* A handler that leaves by siglongjmp() would leave the lock behind. */
	shim_signals_block(&gate);
	shim_closing_begin(&closing, fd);
	int result = (int)raw_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
	/* Whatever it says, the descriptor is gone (close(2)). */
	shim_closing_end(&closing);
	shim_signals_restore(&gate);
	return result;
}

int shim_kernel_close(int fd)
{
	if (shim_is_vfork_child())
		return (int)raw_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
	shim_check_fork();
	if (shim_is_private(fd))
		return -EBADF;
	if (descriptor_tag_of(fd) && !shim_is_foreign() && !descriptor_tag_drop(fd))
		return close_tagged(fd);
	int result = (int)raw_syscall(SYS_close, fd, 0, 0, 0, 0, 0);
	shim_closing_look(fd);
	return result;
}

int shim_close(int fd)
{
	if (is_plain(fd)) {
		int result = __close(fd);
		shim_closing_look(fd);
		return result;
	}
	pthread_testcancel();
	return shim_errno_result(shim_kernel_close(fd));
}

/* All that is not ours, in the stretches between. */
static int close_between_ours(unsigned first, unsigned last, unsigned flags)
{
	while (first <= last) {
		unsigned ours = (unsigned)shim_private_next((int)first);
		if (ours > last || ours == INT_MAX)
			return (int)raw_syscall(SYS_close_range, first, last, flags, 0, 0, 0);
		int result = first == ours ? 0
					   : (int)raw_syscall(SYS_close_range, first, ours - 1,
							      flags, 0, 0, 0);
		if (result < 0)
			return result;
		first = ours + 1;
	}
	return 0;
}

/* Threads share the descriptors.  One that unshares them is an owner of its own
 * from then on, and what it closes stays open for the others. */
static bool leaves_its_threads(unsigned flags)
{
	return flags & CLOSE_RANGE_UNSHARE && !__libc_single_threaded;
}

int shim_kernel_close_range(unsigned first, unsigned last, unsigned flags)
{
	bool is_simple = first > INT_MAX || first > last ||
			 (flags & ~(CLOSE_RANGE_UNSHARE | CLOSE_RANGE_CLOEXEC)) ||
			 (flags & CLOSE_RANGE_CLOEXEC) || shim_is_foreign();

	if (is_simple)
		return (int)raw_syscall(SYS_close_range, first, last, flags, 0, 0, 0);
	shim_check_fork();
	if (leaves_its_threads(flags))
		return close_between_ours(first, last, flags);
	/* From the start again each time: a close may have handed its tag on to
	 * a duplicate that had none. */
	for (int fd; (fd = descriptor_next((int)first)) >= 0 && (unsigned)fd <= last;)
		if (!descriptor_tag_drop(fd))
			close_tagged(fd);
	int result = close_between_ours(first, last, flags);
	for (int fd = (int)first; (fd = descriptor_next(fd)) >= 0 && (unsigned)fd <= last; fd++)
		shim_closing_look(fd);
	return result;
}

int shim_close_range(unsigned first, unsigned last, int flags)
{
	return shim_errno_result(shim_kernel_close_range(first, last, (unsigned)flags));
}

void shim_closefrom(int first)
{
	struct rlimit limit;

	if (first < 0)
		first = 0;
	if (shim_kernel_close_range((unsigned)first, ~0U, 0) == 0)
		return;
	/* Linux before 5.9, or a filter.  Also what lies beyond the limit can be
	 * open, if it came down; libc looks in /proc for those. */
	if (raw_syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, 0, (long)&limit, 0, 0) == 0)
		for (rlim_t fd = (rlim_t)first; fd < limit.rlim_cur && fd < INT_MAX; fd++)
			shim_kernel_close((int)fd);
}

/* The number was closed by a way that the shim does not see: its locks go now,
 * before the duplicate's tag takes the place of what is known of them. */
static void forget_unseen(int copy)
{
	struct shim_gate gate;

	if (!tag_file(descriptor_tag_of(copy)))
		return;
	shim_gate_enter(&gate);
	shim_closing_unseen(copy);
	shim_gate_leave(&gate);
}

int shim_kernel_dup(int fd, int command, long lowest)
{
	if (!shim_is_vfork_child()) {
		shim_check_fork();
		if (shim_is_private(fd))
			return -EBADF;
	}

	int copy =
		(int)raw_syscall(command < 0 ? SYS_dup : SYS_fcntl, fd, command, lowest, 0, 0, 0);
	if (copy >= 0 && shim_is_tracking() && !shim_is_foreign()) {
		forget_unseen(copy);
		shim_duplicated(fd, copy);
	}
	return copy;
}

int shim_dup(int fd)
{
	return shim_errno_result(shim_kernel_dup(fd, SHIM_DUP, 0));
}

/* Ours goes elsewhere before its number is taken from it.  1 if it was ours. */
static int make_way(int wanted)
{
	struct shim_gate gate;
	int result = 0;

	shim_gate_enter(&gate);
	if (shim_private_has(wanted)) {
		uint32_t number = locked_file_of_description(wanted);
		result = shim_private_move(wanted);
		if (result >= 0 && number)
			atomic_store(&locked_file_at(number)->fd, result);
		else if (result >= 0)
			shim_deadlock_moved(wanted, result);
	}
	shim_gate_leave(&gate);
	return result < 0 ? result : result > 0;
}

/* dup3(2) of two different numbers. */
static int duplicate_onto(int fd, int wanted, int flags)
{
	struct shim_closing closing;
	struct shim_gate gate;
	bool was_ours = false;
	int result;

	shim_check_fork();
	if (shim_is_foreign())
		return (int)raw_syscall(SYS_dup3, fd, wanted, flags, 0, 0, 0);
	if (shim_is_private(fd))
		return -EBADF;
	if (shim_is_private(wanted)) {
		result = make_way(wanted);
		if (result < 0)
			return result;
		was_ours = result > 0;
	}
	if (!tag_file(descriptor_tag_of(wanted))) {
		result = (int)raw_syscall(SYS_dup3, fd, wanted, flags, 0, 0, 0);
		if (result >= 0 && (shim_is_tracking() || !is_plain(fd)))
			shim_duplicated(fd, wanted);
		/* What has moved away is still there, too, and keeps its locks. */
		if (result < 0 && was_ours)
			raw_close(wanted);
		return result;
	}

	shim_signals_block(&gate);
	shim_closing_begin(&closing, wanted);
	result = (int)raw_syscall(SYS_dup3, fd, wanted, flags, 0, 0, 0);
	if (result < 0) {
		shim_closing_undo(&closing);
	} else {
		shim_duplicated(fd, wanted);
		shim_closing_end(&closing);
	}
	shim_signals_restore(&gate);
	return result;
}

int shim_kernel_dup2(int fd, int wanted)
{
	if (fd != wanted)
		return duplicate_onto(fd, wanted, 0);

	/* Not all architectures have the system call.  Of a number and itself it
	 * says only whether it is open. */
	int result = (int)raw_syscall(SYS_fcntl, fd, F_GETFD, 0, 0, 0, 0);
	return result < 0 ? result : fd;
}

int shim_kernel_dup3(int fd, int wanted, int flags)
{
	return fd == wanted ? -EINVAL : duplicate_onto(fd, wanted, flags);
}

int shim_dup2(int fd, int wanted)
{
	return shim_errno_result(shim_kernel_dup2(fd, wanted));
}

int shim_dup3(int fd, int wanted, int flags)
{
	return shim_errno_result(shim_kernel_dup3(fd, wanted, flags));
}

/* Streams close inside libc, after they have written what they still had: the
 * lock goes after that. */

static bool begin_of_descriptor(struct shim_closing *closing, int fd)
{
	if (fd < 0 || shim_is_vfork_child())
		return false;
	if (is_plain(fd)) {
		*closing = (struct shim_closing){.fd = fd};
		return true;
	}
	shim_check_fork();
	shim_closing_begin(closing, fd);
	return true;
}

static bool begin_of_stream(struct shim_closing *closing, FILE *stream)
{
	int before = errno, fd = fileno(stream);

	errno = before;
	return begin_of_descriptor(closing, fd);
}

int shim_fclose(FILE *stream)
{
	struct shim_closing closing;
	bool is_known = begin_of_stream(&closing, stream);

	int result = _IO_fclose(stream);
	if (is_known)
		shim_closing_end(&closing);
	return result;
}

FILE *shim_freopen(const char *path, const char *mode, FILE *stream)
{
	struct shim_closing closing;
	bool is_known = begin_of_stream(&closing, stream);

	FILE *result = shim_real()->freopen(path, mode, stream);
	if (is_known)
		shim_closing_end(&closing);
	return result;
}

int shim_closedir(DIR *folder)
{
	struct shim_closing closing;
	bool is_known = begin_of_descriptor(&closing, folder ? dirfd(folder) : -1);

	int result = shim_real()->closedir(folder);
	if (is_known)
		shim_closing_end(&closing);
	return result;
}
