/*
 * Opening and making lock files, in folders where others may have put anything.
 *
 *  - A file is opened without O_CREAT first: in a sticky, world-writable folder
 *    fs.protected_regular refuses O_CREAT on another user's existing file.  A
 *    new file gets its name when it is complete, mode 0666 whatever the umask:
 *    O_TMPFILE, fchmod, linkat.
 *  - O_NOFOLLOW, and only regular files.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cleanup.h"
#include "clock.h"
#include "fork.h"
#include "lock-file.h"
#include "message.h"

int lock_file_lock_open(relock_lock *lock)
{
	struct file_lock *file = file_lock_of(lock);

	file->fd = -1;
	/* Numbers of holds need not be secret, only differ. */
	if (getrandom(&file->next_hold, sizeof file->next_hold, GRND_NONBLOCK) < 0)
		file->next_hold = (uint64_t)moment_now() ^ (uint64_t)(uintptr_t)file << 20;
	return 0;
}

static void close_file(struct file_lock *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
	file->mode = HOLD_NONE;
	file->recorded = false;
	file->plain = false; /* the descriptor's number is in the record */
	file->stamped = false;
}

/* fork(2) copies the descriptors before the memory: a child that is made in
 * between would have the descriptor, and a handle that says it is closed. */
void lock_file_close(struct file_lock *file)
{
	fork_prevent();
	close_file(file);
	fork_allow();
}

/* Called with forks prevented. */
void lock_file_forget(relock_lock *lock)
{
	close_file(file_lock_of(lock));
	/* A thread that is gone may have been about to make it larger. */
	file_lock_of(lock)->image = NULL;
}

void lock_file_lock_close(relock_lock *lock)
{
	lock_file_close(file_lock_of(lock));
	free(file_lock_of(lock)->image);
}

int lock_file_explain(const char *name, int error)
{
	switch (error) {
	case -ELOOP:
		return failed(error, "%s: the lock file is a symbolic link", name);
	case -EISDIR:
		return failed(error, "%s: a folder, which cannot be locked for writing", name);
	case -EACCES:
		return failed(error, "%s: no permission to write the lock file", name);
	case -EROFS:
		return failed(error, "%s: the lock file is on a read-only file system", name);
	case -EMFILE:
		return failed(error,
			      "%s: this process has all the descriptors it may have "
			      "(ulimit -n)",
			      name);
	default:
		return error;
	}
}

static int refuse_special(const char *name)
{
	return failed(-EBADF, "%s: not a regular file, which a lock file has to be", name);
}

int lock_file_open_existing(const struct file_store *store, const char *name, int *ret_fd,
			    bool *ret_writable, struct stat *ret_status)
{
	/* O_NONBLOCK: a FIFO must not stop us before it is refused. */
	const int flags = O_NOFOLLOW | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;
	bool writable = true;

	CLEANUP_CLOSE int fd = openat(store->dir_fd, name, O_RDWR | flags);
	if (fd < 0 && (errno == EACCES || errno == EROFS || errno == EPERM || errno == ETXTBSY)) {
		int error = -errno;
		writable = false;
		fd = openat(store->dir_fd, name, O_RDONLY | flags);
		if (fd < 0)
			return lock_file_explain(name, error);
	}
	if (fd < 0 && errno == ENXIO) /* a socket */
		return refuse_special(name);
	if (fd < 0)
		return errno == ENOENT ? -ENOENT : lock_file_explain(name, -errno);
	if (fstat(fd, ret_status) < 0)
		return -errno;
	if (S_ISDIR(ret_status->st_mode))
		return lock_file_explain(name, -EISDIR);
	if (!S_ISREG(ret_status->st_mode))
		return refuse_special(name);
	*ret_fd = TAKE_FD(fd);
	*ret_writable = writable;
	return 0;
}

int lock_file_create(const struct file_store *store, const char *name, int *ret_fd)
{
	CLEANUP_CLOSE int fd = openat(store->dir_fd, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);

	if (fd >= 0 && fchmod(fd, 0666) == 0) {
		char path[32];
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		if (linkat(AT_FDCWD, path, store->dir_fd, name, AT_SYMLINK_FOLLOW) == 0) {
			*ret_fd = TAKE_FD(fd);
			return 0;
		}
		if (errno != ENOENT) /* /proc is not mounted */
			return -errno;
	} else if (errno != EOPNOTSUPP && errno != EPERM && errno != EISDIR && errno != ENOENT &&
		   errno != EINVAL) {
		return -errno;
	}
	if (fd >= 0)
		close(fd);
	fd = openat(store->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
	if (fd < 0 || fchmod(fd, 0666) < 0)
		return -errno;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

/* A new file is opened again by its name: the kernel shows the descriptor that
 * made it without one, and orphan_find() goes by names. */
static int open_or_create(relock_lock *lock, int *ret_fd, bool *ret_writable,
			  struct stat *ret_status, bool *ret_created)
{
	const struct file_store *store = file_store_of(lock->store);
	int result;

	while ((result = lock_file_open_existing(store, lock->name, ret_fd, ret_writable,
						 ret_status)) == -ENOENT) {
		CLEANUP_CLOSE int created = -1;
		result = lock_file_create(store, lock->name, &created);
		if (result == -ENOENT)
			return failed(result, "%s: the folder of %s was removed", lock->name,
				      lock->store->url);
		if (result < 0 && result != -EEXIST)
			return failed(result, "%s: the lock file cannot be made in %s: %s",
				      lock->name, lock->store->url, strerrordesc_np(-result));
		if (result == 0)
			*ret_created = true;
	}
	return result;
}

static int open_for(relock_lock *lock, enum hold_mode mode, bool *ret_created)
{
	const struct file_store *store = file_store_of(lock->store);
	struct file_lock *file = file_lock_of(lock);
	CLEANUP_CLOSE int fd = -1;
	struct stat status;

	int result = open_or_create(lock, &fd, &file->writable, &status, ret_created);
	if (result < 0)
		return result;
	if (mode == HOLD_EXCLUSIVE && store->primitive->writes && !file->writable) {
		bool read_only = faccessat(store->dir_fd, lock->name, W_OK, AT_EACCESS) < 0 &&
				 errno == EROFS;
		return lock_file_explain(lock->name, read_only ? -EROFS : -EACCES);
	}
	/* Reading the last token would set the time of access each time; who
	 * does not own the file may not ask for less. */
	(void)fcntl(fd, F_SETFL, O_NONBLOCK | O_NOATIME);
	file->device = status.st_dev;
	file->inode = status.st_ino;
	file->linked = status.st_nlink > 1;
	file->strange = true;
	file->plain = false;
	file->stamped = false;
	file->uid = geteuid();
	file->fd = TAKE_FD(fd);
	return 0;
}

int lock_file_open_as(struct file_lock *file, int fd)
{
	struct stat status;
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0 || fstat(fd, &status) < 0)
		return -errno;
	(void)fcntl(fd, F_SETFD, FD_CLOEXEC);
	fork_prevent();
	file->device = status.st_dev;
	file->inode = status.st_ino;
	file->linked = status.st_nlink > 1;
	file->writable = (flags & O_ACCMODE) == O_RDWR;
	file->uid = geteuid();
	file->fd = fd;
	fork_allow();
	return 0;
}

int lock_file_open(relock_lock *lock, enum hold_mode mode)
{
	bool created = false;

	/* A child must know of the descriptor, to forget it. */
	fork_prevent();
	int result = open_for(lock, mode, &created);
	fork_allow();
	if (created)
		lock_file_prune_daily(lock->store);
	return result;
}
