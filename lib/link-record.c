/*
 * What the protocol of flufl.lock has no room for: token, info, history, and how
 * long a hold lasts by a clock that nobody sets.  It is in DIR/.NAME.relock, which
 * flufl.lock does not look at:
 *
 *	0      a slot as of any lock file (record.h): the last hold of relock's, with
 *	       the number of its claim file; until when it lasts is in `fd` and
 *	       `reserved`, which mean nothing here
 *	4608   until when it lasts since it was refreshed
 *
 * Only the holder writes there, and whoever breaks the hold, its end.  It counts
 * for the claim whose number the lock file bears, so what is left of another, or of
 * a time when flufl.lock held the lock, describes nothing; and what is damaged or
 * cannot be written is missing.  On a file system that other machines see, the file
 * is opened anew each time: what one has closed is what another sees who opens it
 * after (nfs(5)).
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
#include "link-store.h"
#include "lock-file-record.h"
#include "message.h"
#include "process.h"

#define RECORD_SUFFIX ".relock"

struct lasting {
	int64_t since; /* the record's */
	int64_t until; /* CLOCK_BOOTTIME */
	uint64_t checksum;
};

bool link_record_name(char buffer[NAME_MAX + 1], const char *name)
{
	return snprintf(buffer, NAME_MAX + 1, ".%s" RECORD_SUFFIX, name) <= NAME_MAX;
}

bool link_record_is(const char *file, char ret_name[NAME_MAX + 1])
{
	const size_t suffix = sizeof RECORD_SUFFIX - 1;
	size_t length = strlen(file);

	if (*file != '.' || length <= suffix + 1 || length > NAME_MAX ||
	    strcmp(file + length - suffix, RECORD_SUFFIX) != 0 || strchr(file, '|'))
		return false;
	snprintf(ret_name, NAME_MAX + 1, "%.*s", (int)(length - suffix - 1), file + 1);
	return true;
}

/* A regular file of one name; in a sticky folder, O_CREAT would be refused on
 * another user's (fs.protected_regular). */
static int open_record(int dir_fd, const char *name, int flags)
{
	char file[NAME_MAX + 1];
	struct stat status;

	if (!link_record_name(file, name))
		return -ENAMETOOLONG;
	CLEANUP_CLOSE int fd =
		openat(dir_fd, file, flags | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0666);
	if (fd < 0 || fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode) || status.st_nlink != 1)
		return -EEXIST;
	if (flags & O_CREAT && (status.st_mode & 0777) != 0666 && fchmod(fd, 0666) < 0)
		return -errno;
	return TAKE_FD(fd);
}

static int open_or_make(int dir_fd, const char *name)
{
	int fd = open_record(dir_fd, name, O_RDWR);

	return fd == -ENOENT ? open_record(dir_fd, name, O_RDWR | O_CREAT | O_EXCL) : fd;
}

static uint64_t checksum_of(const struct lasting *lasting)
{
	struct record_end end = {.hold = (uint64_t)lasting->since, .when = lasting->until};

	return record_end_checksum(&end);
}

static int64_t lasts_from_now(int64_t lifetime)
{
	int64_t until;

	if (__builtin_add_overflow(clock_now(CLOCK_BOOTTIME), lifetime, &until) ||
	    until > INT64_MAX - LINK_CLOCK_SLOP)
		return INT64_MAX - LINK_CLOCK_SLOP;
	return until;
}

static void set_until(struct record *record, int64_t until)
{
	record->reserved = (uint32_t)((uint64_t)until >> 32);
	record->fd = (int32_t)(uint32_t)until;
}

static int64_t until_of(const struct record *record)
{
	return (int64_t)((uint64_t)record->reserved << 32 | (uint32_t)record->fd);
}

static bool is_of_this_boot(const struct record *record)
{
	return memcmp(record->boot_id, process_self()->boot_id, sizeof record->boot_id) == 0;
}

int link_record_lasts_until(const struct link_store *store, const char *name, uint64_t number,
			    int64_t *ret)
{
	CLEANUP_CLOSE int fd = open_record(store->dir_fd, name, O_RDONLY);
	CLEANUP_FREE struct slot *slot = malloc(sizeof *slot);
	struct lasting lasting;

	if (fd < 0 || !slot || !slot_read(fd, 0, slot) || slot->record.hold != number ||
	    !is_of_this_boot(&slot->record))
		return -ENODATA;
	int64_t until = until_of(&slot->record);
	if (pread(fd, &lasting, sizeof lasting, SLOT_SIZE) == sizeof lasting &&
	    lasting.checksum == checksum_of(&lasting) && lasting.since == slot->record.since)
		until = lasting.until;
	*ret = until < INT64_MAX - LINK_CLOCK_SLOP ? until : INT64_MAX - LINK_CLOCK_SLOP;
	return 0;
}

void link_record_extend(int dir_fd, const char *name, int64_t since, int64_t lifetime)
{
	struct lasting lasting = {.since = since, .until = lasts_from_now(lifetime)};
	CLEANUP_CLOSE int fd = open_record(dir_fd, name, O_RDWR);

	lasting.checksum = checksum_of(&lasting);
	if (fd < 0 || pwrite(fd, &lasting, sizeof lasting, SLOT_SIZE) != sizeof lasting)
		debug("%s: not recorded how long it lasts", name);
}

bool link_record_read(const struct link_store *store, const char *name, struct slot *ret)
{
	CLEANUP_CLOSE int fd = open_record(store->dir_fd, name, O_RDONLY);

	return fd >= 0 && slot_read(fd, 0, ret) && ret->record.mode == HOLD_EXCLUSIVE;
}

static int write_image(int fd, struct slot *image)
{
	struct record *record = &image->record;
	size_t length = SLOT_INFO_OFFSET + record->info_length;

	record->checksum = record_checksum(record, record_constant_sum(record, image->info));
	ssize_t written = pwrite(fd, image, length, 0);
	return written == (ssize_t)length ? 0 : written < 0 ? -errno : -ENOSPC;
}

static int draw(struct link_lock *lock, const struct grant *grant)
{
	bool plain = !grant->info_length && !grant->command && !grant->on_behalf;

	if (plain && lock->plain && lock->image) {
		memset(&lock->image->end, 0, sizeof lock->image->end);
		return 0;
	}
	struct slot *image = realloc(lock->image, SLOT_INFO_OFFSET + grant->info_length);

	if (!image)
		return -ENOMEM;
	lock->image = image;
	memset(image, 0, SLOT_INFO_OFFSET);
	image->record.magic = RECORD_MAGIC;
	image->record.mode = HOLD_EXCLUSIVE;
	image->record.info_length = (uint32_t)grant->info_length;
	lock_record_describe(&image->record, grant, geteuid());
	if (grant->info_length)
		memcpy(image->info, grant->info, grant->info_length);
	lock->plain = plain;
	return 0;
}

/* The file that was open for the last hold, if that is still the one; another is
 * made, where this was removed with its history. */
static int open_for_grant(relock_lock *relock)
{
	const struct link_store *store = link_store_of(relock->store);
	struct link_lock *lock = link_lock_of(relock);
	struct stat status;

	if (lock->record_fd >= 0 && fstat(lock->record_fd, &status) == 0 && status.st_nlink == 1)
		return lock->record_fd;
	link_record_close(lock);
	lock->record_fd = open_or_make(store->dir_fd, relock->name);
	return lock->record_fd;
}

void link_record_close(struct link_lock *lock)
{
	if (lock->record_fd >= 0)
		close(lock->record_fd);
	lock->record_fd = -1;
}

/* Others see it only then. */
static void close_if_shared(relock_lock *relock)
{
	if (!link_store_of(relock->store)->is_local)
		link_record_close(link_lock_of(relock));
}

static int record(relock_lock *relock, const struct grant *grant)
{
	struct link_lock *lock = link_lock_of(relock);
	int64_t now = moment_now();
	uint64_t last = 0, now_token = (uint64_t)(now / 1000);

	int fd = open_for_grant(relock);
	if (fd < 0)
		return fd;
	if (lock_record_owner(fd, &last) == RECORD_FOREIGN)
		return -EEXIST;
	int result = draw(lock, grant);
	if (result < 0)
		return result;
	lock->image->record.token = last + 1 > now_token ? last + 1 : now_token;
	lock->image->record.hold = lock->owner.number;
	lock->image->record.since = now;
	set_until(&lock->image->record, lasts_from_now(lock->term.lifetime));
	return write_image(fd, lock->image);
}

static void recorded(relock_lock *relock, int result)
{
	struct link_lock *lock = link_lock_of(relock);

	lock->recorded = result == 0;
	lock->ended = false;
	lock->term.since = result == 0 ? lock->image->record.since : 0;
	if (result < 0)
		debug("%s: the hold has no record: %s", relock->name, strerrorname_np(-result));
	close_if_shared(relock);
}

void link_record_grant(relock_lock *relock, const struct grant *grant)
{
	recorded(relock, record(relock, grant));
}

static int take_up(relock_lock *relock, const struct grant *grant, uint64_t old_number)
{
	struct link_lock *lock = link_lock_of(relock);
	CLEANUP_FREE struct slot *found = malloc(sizeof *found);

	if (!found)
		return -ENOMEM;
	int fd = open_for_grant(relock);
	if (fd < 0)
		return fd;
	if (!slot_read(fd, 0, found) || found->record.hold != old_number)
		return -ENODATA;
	int result = draw(lock, grant);
	if (result < 0)
		return result;
	struct slot *image = realloc(lock->image, SLOT_INFO_OFFSET + found->record.info_length);
	if (!image)
		return -ENOMEM;
	lock->image = image;
	/* Who has acquired stays the holder; by whom it is kept may be new. */
	found->record.via_pid = image->record.via_pid;
	found->record.via_start_time = image->record.via_start_time;
	found->record.hold = lock->owner.number;
	set_until(&found->record, lasts_from_now(lock->term.lifetime));
	memcpy(image, found, SLOT_INFO_OFFSET + found->record.info_length);
	memset(&image->end, 0, sizeof image->end);
	lock->plain = false;
	return write_image(fd, image);
}

void link_record_adopt(relock_lock *relock, const struct grant *grant, uint64_t old_number)
{
	recorded(relock, take_up(relock, grant, old_number));
}

static int set_info(struct link_lock *lock, int fd, const void *info, size_t length)
{
	CLEANUP_FREE struct slot *image = malloc(SLOT_INFO_OFFSET + length);

	if (!image)
		return -ENOMEM;
	memcpy(image, lock->image, SLOT_INFO_OFFSET);
	if (length)
		memcpy(image->info, info, length);
	image->record.info_length = (uint32_t)length;
	int result = write_image(fd, image);
	if (result < 0) {
		lock->recorded = write_image(fd, lock->image) == 0;
		return result;
	}
	struct slot *old = lock->image;
	lock->image = TAKE_POINTER(image);
	lock->plain = false;
	free(old);
	return 0;
}

int link_record_set_info(relock_lock *relock, const void *info, size_t length)
{
	int fd = open_for_grant(relock);
	int result = fd < 0 ? fd : set_info(link_lock_of(relock), fd, info, length);

	close_if_shared(relock);
	return result;
}

void link_record_end(relock_lock *relock, const struct breaker *by)
{
	struct link_lock *lock = link_lock_of(relock);
	int fd = lock->record_fd >= 0 ? lock->record_fd : open_for_grant(relock);

	if (fd >= 0)
		lock_record_end(fd, 0, lock->owner.number, by);
	lock->ended = true;
	close_if_shared(relock);
}

void link_record_break(const struct link_store *store, const char *name, uint64_t number,
		       const struct breaker *by)
{
	CLEANUP_CLOSE int fd = open_record(store->dir_fd, name, O_RDWR);
	uint64_t token;

	if (fd >= 0 && lock_record_owner(fd, &token) == RECORD_OURS)
		lock_record_end(fd, 0, number, by);
}

bool link_record_is_old(const struct link_store *store, const char *name, int64_t age)
{
	CLEANUP_CLOSE int fd = open_record(store->dir_fd, name, O_RDONLY);
	struct stat status;
	uint64_t token;

	if (fd < 0 || fstat(fd, &status) < 0)
		return false;
	if (moment_now() - (status.st_mtim.tv_sec * RELOCK_SECOND + status.st_mtim.tv_nsec) < age)
		return false;
	/* A token that is ahead of the clock would be lost. */
	return lock_record_owner(fd, &token) == RECORD_OURS &&
	       token <= (uint64_t)(moment_now() / 1000);
}
