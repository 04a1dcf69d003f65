/*
 * What a lock file says about its holders.
 *
 * The kernel's lock is the truth; a record describes it, and counts only while
 * the kernel says that the lock is held.  A lock file is a row of slots:
 *
 *	slot 0   the exclusive holder, and the token        0 .. 4607
 *	slot 1   a shared holder                         4608 .. 9215
 *	...
 *
 * each with a record, the way that hold ended, and the info text.  A new hold
 * writes all three with one pwrite, the end left empty; a release writes only
 * the end; so does whoever breaks the lock.  An end counts only for the hold
 * whose number it bears: one that comes late, from a holder whose lock was
 * broken, describes nothing.
 *
 * Other users can write anything here, at any time: nothing in a slot is
 * trusted before its checksum, bounds and text are checked, and it is read,
 * never mapped (a truncation would be a SIGBUS).  Numbers are in the order of
 * the machine, since the file never leaves it.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "relock.h"

#define RECORD_MAGIC UINT64_C(0x0a316b636f6c6572) /* "relock1\n" */
/* A token beyond this did not come from max(previous + 1, microseconds). */
#define RECORD_TOKEN_MAX (UINT64_C(1) << 63)

enum hold_mode { HOLD_NONE = 0, HOLD_EXCLUSIVE = 1, HOLD_SHARED = 2 };

struct record {
	/* What every grant changes. */
	uint64_t magic;
	uint64_t token; /* of the last exclusive grant */
	uint64_t hold;  /* number of this hold, random */
	int64_t since;
	uint64_t checksum; /* of all the others, and of the info */
	/* What stays the same for a handle. */
	uint64_t start_time;
	uint64_t pid_namespace;
	uint64_t via_start_time;
	unsigned char boot_id[16];
	int32_t pid;
	uint32_t uid;
	int32_t via_pid;
	uint32_t via;  /* enum relock_via */
	int32_t fd;    /* the holder's (of via_pid, if that is set) descriptor of the lock file */
	uint32_t mode; /* enum hold_mode */
	uint32_t info_length;
	uint32_t reserved;
	char host[64];
	char command[160];
	char via_path[112];
};

struct record_end {
	uint64_t hold;
	int64_t when;
	uint32_t how; /* enum relock_end */
	int32_t by_pid;
	uint32_t by_uid;
	char by_command[28];
	uint64_t checksum;
};

struct slot {
	struct record record;
	struct record_end end;
	char info[RELOCK_INFO_MAX];
};

enum {
	SLOT_SIZE = 4608,
	SLOT_INFO_OFFSET = 512,
	SLOT_END_OFFSET = 448,
	/* So much of slot 0 tells whose file it is, and the last token. */
	RECORD_PEEK_SIZE = 16,
	SLOT_COUNT_MAX = 4096,
};
_Static_assert(sizeof(struct record) == SLOT_END_OFFSET, "the file's layout");
_Static_assert(sizeof(struct record_end) == SLOT_INFO_OFFSET - SLOT_END_OFFSET, "likewise");
_Static_assert(sizeof(struct slot) == SLOT_SIZE, "likewise");

static inline off_t slot_offset(size_t number)
{
	return (off_t)(number * SLOT_SIZE);
}

/* Who breaks a lock. */
struct breaker {
	pid_t pid;
	uid_t uid;
	const char *command;
};

/* Part of the checksum that covers what stays the same for a handle. */
uint64_t record_constant_sum(const struct record *record, const char *info);

/* The whole checksum, given that part. */
uint64_t record_checksum(const struct record *record, uint64_t constant_sum);

uint64_t record_end_checksum(const struct record_end *end);

/* Reads a slot.  True if there is a whole and undamaged record; its texts are
 * then NUL-terminated and its end is empty unless it belongs to this hold.
 * A record that is being written at this moment looks damaged, so it is read
 * a few times. */
bool slot_read(int fd, size_t number, struct slot *ret);
