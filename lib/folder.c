/*
 * Which folders can hold a store.
 */
#include "folder.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cleanup.h"
#include "message.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif
#ifndef F2FS_SUPER_MAGIC
#define F2FS_SUPER_MAGIC 0xf2f52010
#endif
#ifndef ZFS_SUPER_MAGIC
#define ZFS_SUPER_MAGIC 0x2fc12fc1
#endif
#ifndef BCACHEFS_SUPER_MAGIC
#define BCACHEFS_SUPER_MAGIC 0xca451a4e
#endif

/*
 * Who can rename or remove a lock file can make two of one lock.  That is
 * anybody who may write in the folder, unless it is sticky; and its owner
 * always.
 */
static int check_folder(int fd, const char *path)
{
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -errno;
	if (status.st_uid != 0 && status.st_uid != geteuid())
		return failed(-EPERM,
			      "%s: the folder belongs to user %u, who could swap the lock files "
			      "in it; use one that is yours or root's",
			      path, (unsigned)status.st_uid);
	if (status.st_mode & S_IWOTH && !(status.st_mode & S_ISVTX))
		return failed(-EPERM,
			      "%s: everybody may rename what is in the folder; chmod +t it, or use "
			      "one for a single group",
			      path);
	return 0;
}

int folder_open(const char *rest, bool any_folder, int *ret_fd)
{
	/* A folder of the user's own choice is found as any path is. */
	int follow = any_folder ? 0 : O_NOFOLLOW;

	/* A slash at the end would follow the link that it stands behind. */
	size_t length = strlen(rest);
	while (length > 1 && rest[length - 1] == '/')
		length--;
	CLEANUP_FREE char *path = strndup(rest, length);
	if (!path)
		return -ENOMEM;
	CLEANUP_CLOSE int fd = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC | follow);
	if (fd < 0 && errno == ENOTDIR) {
		struct stat status;
		if (lstat(path, &status) == 0 && S_ISLNK(status.st_mode) && !any_folder)
			return failed(-ELOOP, "%s: a symbolic link; name the folder itself", rest);
		return failed(-ENOTDIR, "%s: not a folder", rest);
	}
	if (fd < 0 && errno == ENOENT)
		return failed(-ENOENT, "%s: no such folder; make it first", rest);
	if (fd < 0)
		return failed(-errno, "%s: %s", rest, strerrordesc_np(errno));
	if (!any_folder) {
		int result = check_folder(fd, rest);
		if (result < 0)
			return result;
	}
	*ret_fd = TAKE_FD(fd);
	return 0;
}

bool folder_is_local(int fd)
{
	struct statfs status;

	if (fstatfs(fd, &status) < 0)
		return false;
	switch ((unsigned long)status.f_type) {
	case TMPFS_MAGIC:
	case RAMFS_MAGIC:
	case EXT4_SUPER_MAGIC:
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
	case F2FS_SUPER_MAGIC:
	case ZFS_SUPER_MAGIC:
	case BCACHEFS_SUPER_MAGIC:
	case OVERLAYFS_SUPER_MAGIC:
		return true;
	default:
		return false;
	}
}
