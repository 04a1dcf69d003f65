/*
 * A random record has a wrong checksum, and nothing behind the checksum would
 * ever be reached: so the first byte of an input says whether the slots of the
 * rest are to be made plausible.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "record.h"

enum {
	REPAIR_SUMS = 1, /* magic, checksums, an end that belongs to the hold */
	REPAIR_SELF = 2, /* besides: the holder is this process, at this boot */
};

void repair_slots(uint8_t *file, size_t size, unsigned how);
