/*
 * A lock on a file that others may remove, replace, or fill with anything.
 *
 * Two rules, each of which has cost some lock library a second holder (those
 * for opening files are in lock-file-open.c, for writing lock-file-record.c):
 *
 *  - Once locked, the name must still lead to the file, or somebody has
 *    removed or replaced it between the open and the lock: start over.
 *    Nobody of ours removes a file but under its lock.
 *  - A file that is found without a record of ours may have taken the place of
 *    one that somebody still holds: see orphan.c.
 *
 * What an uncontended pair costs is counted in system calls, so:
 *
 *    acquire   F_OFD_SETLK     the lock
 *              fstat           of the folder: has anything in it changed?
 *              pread           whose file is it, and the last token
 *              pwrite          record, empty end, info
 *    release   pwrite          the end
 *              F_OFD_SETLK     the lock
 *              F_GETFL         had somebody broken it?
 *
 * Who breaks a lock sets O_APPEND on the holder's open file description, by a
 * duplicate of its descriptor, before it unlocks it: the holder's next look at
 * its flags shows it, and a write of the holder that is under way already goes
 * to the end of the file (pwrite(2), "BUGS") instead of over the next
 * holder's record.
 */
#include "lock-file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "cleanup.h"
#include "clock.h"
#include "lock-file-record.h"
#include "message.h"
#include "orphan.h"
#include "proc-locks.h"
#include "process.h"

/* glibc's fstat() is newfstatat() with an empty path, and slower; where longs
 * have 64 bits, the kernel's struct is the same. */
static int quick_fstat(int fd, struct stat *ret)
{
#if defined SYS_fstat && defined __LP64__
	return (int)syscall(SYS_fstat, fd, ret);
#else
	return fstat(fd, ret);
#endif
}

/*
 * Does the name still lead to the locked file?  Every change of an entry sets
 * the folder's times, so if they are those of the last look, the answer is
 * that of the last look, and one fstat of a folder costs half a walk along a
 * path.  Times count in ticks of up to 10 ms on some kernels: a folder that
 * had changed within the last ticks when its times were read may change again
 * without a difference; such times are not kept (git calls this "racy").
 */
int lock_file_is_current(const struct file_store *store, struct file_lock *file, const char *name)
{
	const int64_t racy = 50 * RELOCK_MILLISECOND;
	struct stat folder, entry;

	if (quick_fstat(store->dir_fd, &folder) < 0)
		return -errno;
	if (file->stamped &&
	    memcmp(&file->stamp.modified, &folder.st_mtim, sizeof(struct timespec)) == 0 &&
	    memcmp(&file->stamp.changed, &folder.st_ctim, sizeof(struct timespec)) == 0)
		return 1;
	if (fstatat(store->dir_fd, name, &entry, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (entry.st_dev != file->device || entry.st_ino != file->inode)
		return 0;
	int64_t modified = folder.st_mtim.tv_sec * RELOCK_SECOND + folder.st_mtim.tv_nsec;
	int64_t changed = folder.st_ctim.tv_sec * RELOCK_SECOND + folder.st_ctim.tv_nsec;
	int64_t now = moment_now();
	file->linked = entry.st_nlink > 1;
	file->stamped = store->stamps && now - modified > racy && now - changed > racy;
	file->stamp = (struct stamp){folder.st_mtim, folder.st_ctim};
	return 1;
}

static int set_mode(const struct lock_primitive *primitive, struct file_lock *file,
		    enum hold_mode mode, const struct grant *grant)
{
	int result;

	if (grant->deadline == AT_ONCE)
		result = primitive->wait.set(file->fd, &mode, false);
	else
		result = wait_for(&primitive->wait, file->fd, &mode, &file->mode, grant->deadline,
				  grant->cancel_state);
	if (result == 0)
		file->mode = mode;
	return result;
}

static void close_cancelled(void *argument)
{
	lock_file_close(argument);
}

/* Waits until nobody has the lock of a nameless file. */
static int wait_for_orphan(const struct lock_primitive *primitive, struct file_lock *file,
			   int orphan, const struct grant *grant)
{
	const enum hold_mode exclusive = HOLD_EXCLUSIVE, none = HOLD_NONE;
	int result;

	if (grant->deadline == AT_ONCE) {
		result = primitive->wait.set(orphan, &exclusive, false);
	} else {
		pthread_cleanup_push(close_cancelled, file);
		result = wait_for(&primitive->wait, orphan, &exclusive, &none, grant->deadline,
				  grant->cancel_state);
		pthread_cleanup_pop(0);
	}
	/* A child forked meanwhile has the descriptor, too. */
	if (result == 0)
		primitive->wait.set(orphan, &none, false);
	return result;
}

/* Nobody holds a file that had this name before.  To be asked with the lock;
 * for a file that has been ours, the answer is in its record. */
static int no_orphan(relock_lock *lock, const struct grant *grant)
{
	struct file_store *store = file_store_of(lock->store);
	struct file_lock *file = file_lock_of(lock);
	uint64_t token;

	while (file->strange && lock_record_owner(file->fd, &token) != RECORD_OURS) {
		CLEANUP_CLOSE int orphan = -1;
		if (orphan_find(store, lock->name, file, &orphan) < 0)
			break;
		int result = wait_for_orphan(store->primitive, file, orphan, grant);
		if (result < 0)
			return result;
	}
	file->strange = false;
	return 0;
}

int lock_file_acquire(relock_lock *lock, const struct grant *grant)
{
	const struct file_store *store = file_store_of(lock->store);
	struct file_lock *file = file_lock_of(lock);
	enum hold_mode mode = grant->mode == RELOCK_SHARED ? HOLD_SHARED : HOLD_EXCLUSIVE;
	int result;

	for (;;) {
		bool writes = mode == HOLD_EXCLUSIVE && store->primitive->writes;
		if (file->fd >= 0 && writes && !file->writable)
			lock_file_close(file);
		if (file->fd < 0) {
			result = lock_file_open(lock, mode);
			if (result < 0)
				return result;
		}
		result = set_mode(store->primitive, file, mode, grant);
		if (result < 0)
			return result;
		result = lock_file_is_current(store, file, lock->name);
		if (result == 1) {
			result = no_orphan(lock, grant);
			if (result == 0)
				break;
		}
		lock_file_close(file); /* and with it the lock */
		if (result < 0)
			return result;
	}
	result = lock_record_draw(file, grant, mode);
	if (result < 0) {
		lock_file_close(file);
		return result;
	}
	if (mode == HOLD_EXCLUSIVE)
		lock_record_exclusive(file);
	else
		lock_record_shared(store, file);
	if (grant->flags & RELOCK_INHERIT)
		fcntl(file->fd, F_SETFD, 0);
	if (store->primitive->granted)
		store->primitive->granted(lock);
	return 0;
}

static int check_broken(relock_lock *lock);

/* The kernel knows; where it cannot be asked, to lock again what is held
 * changes nothing, and what is not held was unlocked by somebody who has left
 * a mark. */
static int check_held(relock_lock *lock, const struct grant *grant, enum hold_mode mode)
{
	const struct file_store *store = file_store_of(lock->store);
	struct file_lock *file = file_lock_of(lock);
	struct lock_line line = {0};
	struct file_id id;

	int result = file_id_of(file->fd, &id);
	if (result == 0 && descriptor_holds(process_self()->pid, file->fd,
					    store->primitive->line_type, &id, &line) == 0)
		result = -ESTALE;
	if (result == 0)
		result = set_mode(store->primitive, file, mode, grant);
	if (result == 0)
		result = check_broken(lock);
	if (result == 0 && lock_file_is_current(store, file, lock->name) == 0)
		result = -ESTALE;
	return result == -EAGAIN ? -ESTALE : result;
}

int lock_file_adopt(relock_lock *lock, int fd, const struct grant *grant)
{
	const struct file_store *store = file_store_of(lock->store);
	struct file_lock *file = file_lock_of(lock);
	enum hold_mode mode = grant->mode == RELOCK_SHARED ? HOLD_SHARED : HOLD_EXCLUSIVE;

	lock_file_close(file);
	int result = lock_file_open_as(file, fd);
	if (result < 0) {
		close(fd);
		return result == -EBADF ? -ESTALE : result;
	}
	result = check_held(lock, grant, mode);
	if (result == 0)
		result = lock_record_draw(file, grant, mode);
	if (result < 0) {
		lock_file_close(file);
		return result == -ESTALE
			       ? failed(result, "%s: the lock is not held any more", lock->name)
			       : result;
	}
	lock_record_adopt(file);
	if (store->primitive->granted)
		store->primitive->granted(lock);
	return 0;
}

static int was_broken(const relock_lock *lock)
{
	return failed(-ESTALE, "%s: the lock was broken by somebody else", lock->name);
}

static int check_broken(relock_lock *lock)
{
	struct file_lock *file = file_lock_of(lock);
	int flags = fcntl(file->fd, F_GETFL);

	if (flags >= 0 && !(flags & O_APPEND))
		return 0;
	/* Unlocked already; another process may have the description too. */
	lock_file_close(file);
	return was_broken(lock);
}

/* Whoever removes the file under its holder breaks the lock, too: the next
 * holder will make another file. */
int lock_file_check(relock_lock *lock)
{
	struct file_lock *file = file_lock_of(lock);

	int result = check_broken(lock);
	if (result < 0 || lock_file_is_current(file_store_of(lock->store), file, lock->name) != 0)
		return result;
	lock_file_close(file);
	return failed(-ESTALE, "%s: the lock file was removed or replaced by somebody else",
		      lock->name);
}

static void record_release(const struct file_lock *file)
{
	if (file->recorded && !file->ended)
		lock_record_end(file->fd, file->slot, file->image->record.hold, NULL);
}

/* Others have the description, and may think that they hold: they learn
 * otherwise as from a break.  The next hold is on a description of its own, or
 * theirs would be part of it. */
static int release_for_all(const struct lock_primitive *primitive, relock_lock *lock)
{
	const enum hold_mode none = HOLD_NONE;
	struct file_lock *file = file_lock_of(lock);

	primitive->wait.set(file->fd, &none, false);
	int result = check_broken(lock);
	if (result < 0)
		return result;
	(void)fcntl(file->fd, F_SETFL, fcntl(file->fd, F_GETFL) | O_APPEND);
	lock_file_close(file);
	return 0;
}

int lock_file_release(relock_lock *lock)
{
	const struct lock_primitive *primitive = file_store_of(lock->store)->primitive;
	struct file_lock *file = file_lock_of(lock);
	const enum hold_mode none = HOLD_NONE;

	record_release(file);
	bool replaced = false;
	if (primitive->before_release) {
		int result = check_broken(lock);
		if (result < 0)
			return result;
		replaced = primitive->before_release(lock);
	}
	if (lock->flags & RELOCK_INHERIT)
		return release_for_all(primitive, lock);
	if (replaced || primitive->wait.set(file->fd, &none, false) < 0) {
		lock_file_close(file);
		return 0; /* closing releases, too */
	}
	file->mode = HOLD_NONE;
	file->recorded = false;
	/* After the unlock: a mark that comes later finds nothing held, and is
	 * taken back; one that stayed would meet the next hold. */
	return check_broken(lock);
}

/* The kernel counts who has the open file description; the record says that
 * we have gone, which matters once nobody has it. */
int lock_file_leave(relock_lock *lock)
{
	struct file_lock *file = file_lock_of(lock);

	int result = check_broken(lock);
	if (result < 0)
		return result;
	record_release(file);
	lock_file_close(file);
	return 0;
}

struct conversion {
	const struct lock_primitive *primitive;
	struct file_lock *file;
};

/* flock(2) gives the shared lock up before it tries the other; if somebody was
 * quicker, it is lost, and the closed file says so at the next check. */
static bool still_shared(const struct conversion *conversion)
{
	const enum hold_mode shared = HOLD_SHARED;

	if (conversion->primitive->wait.set(conversion->file->fd, &shared, false) == 0)
		return true;
	lock_file_close(conversion->file);
	return false;
}

static void conversion_cancelled(void *argument)
{
	(void)still_shared(argument);
}

int lock_file_convert(relock_lock *lock, const struct grant *grant)
{
	const struct lock_primitive *primitive = file_store_of(lock->store)->primitive;
	struct file_lock *file = file_lock_of(lock);

	if (grant->mode == RELOCK_SHARED) {
		/* Slot 0 belongs to whoever holds exclusively: write first. */
		lock_record_convert(file, HOLD_SHARED);
		return set_mode(primitive, file, HOLD_SHARED, grant);
	}
	if (primitive->writes && !file->writable)
		return lock_file_explain(lock->name, -EACCES);
	struct conversion conversion = {primitive, file};
	int result;
	pthread_cleanup_push(conversion_cancelled, &conversion);
	result = set_mode(primitive, file, HOLD_EXCLUSIVE, grant);
	pthread_cleanup_pop(0);
	if (result == 0) {
		lock_record_convert(file, HOLD_EXCLUSIVE);
		return 0;
	}
	if (still_shared(&conversion))
		return result;
	return failed(-ESTALE, "%s: lost to another while changing its mode", lock->name);
}

int lock_file_pass(relock_lock *lock, const struct grant *grant)
{
	struct file_lock *file = file_lock_of(lock);

	int result = check_broken(lock);
	if (result < 0)
		return result;
	result = lock_record_draw(file, grant, file->mode);
	if (result < 0)
		return result;
	lock_record_pass(file);
	return 0;
}

int lock_file_set_info(relock_lock *lock, const void *info, size_t length)
{
	struct file_lock *file = file_lock_of(lock);

	int result = check_broken(lock);
	if (result < 0)
		return result;
	if (!file->recorded)
		return failed(-ENODATA, "%s: the lock file cannot be written to", lock->name);
	return lock_record_set_info(file, info, length);
}

int lock_file_mark_broken(relock_lock *lock, const struct breaker *by)
{
	struct file_lock *file = file_lock_of(lock);

	int result = check_broken(lock);
	if (result < 0 || !file->recorded)
		return result;
	result = lock_record_end(file->fd, file->slot, file->image->record.hold, by);
	file->ended = result == 0;
	return result;
}

int lock_file_info(const relock_lock *lock, char **ret, size_t *ret_length)
{
	const struct file_lock *file = file_lock_of(lock);
	size_t length = file->recorded ? file->image->record.info_length : 0;

	if (length == 0)
		return -ENODATA;
	char *copy = malloc(length + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, lock_record_info(file), length);
	copy[length] = '\0';
	*ret = copy;
	*ret_length = length;
	return 0;
}

/* The mark of a break is there before the next holder is: what was drawn after the
 * next one's is not told. */
int lock_file_token(const relock_lock *lock, uint64_t *ret)
{
	const struct file_lock *file = file_lock_of(lock);

	int flags = file->fd < 0 ? O_APPEND : fcntl(file->fd, F_GETFL);
	if (flags < 0)
		return -errno;
	if (flags & O_APPEND)
		return was_broken(lock);
	if (!file->recorded)
		return failed(
			-ENODATA,
			"%s: its token could not be kept in the lock file, and so is not sure "
			"to grow",
			lock->name);
	*ret = file->image->record.token;
	return 0;
}

int lock_file_fd(const relock_lock *lock)
{
	return file_lock_of(lock)->fd;
}
