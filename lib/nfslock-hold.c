/*
 * A hold of nfslock:, from its grant to its end.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "lock-file-record.h"
#include "message.h"
#include "nfslock.h"

int nfslock_check_grant(const relock_lock *relock, const struct grant *grant)
{
	if (grant->mode == RELOCK_SHARED)
		return failed(-EOPNOTSUPP, "%s: locks of nfslock: are exclusive, never shared",
			      relock->name);
	if (grant->flags & RELOCK_INHERIT)
		return failed(-EOPNOTSUPP, "%s: a lock of nfslock: cannot be inherited",
			      relock->name);
	return 0;
}

static void close_hold(relock_lock *relock)
{
	struct nfslock_lock *lock = nfslock_lock_of(relock);

	nfslock_record_close(relock);
	if (lock->hold_fd >= 0)
		close(TAKE_FD(lock->hold_fd));
}

int nfslock_check(relock_lock *relock)
{
	const struct nfslock_store *store = nfslock_store_of(relock->store);
	struct nfslock_lock *lock = nfslock_lock_of(relock);
	char record[NAME_MAX + 1];

	nfslock_record_name(record, &lock->key);
	int result = nfslock_is_at(store, lock->lock_name, &lock->key);
	if (result == 1)
		result =
			claim_is_at(store->dir_fd, record, lock->record.device, lock->record.inode);
	if (result != 0)
		return result < 0 ? result : 0;
	close_hold(relock);
	return failed(-ESTALE, "%s: the lock was broken, or its file %s/%s removed", relock->name,
		      store->path, lock->lock_name);
}

static int unlock_with_right(relock_lock *relock, const char *record, const char *right)
{
	const struct nfslock_lock *lock = nfslock_lock_of(relock);

	return nfslock_unlock(nfslock_store_of(relock->store), lock->lock_name, record, right,
			      &lock->key);
}

/* The record is not there: somebody is breaking the lock; or has given the right
 * back, for he could not; or has removed the record, but not the lock, and that
 * goes as a dead holder's would. */
static int try_without_record(relock_lock *relock, const char *record, const char *right)
{
	const struct nfslock_store *store = nfslock_store_of(relock->store);
	const struct nfslock_lock *lock = nfslock_lock_of(relock);
	__attribute__((cleanup(nfslock_look_end))) struct nfslock_look look = NFSLOCK_LOOK_NONE;

	int result = nfslock_look(store, relock->name, 0, &look);
	if (result < 0)
		return result;
	if (!look.exists || look.is_seized || look.key.inode != lock->key.inode ||
	    look.key.modified != lock->key.modified)
		return -ESTALE;
	if (!*look.record)
		return nfslock_remove(store, relock->name, &look, NULL);
	result = claim_seize(store->dir_fd, record, right, lock->record.device, lock->record.inode);
	if (result == 0)
		return unlock_with_right(relock, record, right);
	return result == -ENOENT ? -EAGAIN : result;
}

static int release_without_record(relock_lock *relock, const char *record, const char *right)
{
	int64_t began = clock_now(CLOCK_MONOTONIC);
	int result;

	do
		result = try_without_record(relock, record, right);
	while (result == -EAGAIN && claim_await_removal(began));
	return result;
}

int nfslock_release(relock_lock *relock)
{
	const struct nfslock_store *store = nfslock_store_of(relock->store);
	struct nfslock_lock *lock = nfslock_lock_of(relock);
	char record[NAME_MAX + 1], right[NAME_MAX + 1];

	nfslock_record_name(record, &lock->key);
	int result = nfslock_right_name(right, &lock->key);
	if (result == 0)
		result = claim_seize(store->dir_fd, record, right, lock->record.device,
				     lock->record.inode);
	if (result == 0)
		nfslock_record_end(relock, NULL);
	close_hold(relock);
	if (result == 0)
		result = unlock_with_right(relock, record, right);
	else if (result == -ENOENT)
		result = release_without_record(relock, record, right);
	if (result == -ESTALE)
		return failed(result, "%s: the lock was broken: %s/%s is gone, or another's",
			      relock->name, store->path, lock->lock_name);
	if (result < 0)
		return failed(result, "%s: %s/%s cannot be removed: %s", relock->name, store->path,
			      lock->lock_name, strerrordesc_np(-result));
	return 0;
}

void nfslock_at_exit(relock_lock *relock)
{
	if (relock->held)
		(void)nfslock_release(relock);
}

/*
 * A hold can go on in another process of those that share a table of descriptors
 * if the lock file names the one that keeps the table: it belongs to that one, and
 * goes when that does.
 */
int nfslock_adopt(relock_lock *relock, int fd, const struct grant *grant)
{
	const struct nfslock_store *store = nfslock_store_of(relock->store);
	struct nfslock_lock *lock = nfslock_lock_of(relock);
	__attribute__((cleanup(nfslock_look_end))) struct nfslock_look look = NFSLOCK_LOOK_NONE;
	CLEANUP_CLOSE int taken = fd;
	struct claim_owner owner;
	struct stat status;

	int result = nfslock_check_grant(relock, grant);
	if (result < 0)
		return result;
	result = nfslock_look(store, relock->name, 0, &look);
	if (result < 0)
		return result;
	if (fstat(taken, &status) < 0 || !look.exists || status.st_ino != look.key.inode ||
	    status.st_dev != look.key.device || look.is_seized || !look.has_owner || !look.slot)
		return failed(-ESTALE, "%s: the lock is not held any more", relock->name);
	claim_owner_draw(&owner, grant->on_behalf);
	if (look.owner.pid != owner.pid || look.owner.start_time != owner.start_time ||
	    !claim_owner_is_of_this_boot(&look.owner))
		return failed(-EOPNOTSUPP,
			      "%s: a lock of nfslock: belongs to its process, pid %d, and goes "
			      "when that ends",
			      relock->name, (int)look.owner.pid);
	lock->owner = look.owner;
	lock->key = look.key;
	result = nfslock_record_adopt(relock, look.record, look.slot);
	if (result == 0)
		lock->hold_fd = TAKE_FD(taken);
	return result;
}

int nfslock_convert(relock_lock *relock, const struct grant *grant)
{
	return nfslock_check_grant(relock, grant);
}

int nfslock_pass(relock_lock *relock, const struct grant *grant)
{
	int result = nfslock_check(relock);

	return result < 0 ? result : nfslock_record_pass(relock, grant);
}

int nfslock_mark_broken(relock_lock *relock, const struct breaker *by)
{
	int result = nfslock_check(relock);

	if (result == 0)
		nfslock_record_end(relock, by);
	return result;
}

int nfslock_set_info(relock_lock *relock, const void *info, size_t length)
{
	struct file_lock *record = &nfslock_lock_of(relock)->record;
	int result = nfslock_check(relock);

	if (result < 0)
		return result;
	if (!record->recorded)
		return failed(-ENODATA, "%s: the record beside the lock file cannot be written to",
			      relock->name);
	return lock_record_set_info(record, info, length);
}

int nfslock_read_info(const relock_lock *relock, char **ret, size_t *ret_length)
{
	const struct file_lock *record = &nfslock_lock_of(relock)->record;
	size_t length = record->recorded ? record->image->record.info_length : 0;

	if (length == 0)
		return -ENODATA;
	char *copy = malloc(length + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, record->image->info, length);
	copy[length] = '\0';
	*ret = copy;
	*ret_length = length;
	return 0;
}

int nfslock_token(const relock_lock *relock, uint64_t *ret)
{
	const struct file_lock *record = &nfslock_lock_of(relock)->record;

	/* Who was broken before may have drawn it after the next one did. */
	int result = nfslock_check((relock_lock *)relock);
	if (result < 0)
		return result;
	if (record->recorded) {
		*ret = record->image->record.token;
		return 0;
	}
	return failed(-ENODATA,
		      "%s: its token could not be kept beside the lock file, and so is not sure "
		      "to grow",
		      relock->name);
}

int nfslock_fd(const relock_lock *relock)
{
	return nfslock_lock_of(relock)->hold_fd;
}
