#include "mountpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <mntent.h>
#include <poll.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "say.h"

/* getmntent() undoes the kernel's escapes (\040 for a blank). */
static bool is_relockfs(const char *path)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *mount;
	bool found = false;

	if (!mounts)
		return false;
	/* The last mount on a folder is the one that is seen. */
	while ((mount = getmntent(mounts)))
		if (strcmp(mount->mnt_dir, path) == 0)
			found = strcmp(mount->mnt_type, "fuse.relockfs") == 0;
	endmntent(mounts);
	return found;
}

static int refuse_dead(const char *path)
{
	say("%s: a dead mount is in the way, its daemon is gone; clear it with: relock mount "
	    "--clear "
	    "%s",
	    path, path);
	return -ENOTCONN;
}

int mountpoint_check(const char *path, char **ret)
{
	struct stat status;

	if (stat(path, &status) < 0) {
		int error = -errno;
		if (error == -ENOTCONN || error == -ECONNABORTED)
			return refuse_dead(path);
		say("%s: %s", path, strerror(-error));
		return error;
	}
	if (!S_ISDIR(status.st_mode)) {
		say("%s: not a folder", path);
		return -ENOTDIR;
	}
	char *absolute = realpath(path, NULL);
	if (!absolute) {
		int error = -errno;
		say("%s: %s", path, strerror(-error));
		return error;
	}
	if (is_relockfs(absolute)) {
		say("%s: relockfs is mounted here already", absolute);
		free(absolute);
		return -EBUSY;
	}
	*ret = absolute;
	return 0;
}

int mountpoint_device(const char *path, dev_t *ret)
{
	struct statx status;

	/* What the kernel knows already; anything else would be a request. */
	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, 0, &status) < 0)
		return -errno;
	*ret = makedev(status.stx_dev_major, status.stx_dev_minor);
	return 0;
}

/* Of a dead connection the device says so: it is unmounted already. */
static bool is_connected(int device)
{
	struct pollfd poll_fd = {.fd = device};

	return poll(&poll_fd, 1, 0) != 1 || !(poll_fd.revents & POLLERR);
}

void mountpoint_unmount(const char *path, int device)
{
	char *arguments[] = {"fusermount3", "-u", "-q", "-z", "--", (char *)path, NULL};
	pid_t child;

	if (!is_connected(device))
		return;
	if (geteuid() == 0) {
		if (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) < 0)
			say("%s: not unmounted: %s", path, strerror(errno));
		return;
	}
	int error = posix_spawnp(&child, arguments[0], NULL, NULL, arguments, environ);
	if (error != 0)
		say("%s: not unmounted: fusermount3: %s", path, strerror(error));
	else
		waitpid(child, NULL, 0);
}
