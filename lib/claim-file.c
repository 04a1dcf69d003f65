/*
 * The algorithm of open(2), "O_EXCL", which works on every file system that has
 * link(2), NFS included: each contender makes a file that is its own alone, and
 * links it to the lock's name.  One link succeeds.  A reply that was lost on the
 * way from a server makes link(2) fail where it has succeeded; then the claim
 * file has two names.
 *
 * That acquires.  To remove a lock is the harder part: unlink(2) removes whatever
 * has the name now.  In the published algorithm (flufl.lock, and many like it)
 * two processes that have both seen an expired lock remove two locks:
 *
 *	first                       second                third
 *	sees that A has expired
 *	                            sees the same
 *	unlink(lock)
 *	link(B, lock): has it
 *	                            unlink(lock), B's!
 *	                                                  link(C, lock): has it, too
 *
 * and so does a holder that finds its own lock in place, is held up until it has
 * been broken, and then unlinks the next one's.  To rename the lock to a unique
 * name and look what was caught does not close this, but moves it: while the
 * wrong one is aside, a third can take the name.
 *
 * What can be raced for safely is a name that stands for one hold only: that of
 * its claim file.  So the claim file is the right to remove its lock:
 *
 *	to release or break     rename(claim, right)   one succeeds; others ENOENT
 *	                        stat(lock)             still the claim's file?
 *	                        unlink(lock)
 *	                        unlink(right)
 *
 * where `right` is a name that tells who has it (and the last step is left out by a
 * holder, who keeps the file for its next claim: to make and remove a file costs
 * more than all the rest).  Between the rename and the
 * unlink nobody removes this lock but who has the right, so the lock's name leads
 * to the same file at the unlink as at the look.  If whoever has the right dies
 * in between, the right is taken from it by the same rename, from its name to the
 * next one's, once it is proven gone; while it is not, the lock stays.  That holds
 * for who breaks by force, too: from one that lives the right is never taken, since
 * it would go on to unlink the lock of whoever comes next (the variant STEAL of the
 * model).
 *
 * tests/model has both algorithms for spin(1): it finds the race in the
 * published one, and none in this.  (A program that removes locks by the
 * published algorithm can still remove ours: the holder learns of it at its next
 * check, as of any break.)
 *
 * A claim file that is used again has another name for each hold, which its content
 * tells, so that who has looked at one hold cannot take the right of a later one.
 * (With two names that take turns it could: that is the variant ALTERNATE of the
 * model, in which spin finds how two are inside after all.)
 *
 * On NFS, a rename whose reply was lost fails with ENOENT where it has succeeded:
 * then the right is there, under a name that nobody else uses.  And a file that
 * is open when its name is removed gets another name (".nfs..."), so it is closed
 * before.
 */
#include "claim-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"

enum { CLAIM_MODE = 0644 };

static int write_whole(int fd, const char *content, size_t length)
{
	while (length > 0) {
		ssize_t part = write(fd, content, length);
		if (part < 0 && errno == EINTR)
			continue;
		if (part <= 0)
			return part < 0 ? -errno : -ENOSPC;
		content += part;
		length -= (size_t)part;
	}
	return 0;
}

static int fill(int fd, const void *content, size_t length, struct claim *ret)
{
	struct stat status;

	int result = write_whole(fd, content, length);
	if (result < 0)
		return result;
	if (fstat(fd, &status) < 0)
		return -errno;
	if ((status.st_mode & 0777) != CLAIM_MODE && fchmod(fd, CLAIM_MODE) < 0)
		return -errno;
	ret->device = status.st_dev;
	ret->inode = status.st_ino;
	ret->made = status.st_ctim.tv_sec * RELOCK_SECOND + status.st_ctim.tv_nsec;
	return 0;
}

int claim_make(int dir_fd, const char *name, const void *content, size_t length, struct claim *ret)
{
	if (strlen(name) > NAME_MAX)
		return -ENAMETOOLONG;
	int fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
			CLAIM_MODE);
	if (fd < 0)
		return -errno;
	int result = fill(fd, content, length, ret);
	if (result < 0) {
		close(fd);
		unlinkat(dir_fd, name, 0);
		return result;
	}
	ret->fd = fd;
	strcpy(ret->name, name);
	return 0;
}

int claim_set_time(const struct claim *claim, int64_t moment)
{
	const struct timespec times[] = {clock_timespec(moment), clock_timespec(moment)};

	return futimens(claim->fd, times) < 0 ? -errno : 0;
}

int claim_is_at(int dir_fd, const char *name, dev_t device, ino_t inode)
{
	struct stat status;

	if (fstatat(dir_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT || errno == ESTALE ? 0 : -errno;
	return status.st_dev == device && status.st_ino == inode;
}

/*
 * An open asks the server; what is known of an open file may be old (nfs(5), "Data
 * and metadata coherence").  The count alone is not enough: a client that has just
 * removed the lock's name, for the hold before, may go on saying that there are two
 * for a while, and then a lock that somebody else has would be taken for ours (seen
 * on NFS version 3 with Linux 6.1).
 */
static bool has_two_names(int dir_fd, const struct claim *claim, const char *lock_name)
{
	CLEANUP_CLOSE int fd = openat(dir_fd, lock_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	struct stat status;

	return fd >= 0 && fstat(fd, &status) == 0 && status.st_dev == claim->device &&
	       status.st_ino == claim->inode && status.st_nlink == 2;
}

int claim_link(int dir_fd, const struct claim *claim, const char *lock_name)
{
	if (linkat(dir_fd, claim->name, dir_fd, lock_name, 0) == 0)
		return 0;
	int error = -errno;
	return has_two_names(dir_fd, claim, lock_name) ? 0 : error;
}

void claim_remove(int dir_fd, struct claim *claim)
{
	if (claim->fd < 0)
		return;
	close(TAKE_FD(claim->fd));
	unlinkat(dir_fd, claim->name, 0);
}

bool claim_await_removal(int64_t since)
{
	if (clock_now(CLOCK_MONOTONIC) - since >= CLAIM_REMOVAL_TIME)
		return false;
	struct timespec pause = clock_timespec(RELOCK_MILLISECOND);
	clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	return true;
}

int claim_seize(int dir_fd, const char *claim_name, const char *right, dev_t device, ino_t inode)
{
	if (renameat(dir_fd, claim_name, dir_fd, right) == 0)
		return 0;
	int error = -errno;
	if ((error == -ENOENT || error == -ESTALE) &&
	    claim_is_at(dir_fd, right, device, inode) == 1)
		return 0;
	return error == -ESTALE ? -ENOENT : error;
}

/* -ESTALE of a server may mean that the name is gone, or that it does not know the
 * folder any more, and everything is as it was. */
static int unlink_lock(int dir_fd, const char *lock_name, dev_t device, ino_t inode)
{
	if (unlinkat(dir_fd, lock_name, 0) == 0 || errno == ENOENT)
		return 0;
	if (errno != ESTALE)
		return -errno;
	return claim_is_at(dir_fd, lock_name, device, inode) == 0 ? 0 : -EIO;
}

/* Each name of it counts, and nobody else makes any. */
static int is_lock(int dir_fd, const struct claim *claim, const char *lock_name)
{
	struct stat status;

	if (fstat(claim->fd, &status) == 0 && status.st_nlink == 2)
		return 1;
	return claim_is_at(dir_fd, lock_name, claim->device, claim->inode);
}

int claim_release(int dir_fd, struct claim *claim, const char *lock_name, const char *next)
{
	int result = claim_seize(dir_fd, claim->name, next, claim->device, claim->inode);

	if (result < 0)
		return result;
	result = is_lock(dir_fd, claim, lock_name);
	bool is_ours = result == 1;
	if (is_ours)
		result = unlink_lock(dir_fd, lock_name, claim->device, claim->inode);
	if (result < 0) {
		(void)renameat(dir_fd, next, dir_fd, claim->name);
		return result;
	}
	strcpy(claim->name, next);
	return is_ours ? 0 : -ESTALE;
}

int claim_unlock(int dir_fd, const char *lock_name, const char *claim_name, const char *right,
		 dev_t device, ino_t inode)
{
	int result = claim_is_at(dir_fd, lock_name, device, inode);

	bool is_there = result == 1;
	if (is_there)
		result = unlink_lock(dir_fd, lock_name, device, inode);
	if (result < 0) {
		(void)renameat(dir_fd, right, dir_fd, claim_name);
		return result;
	}
	unlinkat(dir_fd, right, 0);
	return is_there ? 0 : -ESTALE;
}
