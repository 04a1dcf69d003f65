/*
 * The record of a lock of "sem:": a slot as in a lock file (record.h), in the
 * semaphore's file behind what sem_open(3) looks at, written by whose turn it
 * is.  It is written into the mapping, not with pwrite(2): a system call costs
 * more than all the rest.
 *
 * Whose record it is says the seat in it (`reserved`); one that comes late, from
 * somebody whose hold was broken, bears another.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "lock-file-record.h"
#include "sem.h"

static void write_slot(struct sem_lock *sem)
{
	struct record *record = &sem->file.image->record;

	record->checksum = record_checksum(record, sem->file.constant_sum);
	memcpy(sem->slot, sem->file.image, SLOT_INFO_OFFSET + record->info_length);
}

/* Most who take a lock again and again say the same each time; the checksum of
 * it would be a third of what the lock costs. */
static bool is_drawn(const struct sem_lock *sem, const struct grant *grant)
{
	const struct slot *image = sem->file.image;

	return sem->is_drawn_for_self && !grant->command && !grant->on_behalf &&
	       image->record.info_length == grant->info_length &&
	       (grant->info_length == 0 ||
		memcmp(image->info, grant->info, grant->info_length) == 0);
}

int sem_record_draw(struct sem_lock *sem, const struct grant *grant)
{
	if (is_drawn(sem, grant))
		return 0;
	sem->is_drawn_for_self = false;
	sem->file.plain = false;
	int result = lock_record_draw(&sem->file, grant, HOLD_EXCLUSIVE);
	sem->is_drawn_for_self = result == 0 && !grant->command && !grant->on_behalf;
	return result;
}

/* The image has been drawn; seats differ from grant to grant only if the file
 * was opened anew, and then it was drawn anew. */
static void give_seat(struct sem_lock *sem)
{
	struct record *record = &sem->file.image->record;

	if (record->reserved == sem->seat)
		return;
	record->reserved = sem->seat;
	sem->file.constant_sum = record_constant_sum(record, sem->file.image->info);
}

void sem_record_grant(relock_lock *lock, int64_t now)
{
	struct sem_lock *sem = sem_lock_of(lock);
	struct record *record = &sem->file.image->record;

	give_seat(sem);
	sem->file.ended = false;
	sem->file.recorded = sem->slot != NULL;
	record->hold = ++sem->file.next_hold;
	record->since = now;
	if (sem->slot) {
		uint64_t last = sem->slot->record.token, now_token = (uint64_t)(now / 1000);
		if (sem->slot->record.magic != RECORD_MAGIC || last > RECORD_TOKEN_MAX)
			last = 0;
		record->token = last + 1 > now_token ? last + 1 : now_token;
		write_slot(sem);
	}
	sem_text_write(sem, now, sem->file.image->info, record->info_length);
}

int sem_record_set_info(relock_lock *lock, const void *info, size_t length)
{
	struct sem_lock *sem = sem_lock_of(lock);
	struct slot *image = malloc(SLOT_INFO_OFFSET + length);

	if (!image)
		return -ENOMEM;
	memcpy(image, sem->file.image, SLOT_INFO_OFFSET);
	if (length)
		memcpy(image->info, info, length);
	image->record.info_length = (uint32_t)length;
	free(sem->file.image);
	sem->file.image = image;
	sem->file.constant_sum = record_constant_sum(&image->record, image->info);
	write_slot(sem);
	sem_text_write(sem, image->record.since, image->info, length);
	return 0;
}

void sem_record_end(struct sem_lock *sem, const struct breaker *by)
{
	if (!sem->slot)
		return;
	/* Of a hold that is broken, only the record tells the number. */
	struct record_end end = {
		.hold = sem->slot->record.hold,
		.when = moment_now(),
		.how = by ? RELOCK_END_BROKEN : RELOCK_END_RELEASED,
	};
	if (by) {
		end.by_pid = by->pid;
		end.by_uid = by->uid;
		if (by->command)
			strncpy(end.by_command, by->command, sizeof end.by_command - 1);
	}
	end.checksum = record_end_checksum(&end);
	memcpy(&sem->slot->end, &end, sizeof end);
}

/* The record of the hold goes on, with what is said of who holds it. */
bool sem_record_adopt(relock_lock *lock)
{
	struct sem_lock *sem = sem_lock_of(lock);
	struct record *drawn = &sem->file.image->record;
	struct slot found;

	if (!sem->slot || !slot_read(sem->file.fd, 1, &found) || found.record.reserved != sem->seat)
		return false;
	struct slot *image = realloc(sem->file.image, SLOT_INFO_OFFSET + found.record.info_length);
	if (!image)
		return false;
	sem->file.image = image;
	drawn = &image->record;
	found.record.via_pid = drawn->via_pid;
	found.record.via_start_time = drawn->via_start_time;
	memset(image, 0, SLOT_INFO_OFFSET);
	image->record = found.record;
	memcpy(image->info, found.info, found.record.info_length);
	sem->file.constant_sum = record_constant_sum(&image->record, image->info);
	sem->file.next_hold = image->record.hold;
	sem->is_drawn_for_self = false;
	sem->file.recorded = true;
	write_slot(sem);
	return true;
}
