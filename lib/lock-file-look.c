/*
 * Looking at a lock file.  The kernel says whether the lock is held, and in
 * what mode; the records say by whom; and a record is believed only if the
 * process it names, of that start time, has the lock on that descriptor.
 * Whoever holds the lock without a true record (a program that locks the file
 * by itself, a child that outlived the holder) is found among the descriptors
 * of all processes, as far as they can be seen.
 */
#include "lock-file-look.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "cleanup.h"
#include "message.h"
#include "process.h"
#include "status.h"

/* Records and processes */

enum truth { FALSE_RECORD, TRUE_RECORD, UNPROVEN_RECORD };

static enum truth examine(const struct record *record, enum lock_line_type type,
			  const struct file_id *id)
{
	const struct self *self = process_self();
	pid_t pid = record->via_pid ? record->via_pid : record->pid;
	uint64_t start_time = record->via_pid ? record->via_start_time : record->start_time;
	struct lock_line line;

	if (memcmp(record->boot_id, self->boot_id, sizeof record->boot_id) != 0)
		return FALSE_RECORD;
	if (record->pid_namespace != self->pid_namespace)
		return UNPROVEN_RECORD;
	if (!process_is_alive(pid, start_time))
		return FALSE_RECORD;
	int result = descriptor_holds(pid, record->fd, type, id, &line);
	return result == 1 ? TRUE_RECORD : result == 0 ? FALSE_RECORD : UNPROVEN_RECORD;
}

static bool add_holder(struct file_look *look, const struct file_holder *holder)
{
	struct file_holder *larger =
		realloc(look->holders, (look->holder_count + 1) * sizeof *larger);

	if (!larger)
		return false;
	look->holders = larger;
	look->holders[look->holder_count++] = *holder;
	return true;
}

static int add_recorded(struct file_look *look, size_t number, enum lock_line_type type)
{
	CLEANUP_FREE struct slot *slot = malloc(sizeof *slot);

	if (!slot)
		return -ENOMEM;
	if (!slot_read(look->fd, number, slot) || slot->record.mode != (uint32_t)look->mode)
		return 0;
	if (slot->end.hold == slot->record.hold && slot->end.how != RELOCK_END_NONE)
		return 0;
	enum truth truth = examine(&slot->record, type, &look->id);
	if (truth == FALSE_RECORD)
		return 0;
	const struct record *record = &slot->record;
	bool here = record->pid_namespace == process_self()->pid_namespace;
	struct file_holder holder = {
		.pid = !here             ? 0
		       : record->via_pid ? record->via_pid
					 : record->pid,
		.fd = record->fd,
		.proven = truth == TRUE_RECORD,
		.slot_number = number,
		.slot = slot,
	};
	if (!add_holder(look, &holder))
		return -ENOMEM;
	slot = NULL;
	return 0;
}

/* Processes that share an open file description, by fork or inheritance, are
 * one holder.  Where kcmp(2) is not allowed, one process is. */
static bool same_description(const struct file_holder *holder, const struct lock_hold *hold)
{
	long order = syscall(SYS_kcmp, holder->pid, hold->pid, KCMP_FILE, holder->fd, hold->fd);

	return order < 0 ? holder->pid == hold->pid : order == 0;
}

static bool is_known(const struct file_look *look, const struct lock_hold *hold)
{
	for (size_t i = 0; i < look->holder_count; i++)
		if (look->holders[i].pid > 0 && same_description(&look->holders[i], hold))
			return true;
	return false;
}

/* Processes that have the lock without a record of it. */
static int add_unrecorded(struct file_look *look, struct snapshot *snapshot,
			  enum lock_line_type type)
{
	int result = snapshot_holds(snapshot);

	if (result < 0)
		return result == -ENOSYS ? 0 : result;
	for (size_t i = 0; i < snapshot->hold_count; i++) {
		const struct lock_hold *hold = &snapshot->holds[i];
		/* A record lock of the old kind conflicts with an OFD lock. */
		bool conflicts = hold->line.type == type ||
				 (type == LOCK_LINE_OFD && hold->line.type == LOCK_LINE_POSIX);
		if (!conflicts || !line_is_of(&hold->line, &look->id) || is_known(look, hold))
			continue;
		struct file_holder holder = {.pid = hold->pid, .fd = hold->fd, .proven = true};
		if (!add_holder(look, &holder))
			return -ENOMEM;
	}
	return 0;
}

/* A last resort, since somebody's try may fail meanwhile: to take it. */
static bool held_by_trial(struct file_look *look, const struct lock_primitive *primitive)
{
	static const enum hold_mode none = HOLD_NONE, modes[] = {HOLD_SHARED, HOLD_EXCLUSIVE};
	int result = 0;

	for (int i = 0; i < 2 && result == 0; i++) {
		result = primitive->wait.set(look->fd, &modes[i], false);
		if (result == 0)
			primitive->wait.set(look->fd, &none, false);
		else
			look->mode = i == 0 ? HOLD_EXCLUSIVE : HOLD_SHARED;
	}
	return result == -EAGAIN;
}

/* Does a record claim so?  Holders of another pid namespace are not listed in
 * /proc/locks. */
static bool held_by_record(const struct file_look *look)
{
	CLEANUP_FREE struct slot *slot = malloc(sizeof *slot);
	size_t slots = (size_t)look->status.st_size / SLOT_SIZE + 2;

	for (size_t i = 0; slot && i < slots && i < SLOT_COUNT_MAX; i++)
		if (slot_read(look->fd, i, slot) && slot->record.mode != HOLD_NONE &&
		    slot->end.how == RELOCK_END_NONE &&
		    slot->record.pid_namespace != process_self()->pid_namespace)
			return true;
	return false;
}

/* The mode by /proc/locks, where the kernel lock has no test of its own. */
static bool held_by_lines(struct file_look *look, struct snapshot *snapshot,
			  enum lock_line_type type)
{
	bool held = false;

	if (snapshot_lines(snapshot) < 0)
		return false;
	for (size_t i = 0; i < snapshot->line_count; i++) {
		const struct lock_line *line = &snapshot->lines[i];
		if (line->type != type || line->blocked || !line_is_of(line, &look->id))
			continue;
		held = true;
		look->mode = line->exclusive ? HOLD_EXCLUSIVE : HOLD_SHARED;
	}
	return held;
}

/* There, /proc/locks leaves out locks whose maker has ended (as `flock 9` does,
 * with 9 the shell's).  The first namespace has a number of its own, see
 * PROC_PID_INIT_INO in the kernel. */
static bool in_a_pid_namespace(void)
{
	const uint64_t first = 0xeffffffc, unknown = 0;
	uint64_t own = process_self()->pid_namespace;

	return own != first && own != unknown;
}

static bool is_held(struct file_look *look, const struct lock_primitive *primitive,
		    struct snapshot *snapshot)
{
	int result = primitive->test(look->fd, &look->mode);

	if (result != -ENOSYS)
		return result == 1;
	if (held_by_lines(look, snapshot, primitive->line_type))
		return true;
	bool hidden = !snapshot->has_lines || in_a_pid_namespace() || held_by_record(look);
	return hidden && held_by_trial(look, primitive);
}

int file_look(const struct file_store *store, const char *name, struct snapshot *snapshot,
	      struct file_look *ret)
{
	enum lock_line_type type = store->primitive->line_type;
	int result = lock_file_open_existing(store, name, &ret->fd, &ret->writable, &ret->status);

	if (result < 0)
		return result;
	file_id_of(ret->fd, &ret->id);
	ret->held = is_held(ret, store->primitive, snapshot);
	if (!ret->held)
		return 0;
	/* Slot 0 has a shared holder if it once was the exclusive one. */
	size_t slots = 1;
	if (ret->mode == HOLD_SHARED)
		slots = (size_t)ret->status.st_size / SLOT_SIZE + 2;
	for (size_t i = 0; i < slots && i < SLOT_COUNT_MAX; i++) {
		result = add_recorded(ret, i, type);
		if (result < 0)
			return result;
	}
	/* An exclusive holder is the only one; beside shared ones that have a
	 * record there may be others that have none. */
	if (ret->mode == HOLD_SHARED || ret->holder_count == 0)
		result = add_unrecorded(ret, snapshot, type);
	return result;
}

void file_look_end(struct file_look *look)
{
	for (size_t i = 0; i < look->holder_count; i++)
		free(look->holders[i].slot);
	free(look->holders);
	if (look->fd >= 0)
		close(look->fd);
}

int lock_file_probe(relock_lock *lock)
{
	const struct file_store *store = file_store_of(lock->store);
	__attribute__((cleanup(snapshot_free))) struct snapshot snapshot = {0};
	__attribute__((cleanup(file_look_end))) struct file_look look = {.fd = -1};
	struct file_lock *file = file_lock_of(lock);
	int result;

	/* The file is open already, from the last hold. */
	if (file->fd >= 0 && lock_file_is_current(store, file, lock->name) == 1) {
		result = store->primitive->test(file->fd, &look.mode);
		if (result != -ENOSYS)
			return result == 1 ? -EAGAIN : result;
	}
	result = lock_file_open_existing(store, lock->name, &look.fd, &look.writable, &look.status);
	if (result < 0)
		return result == -ENOENT ? 0 : result;
	file_id_of(look.fd, &look.id);
	return is_held(&look, store->primitive, &snapshot) ? -EAGAIN : 0;
}

/* As a status */

static void describe(struct relock_holder *ret, const struct file_holder *holder,
		     enum hold_mode mode)
{
	ret->mode = mode == HOLD_SHARED ? RELOCK_SHARED : RELOCK_EXCLUSIVE;
	if (holder->slot)
		status_live_holder_of_slot(ret, holder->slot, holder->proven);
	else
		status_holder_of_process(ret, holder->pid);
	if (mode == HOLD_SHARED)
		ret->token = 0;
}

/* The last hold: the one that began last, of all slots that were written. */
static int describe_last(const struct file_look *look, struct relock_status *status)
{
	CLEANUP_FREE struct slot *slot = malloc(sizeof *slot);
	CLEANUP_FREE struct slot *last = calloc(1, sizeof *last);
	size_t slots = (size_t)look->status.st_size / SLOT_SIZE + 2;

	if (!slot || !last)
		return -ENOMEM;
	for (size_t i = 0; i < slots && i < SLOT_COUNT_MAX; i++)
		if (slot_read(look->fd, i, slot) && slot->record.mode != HOLD_NONE &&
		    slot->record.since >= last->record.since)
			memcpy(last, slot, sizeof *last);
	if (last->record.since != 0)
		status_last_of_slot(status, last);
	return 0;
}

static int describe_all(struct file_store *store, const struct file_look *look,
			struct snapshot *snapshot, struct relock_status *status)
{
	if (!look->held)
		return describe_last(look, status);
	status->state = RELOCK_HELD;
	status->mode = look->mode == HOLD_SHARED ? RELOCK_SHARED : RELOCK_EXCLUSIVE;
	status->holders = calloc(look->holder_count + 1, sizeof *status->holders);
	if (!status->holders)
		return -ENOMEM;
	for (size_t i = 0; i < look->holder_count; i++)
		describe(&status->holders[status->holder_count++], &look->holders[i], look->mode);
	return file_look_waiters(store, look, snapshot, status);
}

int lock_file_look(relock_store *store, const char *name, struct snapshot *snapshot,
		   struct relock_status *status)
{
	struct file_store *file_store = file_store_of(store);
	__attribute__((cleanup(file_look_end))) struct file_look look = {.fd = -1};

	status->state = RELOCK_FREE;
	int result = file_look(file_store, name, snapshot, &look);
	if (result == -ENOENT)
		return 0;
	if (result < 0)
		return result;
	return describe_all(file_store, &look, snapshot, status);
}
