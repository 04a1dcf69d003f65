/* The choice of semantics for a call, and the call itself; see semantics.h. */
#include "semantics.h"

#include <errno.h>

#include "filesystem.h"
#include "intercept.h"
#include "locked-file.h"
#include "raw.h"

/* glibc exports it for its own libraries, <fcntl.h> does not show it.  The
 * shim does not define it, so this is always glibc's. */
extern int __fcntl(int fd, int command, ...);

_Atomic bool shim_tracks_descriptors;

static bool may_be_process(const struct shim_settings *settings)
{
	return settings->semantics == SHIM_PROCESS || settings->has_policy;
}

__attribute__((constructor)) static void note_tracking(void)
{
	struct shim_settings scratch;

	atomic_store(&shim_tracks_descriptors, may_be_process(shim_settings(&scratch)));
}

const struct shim_semantics *shim_semantics_for(const struct shim_settings *settings, int fd,
						bool is_unlock)
{
	/* These keep a record of each file, and of what was decided for it.
	 * There can be one from before the settings could be read. */
	if (may_be_process(settings) ||
	    atomic_load_explicit(&locked_file_count, memory_order_relaxed))
		return &shim_semantics_process;
	if (settings->semantics == SHIM_LEGACY)
		return &shim_semantics_legacy;
	if (is_unlock && shim_filesystem_has_no_legacy_lock(fd))
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
