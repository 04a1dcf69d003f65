/*
 * Properties: what slot_read() lets through is within its bounds, and its
 * texts end.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "record.h"
#include "repair.h"
#include "target.h"

static void check(const struct slot *slot)
{
	const struct record *record = &slot->record;

	if (record->magic != RECORD_MAGIC || record->info_length > RELOCK_INFO_MAX ||
	    record->token > RECORD_TOKEN_MAX ||
	    strnlen(record->host, sizeof record->host) == sizeof record->host ||
	    strnlen(record->command, sizeof record->command) == sizeof record->command ||
	    strnlen(record->via_path, sizeof record->via_path) == sizeof record->via_path)
		abort();
	if (slot->end.how > RELOCK_END_BROKEN ||
	    strnlen(slot->end.by_command, sizeof slot->end.by_command) ==
		    sizeof slot->end.by_command)
		abort();
}

void fuzz_slot(const uint8_t *bytes, size_t size)
{
	if (size < 1)
		return;
	uint8_t *file = malloc(size);
	struct slot *slot = malloc(sizeof *slot);
	int fd = memfd_create("slots", MFD_CLOEXEC);

	if (fd < 0 || !file || !slot)
		abort();
	memcpy(file, bytes + 1, size - 1);
	repair_slots(file, size - 1, *bytes);
	if (pwrite(fd, file, size - 1, 0) != (ssize_t)(size - 1))
		abort();
	for (size_t i = 0; i <= size / SLOT_SIZE + 1; i++) {
		memset(slot, 0xa5, sizeof *slot);
		if (slot_read(fd, i, slot))
			check(slot);
	}
	close(fd);
	free(slot);
	free(file);
}
