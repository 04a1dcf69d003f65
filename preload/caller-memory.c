/*
 * A bad pointer makes fcntl(2) fail with EFAULT; the shim, which runs in its
 * place, would crash on it.  So the kernel is asked first, with the one call
 * that reads or writes user memory at an address, does nothing else, and is
 * allowed by every seccomp filter, because libc needs it:
 * rt_sigprocmask(2).  With a `how` that does not exist it copies the new mask
 * in and then fails with EINVAL; with no new mask it copies the present one
 * out.  Eight bytes each; a page is there or not as a whole, so one look at
 * each page that the struct touches is enough.
 *
 * (process_vm_readv(2) is forbidden in many containers; a SIGSEGV handler
 * would be the program's own business; a pipe would need descriptors.)
 */
#include "caller-memory.h"

#include <errno.h>
#include <string.h>

#include "raw.h"

/* The kernel's sigset_t, which is not glibc's. */
enum { KERNEL_SIGSET_SIZE = 8, NO_SUCH_HOW = -1 };

_Static_assert(sizeof(struct flock) >= KERNEL_SIGSET_SIZE, "the looks stay inside the struct");

static bool is_readable(uintptr_t address)
{
	/* For which NULL means that there is no new mask. */
	return address && raw_syscall(SYS_rt_sigprocmask, NO_SUCH_HOW, (long)address, 0,
				      KERNEL_SIGSET_SIZE, 0, 0) != -EFAULT;
}

/* Leaves eight bytes of signal mask behind. */
static bool is_writable(uintptr_t address)
{
	return address && raw_syscall(SYS_rt_sigprocmask, SIG_BLOCK, 0, (long)address,
				      KERNEL_SIGSET_SIZE, 0, 0) != -EFAULT;
}

static bool is_accessible(const struct flock *callers, bool (*is_accessible_at)(uintptr_t address))
{
	uintptr_t first = (uintptr_t)callers;
	uintptr_t last = first + sizeof *callers - KERNEL_SIGSET_SIZE;

	if (shim_caller_is_at_hand(callers))
		return true;
	if (!is_accessible_at(first))
		return false;
	/* On one page, or on two of which `last` may straddle the border. */
	return first / SHIM_PAGE_SIZE == (first + sizeof *callers - 1) / SHIM_PAGE_SIZE ||
	       is_accessible_at(last);
}

int shim_caller_read(struct flock *ret, const struct flock *callers)
{
	if (!is_accessible(callers, is_readable))
		return -EFAULT;
	memcpy(ret, callers, sizeof *ret);
	return 0;
}

int shim_caller_write(struct flock *callers, const struct flock *value)
{
	if (!is_accessible(callers, is_writable))
		return -EFAULT;
	memcpy(callers, value, sizeof *value);
	return 0;
}
