/*
 * Writing what a lock file says about its holders; record.h has the layout.
 *
 * A file is written to only by who holds its lock, only if it is empty or has
 * records of ours, and only if it has a single name.  A lock is as good without
 * its record: where that cannot be written, the hold goes on unrecorded.
 */
#include "lock-file-record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "message.h"
#include "process.h"

/* Cut to what there is room for. */
static void copy_text(char *to, size_t size, const char *from)
{
	size_t length = from ? strnlen(from, size) : 0;
	bool cut = length == size;

	if (length)
		memcpy(to, from, length - cut);
	to[length - cut] = '\0';
	if (cut)
		memcpy(to + size - 4, "...", 3);
}

void lock_record_describe(struct record *record, const struct grant *grant, uid_t uid)
{
	const struct self *self = process_self();
	const struct relock_on_behalf *other = grant->on_behalf;

	record->pid_namespace = self->pid_namespace;
	memcpy(record->boot_id, self->boot_id, sizeof record->boot_id);
	copy_text(record->host, sizeof record->host, self->host);
	if (!other) {
		record->pid = self->pid;
		record->start_time = self->start_time;
		record->uid = uid;
		copy_text(record->command, sizeof record->command,
			  grant->command ? grant->command : self->command);
		return;
	}
	record->pid = other->pid;
	record->start_time = other->start_time;
	record->uid = other->uid;
	record->via = other->via;
	record->via_pid = other->keeper_pid ? other->keeper_pid : self->pid;
	record->via_start_time = other->keeper_pid ? other->keeper_start_time : self->start_time;
	copy_text(record->command, sizeof record->command,
		  grant->command ? grant->command : other->command);
	copy_text(record->via_path, sizeof record->via_path, other->path);
}

int lock_record_draw(struct file_lock *file, const struct grant *grant, enum hold_mode mode)
{
	bool plain = !grant->info_length && !grant->command && !grant->on_behalf;

	if (plain && file->plain && file->image->record.mode == (uint32_t)mode)
		return 0;
	/* A hold that is passed on shares the last exclusive one's token. */
	uint64_t token = file->image ? file->image->record.token : 0;
	struct slot *image = realloc(file->image, SLOT_INFO_OFFSET + grant->info_length);
	if (!image)
		return -ENOMEM;
	file->image = image;
	memset(image, 0, SLOT_INFO_OFFSET);
	image->record.magic = RECORD_MAGIC;
	image->record.token = token;
	image->record.fd = file->fd;
	image->record.mode = mode;
	image->record.info_length = (uint32_t)grant->info_length;
	lock_record_describe(&image->record, grant, file->uid);
	if (grant->info_length)
		memcpy(image->info, grant->info, grant->info_length);
	file->constant_sum = record_constant_sum(&image->record, image->info);
	file->plain = plain;
	return 0;
}

int lock_record_write(struct file_lock *file)
{
	struct record *record = &file->image->record;
	size_t length = SLOT_INFO_OFFSET + record->info_length;

	record->checksum = record_checksum(record, file->constant_sum);
	file->ended = false;
	ssize_t written = pwrite(file->fd, file->image, length, slot_offset(file->slot));
	if (written == (ssize_t)length)
		return 0;
	int error = written < 0 ? -errno : -ENOSPC;
	debug("record not written: %s", strerrorname_np(-error));
	return error;
}

int lock_record_end(int fd, size_t slot, uint64_t hold, const struct breaker *by)
{
	struct record_end end = {
		.hold = hold,
		.when = moment_now(),
		.how = by ? RELOCK_END_BROKEN : RELOCK_END_RELEASED,
	};

	if (by) {
		end.by_pid = by->pid;
		end.by_uid = by->uid;
		copy_text(end.by_command, sizeof end.by_command, by->command);
	}
	end.checksum = record_end_checksum(&end);
	ssize_t written = pwrite(fd, &end, sizeof end, slot_offset(slot) + SLOT_END_OFFSET);
	return written == sizeof end ? 0 : written < 0 ? -errno : -ENOSPC;
}

enum lock_record_owner lock_record_owner(int fd, uint64_t *ret_token)
{
	struct {
		uint64_t magic, token;
	} head = {0};

	ssize_t length = pread(fd, &head, sizeof head, 0);
	if (length == 0)
		return RECORD_NOBODY;
	if (length != sizeof head || head.magic != RECORD_MAGIC)
		return RECORD_FOREIGN;
	*ret_token = head.token <= RECORD_TOKEN_MAX ? head.token : 0;
	return RECORD_OURS;
}

static void number_hold(struct file_lock *file, int64_t now)
{
	file->image->record.hold = ++file->next_hold;
	file->image->record.since = now;
}

void lock_record_exclusive(struct file_lock *file)
{
	int64_t now = moment_now();
	uint64_t last = 0;

	file->slot = 0;
	file->recorded = false;
	if (!file->writable || file->linked ||
	    lock_record_owner(file->fd, &last) == RECORD_FOREIGN) {
		debug("not recorded: the file is read-only, linked, or has other contents");
		return;
	}
	uint64_t now_token = (uint64_t)(now / 1000);
	file->image->record.token = last + 1 > now_token ? last + 1 : now_token;
	number_hold(file, now);
	file->recorded = lock_record_write(file) == 0;
}

void lock_record_shared(const struct file_store *store, struct file_lock *file)
{
	file->recorded = false;
	file->image->record.token = 0;
	number_hold(file, moment_now());
	if (file->writable && !file->linked)
		lock_record_claim_slot(store->primitive, file);
}

void lock_record_pass(struct file_lock *file)
{
	if (file->mode == HOLD_EXCLUSIVE) {
		lock_record_exclusive(file);
	} else if (file->recorded) {
		number_hold(file, moment_now());
		file->recorded = lock_record_write(file) == 0;
	}
}

static bool is_of_hold(const struct file_lock *file, const struct slot *slot)
{
	const struct record *ours = &file->image->record, *record = &slot->record;

	return record->mode == ours->mode && record->fd == ours->fd && record->via == ours->via &&
	       record->pid_namespace == ours->pid_namespace &&
	       memcmp(record->boot_id, ours->boot_id, sizeof ours->boot_id) == 0 &&
	       (slot->end.hold != record->hold || slot->end.how == RELOCK_END_NONE);
}

/* An exclusive hold's record is in slot 0.  Of shared ones several may have
 * been left behind by processes that are gone, with this descriptor's number:
 * the last one is ours. */
static bool find_record(const struct file_lock *file, struct slot *ret, size_t *ret_number)
{
	CLEANUP_FREE struct slot *slot = malloc(sizeof *slot);
	bool is_exclusive = file->image->record.mode == HOLD_EXCLUSIVE, is_found = false;
	struct stat status;

	if (!slot || fstat(file->fd, &status) < 0)
		return false;
	size_t slots = is_exclusive ? 1 : (size_t)status.st_size / SLOT_SIZE + 2;
	for (size_t i = 0; i < slots && i < SLOT_COUNT_MAX; i++) {
		if (!slot_read(file->fd, i, slot) || !is_of_hold(file, slot) ||
		    (is_found && slot->record.since <= ret->record.since))
			continue;
		memcpy(ret, slot, sizeof *ret);
		*ret_number = i;
		is_found = true;
	}
	return is_found;
}

/* Whoever held before may have ended between the two steps of a conversion to
 * shared: the record is still that of an exclusive hold. */
static bool find_record_in_any_mode(struct file_lock *file, struct slot *ret)
{
	struct record *image = &file->image->record;

	if (find_record(file, ret, &file->slot))
		return true;
	if (image->mode != HOLD_SHARED)
		return false;
	image->mode = HOLD_EXCLUSIVE;
	bool is_found = find_record(file, ret, &file->slot);
	image->mode = HOLD_SHARED;
	return is_found;
}

void lock_record_adopt(struct file_lock *file)
{
	CLEANUP_FREE struct slot *found = malloc(sizeof *found);

	file->recorded = false;
	if (!found || !file->writable || file->linked || !find_record_in_any_mode(file, found))
		return;
	struct record *image = &file->image->record;
	bool has_moved = found->record.mode != image->mode ||
			 found->record.via_pid != image->via_pid ||
			 found->record.via_start_time != image->via_start_time;
	found->record.mode = image->mode;
	found->record.via_pid = image->via_pid;
	found->record.via_start_time = image->via_start_time;
	struct slot *larger = realloc(file->image, SLOT_INFO_OFFSET + found->record.info_length);
	if (!larger)
		return;
	file->image = larger;
	memset(larger, 0, SLOT_INFO_OFFSET);
	larger->record = found->record;
	memcpy(larger->info, found->info, found->record.info_length);
	file->constant_sum = record_constant_sum(&larger->record, larger->info);
	file->next_hold = larger->record.hold;
	file->plain = false;
	file->recorded = !has_moved || lock_record_write(file) == 0;
}

void lock_record_convert(struct file_lock *file, enum hold_mode mode)
{
	size_t old_slot = file->slot;
	uint64_t old_hold = file->image->record.hold;
	bool was_recorded = file->recorded;

	file->image->record.mode = mode;
	file->constant_sum = record_constant_sum(&file->image->record, file->image->info);
	if (mode == HOLD_EXCLUSIVE) {
		lock_record_exclusive(file);
		if (was_recorded && old_slot != 0)
			lock_record_end(file->fd, old_slot, old_hold, NULL);
	} else if (was_recorded) {
		file->recorded = lock_record_write(file) == 0;
	}
}

int lock_record_set_info(struct file_lock *file, const void *info, size_t length)
{
	struct slot *old = file->image;
	uint64_t old_sum = file->constant_sum;
	CLEANUP_FREE struct slot *image = malloc(SLOT_INFO_OFFSET + length);
	if (!image)
		return -ENOMEM;
	memcpy(image, old, SLOT_INFO_OFFSET);
	if (length)
		memcpy(image->info, info, length);
	image->record.info_length = (uint32_t)length;
	file->image = image;
	file->constant_sum = record_constant_sum(&image->record, image->info);
	int result = lock_record_write(file);
	if (result < 0) {
		file->image = old;
		file->constant_sum = old_sum;
		file->recorded = lock_record_write(file) == 0;
		return result;
	}
	file->plain = false;
	image = old; /* to be freed */
	return 0;
}
