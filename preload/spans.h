/*
 * Which open file description of the program has locked which bytes of a file.
 *
 * A byte belongs to the open that last locked it (contract, shim row 4), and
 * the last close of that open gives it back.  The kernel has the locks of all
 * opens on one description, so it cannot tell; this can.  A list is a number,
 * 0 where it is empty.  Spans do not overlap and are sorted.
 *
 * All of it inside the gate.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct span {
	uint32_t next;
	uint32_t open;     /* the id of the open; see descriptors.h */
	off_t first, last; /* both inclusive */
};

const struct span *span_at(uint32_t number);

/* Room for one spans_assign(). */
bool spans_reserve(void);
/* The bytes first to last belong to `open` now; 0: to nobody. */
void spans_assign(uint32_t *list, off_t first, off_t last, uint32_t open);
void spans_free(uint32_t *list);
/* In a child that has none. */
void spans_reset(void);
