/*
 * Legacy record locks: the calls as the program made them.
 *
 * For file systems where OFD locks do harm, and for a program whose
 * RELOCK_SEMANTICS names nothing that exists.  One thing is better than
 * without the shim: F_GETLK of a range that is held by an OFD lock says pid -1
 * in the kernel's words, and programs hand that to kill(2).
 */
#include "holder.h"
#include "raw.h"
#include "semantics.h"

static int legacy_set(int fd, struct flock *request, enum shim_wait wait)
{
	return shim_kernel_lock(fd, wait == SHIM_AT_ONCE ? F_SETLK : F_SETLKW, request, wait);
}

static int legacy_test(int fd, struct flock *request)
{
	return raw_fcntl(fd, F_GETLK, request);
}

static int legacy_get(int fd, struct flock *request)
{
	int result = raw_fcntl(fd, F_GETLK, request);

	/* The kernel has just written there, so the program's struct is safe to
	 * touch. */
	if (result == 0 && request->l_type != F_UNLCK && request->l_pid == -1)
		request->l_pid = shim_holder_pid(fd, request);
	return result;
}

const struct shim_semantics shim_semantics_legacy = {
	.name = "legacy",
	.set = legacy_set,
	.get = legacy_get,
	.test = legacy_test,
};
