/*
 * The folder of a store with lock files: the names in it, and the removal of
 * files that nobody has used for long.
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
#include "folder.h"
#include "lock-file-record.h"
#include "message.h"

#ifndef XFS_SUPER_MAGIC
#define XFS_SUPER_MAGIC 0x58465342
#endif

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
	CLEANUP_CLOSE int fd = -1;

	int result = folder_open(rest, any_folder, &fd);
	if (result < 0)
		return result;
	file_store->stamps = stamps_are_exact(fd);
	file_store->any_folder = any_folder;
	file_store->primitive = primitive;
	file_store->dir_fd = TAKE_FD(fd);
	return 0;
}

void lock_file_store_close(relock_store *store)
{
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
