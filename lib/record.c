#include "record.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

/*
 * Not for security, only to notice torn and damaged records: who can write the
 * file can write the checksum.  Eight bytes at a time, because it is computed
 * at each grant.
 */
static uint64_t mix(uint64_t sum, uint64_t word)
{
	sum = (sum ^ word) * UINT64_C(0x9e3779b97f4a7c15);
	return sum ^ sum >> 29;
}

static uint64_t mix_bytes(uint64_t sum, const void *bytes, size_t length)
{
	const char *at = bytes;
	uint64_t word;

	for (; length >= sizeof word; at += sizeof word, length -= sizeof word) {
		memcpy(&word, at, sizeof word);
		sum = mix(sum, word);
	}
	word = length;
	memcpy(&word, at, length);
	return mix(sum, word);
}

uint64_t record_constant_sum(const struct record *record, const char *info)
{
	size_t from = offsetof(struct record, start_time);
	uint64_t sum = mix_bytes(0, (const char *)record + from, sizeof *record - from);

	return mix_bytes(sum, info, record->info_length);
}

uint64_t record_checksum(const struct record *record, uint64_t constant_sum)
{
	uint64_t sum = mix(constant_sum, record->magic);

	sum = mix(sum, record->token);
	sum = mix(sum, record->hold);
	return mix(sum, (uint64_t)record->since);
}

uint64_t record_end_checksum(const struct record_end *end)
{
	return mix_bytes(RECORD_MAGIC, end, offsetof(struct record_end, checksum));
}

static bool is_text(const char *field, size_t size)
{
	return memchr(field, '\0', size) != NULL;
}

static bool slot_is_sound(const struct slot *slot, size_t length)
{
	const struct record *record = &slot->record;

	return length >= SLOT_INFO_OFFSET && record->magic == RECORD_MAGIC &&
	       record->info_length <= length - SLOT_INFO_OFFSET &&
	       record->token <= RECORD_TOKEN_MAX && is_text(record->host, sizeof record->host) &&
	       is_text(record->command, sizeof record->command) &&
	       is_text(record->via_path, sizeof record->via_path) &&
	       record->checksum == record_checksum(record, record_constant_sum(record, slot->info));
}

static bool end_is_sound(const struct slot *slot)
{
	const struct record_end *end = &slot->end;

	return end->hold == slot->record.hold && end->checksum == record_end_checksum(end) &&
	       is_text(end->by_command, sizeof end->by_command) && end->how <= RELOCK_END_BROKEN;
}

bool slot_read(int fd, size_t number, struct slot *ret)
{
	enum { TRIES = 8 };

	for (int i = 0; i < TRIES; i++) {
		ssize_t length = pread(fd, ret, sizeof *ret, slot_offset(number));
		if (length < 0 && errno != EINTR)
			return false;
		/* Only what could be a record may be one in the making. */
		if (length >= 0 && (length < (ssize_t)sizeof ret->record.magic ||
				    ret->record.magic != RECORD_MAGIC))
			return false;
		if (length < 0 || !slot_is_sound(ret, (size_t)length))
			continue;
		if (!end_is_sound(ret))
			memset(&ret->end, 0, sizeof ret->end);
		return true;
	}
	return false;
}
