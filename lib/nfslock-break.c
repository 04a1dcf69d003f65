/*
 * Removing a lock whose holder is gone, or by somebody's will.
 *
 * Others may be about to do the same: relock, here or on another machine; and
 * Core_unix, which cleans up under a flock(2) lock on the lock file, on the host
 * of its holder.  So the same flock is taken first: whoever has it, and finds the
 * lock's name leading to that file, knows that nobody else on this host is
 * between his look and his unlink.  A hold of relock's has a record besides, whose
 * rename is the right to remove the lock, whatever machine one is on (see
 * claim-file.c).  Who takes that from one that died with it has the flock, so under
 * the flock it is certain that there is no record: what has none may be removed by
 * the flock alone.  tests/model/record.pml has both ways together for spin(1).
 *
 * Core_unix removes NAME first.  So does this, where it is the lock file by another
 * name or says the same: the first version links it to the lock's name before it
 * writes into it, and until it has, the file would name the dead holder, and look
 * like one to be removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "lock-file-record.h"
#include "message.h"
#include "nfslock.h"
#include "process.h"

/* The lock file, with the flock; on a network file system that needs a descriptor
 * open for writing (nfs(5), flock(2)). */
static int open_with_flock(const struct nfslock_store *store, const char *lock_name,
			   const struct nfslock_look *look, int *ret_fd)
{
	const int flags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
	struct stat status;

	CLEANUP_CLOSE int fd = openat(store->dir_fd, lock_name, O_RDWR | flags);
	if (fd < 0 && errno != ENOENT)
		fd = openat(store->dir_fd, lock_name, O_RDONLY | flags);
	if (fd < 0)
		return errno == ENOENT ? -EAGAIN : -errno;
	if (fstat(fd, &status) < 0)
		return -errno;
	if (status.st_dev != look->key.device || status.st_ino != look->key.inode)
		return -EAGAIN;
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return errno == EWOULDBLOCK ? -EAGAIN : -errno;
	int result = nfslock_is_at(store, lock_name, &look->key);
	if (result <= 0)
		return result < 0 ? result : -EAGAIN;
	*ret_fd = TAKE_FD(fd);
	return 0;
}

static bool says(int fd, const char *text, size_t length)
{
	CLEANUP_FREE char *now = malloc(length + 1);

	return now && pread(fd, now, length + 1, 0) == (ssize_t)length &&
	       memcmp(now, text, length) == 0;
}

static void remove_second_name(const struct nfslock_store *store, const char *name,
			       const struct nfslock_look *look)
{
	CLEANUP_CLOSE int fd = openat(store->dir_fd, name,
				      O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
		return;
	bool is_same = status.st_ino == look->key.inode && status.st_dev == look->key.device;
	if (is_same || (look->text && look->length > 0 && says(fd, look->text, look->length)))
		unlinkat(store->dir_fd, name, 0);
}

int nfslock_unlock(const struct nfslock_store *store, const char *lock_name, const char *record,
		   const char *right, const struct nfslock_key *key)
{
	int result = nfslock_is_at(store, lock_name, key);

	if (result == 1 && unlinkat(store->dir_fd, lock_name, 0) < 0 && errno != ENOENT)
		result = -errno;
	if (result < 0) {
		(void)renameat(store->dir_fd, right, store->dir_fd, record);
		return result;
	}
	unlinkat(store->dir_fd, right, 0);
	return result == 1 ? 0 : -ESTALE;
}

static int remove_recorded(const struct nfslock_store *store, const char *lock_name,
			   const struct nfslock_look *look, const struct breaker *by)
{
	char record[NAME_MAX + 1], right[NAME_MAX + 1];
	struct stat status;

	nfslock_record_name(record, &look->key);
	int result = nfslock_right_name(right, &look->key);
	if (result < 0)
		return result;
	if (fstatat(store->dir_fd, look->record, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? -EAGAIN : -errno;
	result = claim_seize(store->dir_fd, look->record, right, status.st_dev, status.st_ino);
	if (result < 0)
		return result == -ENOENT ? -EAGAIN : result;
	nfslock_record_stop(store, &look->key);
	if (by && look->slot) {
		CLEANUP_CLOSE int fd =
			openat(store->dir_fd, right, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0)
			(void)lock_record_end(fd, 0, look->slot->record.hold, by);
	}
	result = nfslock_unlock(store, lock_name, record, right, &look->key);
	return result == -ESTALE ? -EAGAIN : result;
}

/* The look may have missed a record that was being renamed. */
static int remove_by_flock(const struct nfslock_store *store, const char *name,
			   const char *lock_name, const struct nfslock_look *look, int fd,
			   bool is_forced)
{
	if (!is_forced && !(look->text && says(fd, look->text, look->length)))
		return -EAGAIN;
	int result = nfslock_has_record(store, &look->key);
	if (result != 0)
		return result < 0 ? result : -EAGAIN;
	/* Whoever had the right has finished, perhaps only now. */
	result = nfslock_is_at(store, lock_name, &look->key);
	if (result != 1)
		return result < 0 ? result : -EAGAIN;
	remove_second_name(store, name, look);
	return unlinkat(store->dir_fd, lock_name, 0) < 0 && errno != ENOENT ? -errno : 0;
}

static int explain(const struct nfslock_store *store, const char *lock_name, int error)
{
	if (error >= 0 || error == -EAGAIN)
		return error;
	return failed(error, "%s/%s: it cannot be removed: %s", store->path, lock_name,
		      strerrordesc_np(-error));
}

int nfslock_remove(const struct nfslock_store *store, const char *name,
		   const struct nfslock_look *look, const struct breaker *by)
{
	char lock_name[NAME_MAX + 1];
	CLEANUP_CLOSE int fd = -1;

	int result = nfslock_name(lock_name, name);
	if (result < 0)
		return result;
	result = open_with_flock(store, lock_name, look, &fd);
	if (result == -EAGAIN && (!by || look->is_seized))
		return result;
	if (*look->record) {
		/* The right is the rename; without the flock, Core_unix cannot
		 * clean up either. */
		if (fd >= 0)
			remove_second_name(store, name, look);
		return explain(store, lock_name, remove_recorded(store, lock_name, look, by));
	}
	/* By somebody's will also what cannot be opened: nobody cleans that up. */
	if (fd >= 0 || (by && result != -EAGAIN))
		result = remove_by_flock(store, name, lock_name, look, fd, by != NULL);
	debug("%s: removed by its file's flock: %s", lock_name,
	      result < 0 ? strerrorname_np(-result) : "done");
	return explain(store, lock_name, result);
}

/* Somebody is removing it already.  From one that lives here the right cannot be
 * taken; one that cannot be seen from here has its time for it. */
static bool must_wait(const struct nfslock_look *look, bool has_had_time)
{
	if (!look->is_seized)
		return false;
	enum claim_life life = claim_owner_life(&look->remover);
	return life == CLAIM_SEEN || (life != CLAIM_GONE && !has_had_time);
}

static bool is_same(const struct nfslock_key *one, const struct nfslock_key *other)
{
	return one->device == other->device && one->inode == other->inode &&
	       one->modified == other->modified;
}

static int still_there(const struct nfslock_store *store, const char *name,
		       const struct nfslock_look *look)
{
	if (look->is_seized)
		return failed(-EAGAIN,
			      "%s: pid %d on %s has begun to remove the lock, and does not go on; "
			      "end it, or remove %s/%s and %s/%s" NFSLOCK_SUFFIX,
			      name, (int)look->remover.pid, look->remover.host, store->path,
			      look->record, store->path, name);
	return failed(-EAGAIN,
		      "%s: somebody has locked %s/%s" NFSLOCK_SUFFIX " by flock(2), as who "
		      "removes it does, and does not go on",
		      name, store->path, name);
}

/* -EAGAIN: somebody else is removing it.  `first`: the hold that is to end; that of
 * the first look. */
static int break_once(const struct nfslock_store *store, const char *name, const struct breaker *by,
		      bool has_had_time, struct nfslock_key *first, struct nfslock_look *look)
{
	bool is_first = first->inode == 0;

	int result = nfslock_look(store, name, moment_now(), look);
	if (result < 0)
		return result;
	if (is_first && !look->exists)
		return failed(-ENOENT, "%s: not held", name);
	if (is_first)
		*first = look->key;
	if (!look->exists || !is_same(&look->key, first))
		return 0; /* ended, and perhaps another has begun */
	return must_wait(look, has_had_time) ? -EAGAIN : nfslock_remove(store, name, look, by);
}

int nfslock_break_hold(relock_store *relock, const char *name, const struct breaker *by)
{
	const struct nfslock_store *store = nfslock_store_of(relock);
	__attribute__((cleanup(nfslock_look_end))) struct nfslock_look look = NFSLOCK_LOOK_NONE;
	int64_t began = clock_now(CLOCK_MONOTONIC);
	struct nfslock_key first = {0};
	bool has_had_time = false;

	int result = break_once(store, name, by, has_had_time, &first, &look);
	while (result == -EAGAIN && !has_had_time) {
		has_had_time = !claim_await_removal(began);
		nfslock_look_end(&look);
		look = (struct nfslock_look)NFSLOCK_LOOK_NONE;
		result = break_once(store, name, by, has_had_time, &first, &look);
	}
	return result == -EAGAIN ? still_there(store, name, &look) : result;
}
