/*
 * Slots of shared holders.  There may be many at once, so each chooses one
 * that nobody uses: never written, ended, or left by a process that is gone.
 * Two that choose at the same time are kept apart by a short lock of another
 * kind on the same file (a flock(2) lock where the holders' locks are OFD
 * locks, and the other way round: on Linux they do not see each other).  Who
 * does not get it soon, because somebody else uses such locks on our file,
 * holds without a record.
 */
#include <errno.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "lock-file-record.h"
#include "message.h"
#include "process.h"

static bool slot_is_used(const struct slot *slot)
{
	const struct record *record = &slot->record;
	const struct self *self = process_self();

	if (slot->end.hold == record->hold || record->mode != HOLD_SHARED)
		return false;
	if (memcmp(record->boot_id, self->boot_id, sizeof record->boot_id) != 0)
		return false;
	/* A pid of another namespace means nothing here. */
	if (record->pid_namespace != self->pid_namespace)
		return true;
	return record->via_pid ? process_is_alive(record->via_pid, record->via_start_time)
			       : process_is_alive(record->pid, record->start_time);
}

/* -EEXIST for other contents. */
static int prepare_file(int fd)
{
	/* No holder: slot 0 only says whose file it is. */
	struct slot head = {.record = {.magic = RECORD_MAGIC}};
	uint64_t token;

	switch (lock_record_owner(fd, &token)) {
	case RECORD_OURS:
		return 0;
	case RECORD_FOREIGN:
		return -EEXIST;
	default:
		break;
	}
	head.record.checksum = record_checksum(&head.record, record_constant_sum(&head.record, ""));
	return pwrite(fd, &head, SLOT_INFO_OFFSET, 0) == SLOT_INFO_OFFSET ? 0 : -ENOSPC;
}

static void claim(struct file_lock *file)
{
	struct slot slot;

	if (prepare_file(file->fd) < 0)
		return;
	for (size_t number = 1; number < SLOT_COUNT_MAX; number++) {
		if (slot_read(file->fd, number, &slot) && slot_is_used(&slot))
			continue;
		file->slot = number;
		file->recorded = lock_record_write(file) == 0;
		return;
	}
}

void lock_record_claim_slot(const struct lock_primitive *primitive, struct file_lock *file)
{
	enum { TRIES = 200 };

	for (int i = 0; i < TRIES; i++) {
		if (primitive->guard_slots(file->fd) == 0) {
			claim(file);
			primitive->leave_slots(file->fd);
			return;
		}
		sched_yield();
	}
	debug("not recorded: somebody keeps the slots locked");
}
