/*
 * The locks of a file, as a model has them: who holds which bytes, through
 * which open.
 *
 * A byte is in at most one range of each actor.  The kernel does not know the
 * opens, and joins neighbours of one type; map_view() shows that.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct lock_range {
	int actor;
	int open; /* which of the model's opens */
	short type;
	off_t first, last;
};

enum { RANGES_MAX = 400 };

struct lock_map {
	size_t count;
	struct lock_range ranges[RANGES_MAX];
};

/* The actor's bytes in the range are now of this type, and of this open;
 * F_UNLCK: not locked. */
void map_set(struct lock_map *map, const struct lock_range *range);
/* All that the actor holds here, or what it holds through one open. */
void map_drop_actor(struct lock_map *map, int actor);
void map_drop_open(struct lock_map *map, int actor, int open);

/* Whether b's owner would have to wait for a's. */
bool ranges_conflict(const struct lock_range *a, const struct lock_range *b);
bool map_has_conflict(const struct lock_map *map, const struct lock_range *request);

/* As the kernel has it, by actor and first byte. */
void map_view(const struct lock_map *map, struct lock_map *ret);

/* "write A 0-4, read B 5-EOF"; "nothing". */
void map_print(const struct lock_map *map, char *text, size_t size);
