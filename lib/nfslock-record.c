/*
 * What Core_unix's lock file has no room for: token, info, history, and who holds
 * the lock beyond host and pid.  It is in a file of its own for each hold,
 *
 *	a slot of record.h     token, since when, command, info, how it ended
 *	at SLOT_SIZE           the holder as claim-name.h has it, a text
 *
 * which is made before the lock file has its name, and found by the lock file's
 * inode and modification time.  A holder that has lost its lock, and does not know
 * it yet, writes into the file of its own hold, and disturbs nobody.
 *
 * When the lock is granted, that file gets .NAME.relock as a second name, in place
 * of the last hold's: so the last token, and how the last hold ended, are there for
 * the next, whatever becomes of the first name.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "lock-file-record.h"
#include "message.h"
#include "nfslock.h"
#include "process.h"

enum { RECORD_MODE = 0644 };

/* What stands for a lock's name where claim-name.h wants one. */
#define HOLD  "hold"
#define RIGHT "r"

void nfslock_record_name(char buffer[NAME_MAX + 1], const struct nfslock_key *key)
{
	snprintf(buffer, NAME_MAX + 1, ".relock-%llx-%llx", (unsigned long long)key->inode,
		 (unsigned long long)key->modified);
}

int nfslock_right_name(char buffer[NAME_MAX + 1], const struct nfslock_key *key)
{
	struct claim_owner self;
	char prefix[NAME_MAX + 1];

	claim_owner_draw(&self, NULL);
	nfslock_record_name(prefix, key);
	strcat(prefix, ".");
	return claim_name_write(buffer, prefix, RIGHT, &self);
}

bool nfslock_history_name(char buffer[NAME_MAX + 1], const char *name)
{
	return snprintf(buffer, NAME_MAX + 1, ".%s.relock", name) <= NAME_MAX;
}

/* Reading */

static bool read_owner(int fd, struct claim_owner *ret)
{
	char text[NAME_MAX + 1];

	ssize_t length = pread(fd, text, sizeof text - 1, SLOT_SIZE);
	if (length <= 0)
		return false;
	text[length] = '\0';
	return claim_name_read(text, HOLD, ret) && ret->is_known;
}

int nfslock_record_read(int dir_fd, const char *file, bool *ret_has_owner,
			struct claim_owner *ret_owner, struct slot **ret_slot)
{
	struct stat status;
	CLEANUP_CLOSE int fd =
		openat(dir_fd, file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT || errno == ESTALE ? -ENOENT
		       : errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == EIO
			       ? -errno
			       : 0;
	if (fstat(fd, &status) < 0 || !S_ISREG(status.st_mode))
		return 0;
	*ret_has_owner = read_owner(fd, ret_owner);
	CLEANUP_FREE struct slot *slot = malloc(sizeof *slot);
	if (!slot)
		return -ENOMEM;
	if (slot_read(fd, 0, slot))
		*ret_slot = TAKE_POINTER(slot);
	return 0;
}

/* Writing */

static int write_owner(int fd, const struct claim_owner *owner)
{
	char text[NAME_MAX + 1];

	int result = claim_name_write(text, "", HOLD, owner);
	if (result < 0)
		return result;
	ssize_t length = (ssize_t)strlen(text);
	ssize_t written = pwrite(fd, text, (size_t)length, SLOT_SIZE);
	return written == length ? 0 : written < 0 ? -errno : -ENOSPC;
}

static int make_file(int dir_fd, const char *name)
{
	const int flags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;

	int fd = openat(dir_fd, name, flags, RECORD_MODE);
	/* Of a lock file that is no more: the inode is that of our claim. */
	if (fd < 0 && errno == EEXIST && unlinkat(dir_fd, name, 0) == 0)
		fd = openat(dir_fd, name, flags, RECORD_MODE);
	return fd < 0 ? -errno : fd;
}

static int fill(struct nfslock_lock *lock, const struct grant *grant)
{
	struct file_lock *file = &lock->record;
	struct stat status;

	if (fstat(file->fd, &status) < 0)
		return -errno;
	if ((status.st_mode & 0777) != RECORD_MODE && fchmod(file->fd, RECORD_MODE) < 0)
		return -errno;
	file->device = status.st_dev;
	file->inode = status.st_ino;
	file->uid = process_self()->uid;
	file->mode = HOLD_EXCLUSIVE;
	file->slot = 0;
	int result = lock_record_draw(file, grant, HOLD_EXCLUSIVE);
	if (result < 0)
		return result;
	file->image->record.token = 0;
	file->image->record.hold = file->next_hold = lock->owner.number;
	file->image->record.since = moment_now();
	result = lock_record_write(file);
	return result < 0 ? result : write_owner(file->fd, &lock->owner);
}

int nfslock_record_make(relock_lock *relock, const struct grant *grant)
{
	const struct nfslock_store *store = nfslock_store_of(relock->store);
	struct nfslock_lock *lock = nfslock_lock_of(relock);
	char name[NAME_MAX + 1];

	nfslock_record_name(name, &lock->key);
	int fd = make_file(store->dir_fd, name);
	if (fd < 0)
		return fd;
	lock->record.fd = fd;
	lock->record.recorded = false;
	int result = fill(lock, grant);
	if (result < 0)
		nfslock_record_drop(relock);
	return result;
}

/*
 * A client of NFS remembers for a while that a name did not exist, though another
 * client has made it since; but not where it is to be made (nfs(5), "Directory
 * entry caching").  And that it led to another file, which the server knows no more.
 */
static void ask_server(const struct nfslock_store *store, const char *history)
{
	if (store->is_local)
		return;
	nfslock_ask_server(store);
	int fd = openat(store->dir_fd, history, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC,
			RECORD_MODE);
	if (fd >= 0)
		close(fd);
}

static uint64_t last_token(const struct nfslock_store *store, const char *history)
{
	CLEANUP_FREE struct slot *slot = NULL;
	struct claim_owner owner;
	bool has_owner;

	ask_server(store, history);
	(void)nfslock_record_read(store->dir_fd, history, &has_owner, &owner, &slot);
	return slot ? slot->record.token : 0;
}

static bool write_grant(struct file_lock *file, uint64_t last)
{
	int64_t now = moment_now();
	uint64_t now_token = (uint64_t)(now / 1000);

	file->image->record.token = last + 1 > now_token ? last + 1 : now_token;
	file->image->record.since = now;
	return lock_record_write(file) == 0;
}

/* What a record is called on its way to being the last. */
static void next_history_name(char buffer[NAME_MAX + 1], const char *name)
{
	snprintf(buffer, NAME_MAX + 1, "%.64s.h", name);
}

/* A rename over another name of the same file would do nothing: it is not, but for
 * a hold that is granted twice. */
static bool make_last(const struct nfslock_store *store, const char *name, const char *history)
{
	char other[NAME_MAX + 1];

	next_history_name(other, name);
	if (linkat(store->dir_fd, name, store->dir_fd, other, 0) < 0 && errno != EEXIST)
		return false;
	if (renameat(store->dir_fd, other, store->dir_fd, history) < 0) {
		unlinkat(store->dir_fd, other, 0);
		return false;
	}
	return true;
}

void nfslock_record_grant(relock_lock *relock)
{
	const struct nfslock_store *store = nfslock_store_of(relock->store);
	struct nfslock_lock *lock = nfslock_lock_of(relock);
	char name[NAME_MAX + 1], history[NAME_MAX + 1];

	nfslock_record_name(name, &lock->key);
	lock->record.recorded = nfslock_history_name(history, relock->name) &&
				write_grant(&lock->record, last_token(store, history)) &&
				make_last(store, name, history);
	if (!lock->record.recorded)
		debug("%s: held, but not recorded: %s", relock->name, strerrorname_np(errno));
}

/* The record has lost its own name, so the link fails from now on; and what was linked
 * before goes, so the rename does. */
void nfslock_record_stop(const struct nfslock_store *store, const struct nfslock_key *key)
{
	char name[NAME_MAX + 1], other[NAME_MAX + 1];

	nfslock_record_name(name, key);
	next_history_name(other, name);
	unlinkat(store->dir_fd, other, 0);
}

int nfslock_record_pass(relock_lock *relock, const struct grant *grant)
{
	struct file_lock *file = &nfslock_lock_of(relock)->record;
	uint64_t token = file->image->record.token;

	file->plain = false;
	int result = lock_record_draw(file, grant, HOLD_EXCLUSIVE);
	if (result < 0)
		return result;
	file->image->record.hold = ++file->next_hold;
	file->recorded = file->recorded && write_grant(file, token);
	return 0;
}

int nfslock_record_adopt(relock_lock *relock, const char *name, const struct slot *slot)
{
	const struct nfslock_store *store = nfslock_store_of(relock->store);
	struct file_lock *file = &nfslock_lock_of(relock)->record;
	size_t length = SLOT_INFO_OFFSET + slot->record.info_length;
	struct stat status;

	CLEANUP_CLOSE int fd = openat(store->dir_fd, name, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &status) < 0)
		return errno == ENOENT ? -ESTALE : -errno;
	struct slot *image = realloc(file->image, length);
	if (!image)
		return -ENOMEM;
	memcpy(image, slot, length);
	file->image = image;
	file->constant_sum = record_constant_sum(&image->record, image->info);
	file->next_hold = image->record.hold;
	file->device = status.st_dev;
	file->inode = status.st_ino;
	file->uid = process_self()->uid;
	file->mode = HOLD_EXCLUSIVE;
	file->slot = 0;
	file->plain = file->ended = false;
	file->recorded = image->record.token != 0;
	file->fd = TAKE_FD(fd);
	return 0;
}

void nfslock_record_end(relock_lock *relock, const struct breaker *by)
{
	struct file_lock *file = &nfslock_lock_of(relock)->record;

	if (file->fd < 0 || file->ended || !file->recorded)
		return;
	if (lock_record_end(file->fd, 0, file->image->record.hold, by) == 0)
		file->ended = true;
}

void nfslock_record_close(relock_lock *relock)
{
	struct file_lock *file = &nfslock_lock_of(relock)->record;

	if (file->fd >= 0)
		close(TAKE_FD(file->fd));
	file->recorded = false;
}

void nfslock_record_drop(relock_lock *relock)
{
	const struct nfslock_store *store = nfslock_store_of(relock->store);
	struct nfslock_lock *lock = nfslock_lock_of(relock);
	char name[NAME_MAX + 1];

	if (lock->record.fd < 0)
		return;
	nfslock_record_close(relock);
	nfslock_record_name(name, &lock->key);
	unlinkat(store->dir_fd, name, 0);
}
