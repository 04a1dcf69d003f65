/* The choice of semantics for a call, and the call itself; see semantics.h. */
#include "semantics.h"

#include <errno.h>

#include "filesystem.h"
#include "policy.h"
#include "raw.h"

/* glibc exports it for its own libraries, <fcntl.h> does not show it.  The
 * shim does not define it, so this is always glibc's. */
extern int __fcntl(int fd, int command, ...);

const struct shim_semantics *shim_semantics_for(const struct shim_settings *settings, int fd,
						bool is_unlock)
{
	bool is_by_rule = false;
	enum shim_choice choice = settings->has_policy
					  ? shim_policy_choice(settings, fd, &is_by_rule)
					  : settings->semantics;

	if (choice == SHIM_LEGACY)
		return &shim_semantics_legacy;
	if (is_by_rule || (is_unlock && shim_filesystem_has_no_legacy_lock(fd)))
		return &shim_semantics_ofd;
	return shim_filesystem_keeps_legacy(fd) ? &shim_semantics_legacy : &shim_semantics_ofd;
}

int shim_kernel_lock(int fd, int command, struct flock *request, enum shim_wait wait)
{
	if (wait != SHIM_WAIT_CANCELLABLE)
		return raw_fcntl(fd, command, request);

	/* glibc makes cancellation points of F_SETLKW and F_OFD_SETLKW alike
	 * (sysdeps/unix/sysv/linux/fcntl64.c). */
	int before = errno;
	int result = __fcntl(fd, command, request);
	if (result < 0) {
		result = -errno;
		errno = before;
	}
	return result;
}
