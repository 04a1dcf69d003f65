/*
 * The folder of a store with lock files: who may have it, the names in it, and
 * the removal of files that nobody has used for long.
 *
 * A file is only removed under its own lock; see lock_file_prune().
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <string.h>
#include <sys/vfs.h>

#include "cleanup.h"
#include "clock.h"
#include "lock-file-record.h"
#include "message.h"
#include "proc-locks.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

/* Its files are locks by themselves. */
static bool is_mount_of_locks(int fd)
{
	char type[32] = "";

	return mount_type_of(fd, type, sizeof type) == 0 && strcmp(type, "fuse.relockfs") == 0;
}

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
	if (status.st_mode & S_IWOTH && !(status.st_mode & S_ISVTX) && is_mount_of_locks(fd))
		return failed(-EPERM,
			      "%s: no store, but a mount of one: `relock mount --status %s` shows "
			      "which; or name its locks by their path: %s/NAME",
			      path, path, path);
	if (status.st_mode & S_IWOTH && !(status.st_mode & S_ISVTX))
		return failed(-EPERM,
			      "%s: everybody may rename what is in the folder; chmod +t it, or use "
			      "one for a single group",
			      path);
	return 0;
}

static bool stamps_are_exact(int dir_fd)
{
	struct statfs status;

	if (fstatfs(dir_fd, &status) < 0)
		return false;
	switch ((unsigned long)status.f_type) {
	case TMPFS_MAGIC:
	case EXT4_SUPER_MAGIC:
	case XFS_SUPER_MAGIC:
	case BTRFS_SUPER_MAGIC:
		return true;
	default:
		return false; /* a network file system keeps them in a cache */
	}
}

int lock_file_store_open(relock_store *store, const char *rest, bool any_folder,
			 const struct lock_primitive *primitive)
{
	struct file_store *file_store = file_store_of(store);
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
	file_store->stamps = stamps_are_exact(fd);
	file_store->any_folder = any_folder;
	file_store->primitive = primitive;
	file_store->dir_fd = TAKE_FD(fd);
	kept_waits_init(&file_store->waits);
	return 0;
}

void lock_file_store_close(relock_store *store)
{
	kept_waits_end(&file_store_of(store)->waits);
	close(file_store_of(store)->dir_fd);
}

int lock_file_each_name(relock_store *store, int (*callback)(const char *name, void *argument),
			void *argument)
{
	int fd = openat(file_store_of(store)->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return -errno;
	CLEANUP_CLOSEDIR DIR *dir = fdopendir(fd);
	if (!dir) {
		close_keeping_errno(fd);
		return -errno;
	}
	for (struct dirent *entry; (entry = readdir(dir));) {
		if (*entry->d_name == '.' ||
		    (entry->d_type != DT_REG && entry->d_type != DT_UNKNOWN) ||
		    name_check(entry->d_name, false) < 0)
			continue;
		int result = callback(entry->d_name, argument);
		if (result != 0)
			return result;
	}
	return 0;
}

/* To be called with the lock. */
static int remove_if_ours(const struct file_store *store, const char *name, int fd,
			  const struct stat *status)
{
	struct stat entry;
	uint64_t token;

	if (lock_record_owner(fd, &token) != RECORD_OURS || token > (uint64_t)(moment_now() / 1000))
		return 0;
	if (fstatat(store->dir_fd, name, &entry, AT_SYMLINK_NOFOLLOW) < 0 ||
	    entry.st_dev != status->st_dev || entry.st_ino != status->st_ino)
		return 0;
	return unlinkat(store->dir_fd, name, 0) < 0 ? -errno : 1;
}

/*
 * A file is removed under its exclusive lock, and only if it is what a holder
 * of ours left there; then who has it open already will see that the name does
 * not lead to it.  A token that is ahead of the clock would be lost: it stays.
 */
int lock_file_prune(relock_store *store, const char *name, int64_t age)
{
	const struct file_store *file_store = file_store_of(store);
	const enum hold_mode exclusive = HOLD_EXCLUSIVE, none = HOLD_NONE;
	CLEANUP_CLOSE int fd = -1;
	struct stat status;
	bool writable;

	int result = lock_file_open_existing(file_store, name, &fd, &writable, &status);
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	if (moment_now() - (status.st_mtim.tv_sec * RELOCK_SECOND + status.st_mtim.tv_nsec) < age)
		return 0;
	result = file_store->primitive->wait.set(fd, &exclusive, false);
	if (result < 0)
		return result == -EAGAIN ? 0 : result;
	result = remove_if_ours(file_store, name, fd, &status);
	/* A child forked meanwhile has the descriptor, too. */
	file_store->primitive->wait.set(fd, &none, false);
	return result;
}

static int prune_one(const char *name, void *argument)
{
	lock_file_prune(argument, name, RELOCK_HISTORY_AGE);
	return 0;
}

/* Once a day, by whoever makes a file then; a file without a lock's name keeps
 * the date. */
void lock_file_prune_daily(relock_store *store)
{
	static const char marker[] = ".pruned";
	const struct file_store *file_store = file_store_of(store);
	CLEANUP_CLOSE int fd = -1;
	struct stat status;

	if (file_store->any_folder) /* there may be anything in it */
		return;
	if (fstatat(file_store->dir_fd, marker, &status, AT_SYMLINK_NOFOLLOW) == 0) {
		if (moment_now() / RELOCK_SECOND - status.st_mtim.tv_sec < 24 * 3600)
			return;
		if (utimensat(file_store->dir_fd, marker, NULL, AT_SYMLINK_NOFOLLOW) < 0)
			return;
	} else if (lock_file_create(file_store, marker, &fd) < 0) {
		return;
	}
	lock_file_each_name(store, prune_one, store);
}
