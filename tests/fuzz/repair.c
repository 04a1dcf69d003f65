#include "repair.h"

#include <string.h>

#include "process.h"

static void repair_slot(struct slot *slot, size_t size, unsigned how)
{
	struct record *record = &slot->record;

	record->magic = RECORD_MAGIC;
	record->token &= RECORD_TOKEN_MAX - 1;
	record->mode %= HOLD_SHARED + 1;
	record->info_length %= (uint32_t)(size - SLOT_INFO_OFFSET + 1);
	record->host[sizeof record->host - 1] = '\0';
	record->command[sizeof record->command - 1] = '\0';
	record->via_path[sizeof record->via_path - 1] = '\0';
	if (how & REPAIR_SELF) {
		const struct self *self = process_self();
		record->pid = self->pid;
		record->start_time = self->start_time;
		record->pid_namespace = self->pid_namespace;
		record->via_pid = 0;
		memcpy(record->boot_id, self->boot_id, sizeof record->boot_id);
	}
	record->checksum = record_checksum(record, record_constant_sum(record, slot->info));
	if (slot->end.how % 2) {
		slot->end.hold = record->hold;
		slot->end.how %= RELOCK_END_BROKEN + 1;
		slot->end.by_command[sizeof slot->end.by_command - 1] = '\0';
		slot->end.checksum = record_end_checksum(&slot->end);
	}
}

void repair_slots(uint8_t *file, size_t size, unsigned how)
{
	struct slot slot;

	if (!(how & (REPAIR_SUMS | REPAIR_SELF)))
		return;
	for (size_t at = 0; at + SLOT_INFO_OFFSET <= size; at += SLOT_SIZE) {
		size_t length = size - at < SLOT_SIZE ? size - at : SLOT_SIZE;
		memset(&slot, 0, sizeof slot);
		memcpy(&slot, file + at, length);
		repair_slot(&slot, length, how);
		memcpy(file + at, &slot, length);
	}
}
