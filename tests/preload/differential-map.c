/* See differential-map.h. */
#include "differential-map.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "differential-step.h"

static void add(struct lock_map *map, const struct lock_range *range)
{
	if (map->count == RANGES_MAX) {
		fputs("preload-differential: a plan with more locks than a map has room for\n",
		      stderr);
		abort();
	}
	map->ranges[map->count++] = *range;
}

static void remove_at(struct lock_map *map, size_t i)
{
	map->ranges[i] = map->ranges[--map->count];
}

static bool overlap(const struct lock_range *a, const struct lock_range *b)
{
	return a->first <= b->last && b->first <= a->last;
}

static void cut(struct lock_map *map, const struct lock_range *hole)
{
	for (size_t i = map->count; i-- > 0;) {
		struct lock_range old = map->ranges[i];
		if (old.actor != hole->actor || !overlap(&old, hole))
			continue;
		struct lock_range before = old, after = old;
		remove_at(map, i);
		if (old.first < hole->first) {
			before.last = hole->first - 1;
			add(map, &before);
		}
		if (old.last > hole->last) {
			after.first = hole->last + 1;
			add(map, &after);
		}
	}
}

void map_set(struct lock_map *map, const struct lock_range *range)
{
	cut(map, range);
	if (range->type != F_UNLCK)
		add(map, range);
}

void map_drop_actor(struct lock_map *map, int actor)
{
	for (size_t i = map->count; i-- > 0;)
		if (map->ranges[i].actor == actor)
			remove_at(map, i);
}

void map_drop_open(struct lock_map *map, int actor, int open)
{
	for (size_t i = map->count; i-- > 0;)
		if (map->ranges[i].actor == actor && map->ranges[i].open == open)
			remove_at(map, i);
}

bool ranges_conflict(const struct lock_range *a, const struct lock_range *b)
{
	return a->actor != b->actor && overlap(a, b) && (a->type == F_WRLCK || b->type == F_WRLCK);
}

bool map_has_conflict(const struct lock_map *map, const struct lock_range *request)
{
	for (size_t i = 0; i < map->count; i++)
		if (ranges_conflict(&map->ranges[i], request))
			return true;
	return false;
}

static int compare(const void *left, const void *right)
{
	const struct lock_range *a = left, *b = right;

	if (a->actor != b->actor)
		return a->actor < b->actor ? -1 : 1;
	return a->first < b->first ? -1 : a->first > b->first;
}

void map_view(const struct lock_map *map, struct lock_map *ret)
{
	struct lock_map sorted = *map;

	qsort(sorted.ranges, sorted.count, sizeof *sorted.ranges, compare);
	ret->count = 0;
	for (size_t i = 0; i < sorted.count; i++) {
		const struct lock_range *range = &sorted.ranges[i];
		struct lock_range *before = ret->count ? &ret->ranges[ret->count - 1] : NULL;
		if (before && before->actor == range->actor && before->type == range->type &&
		    before->last + 1 == range->first)
			before->last = range->last;
		else
			add(ret, range);
	}
}

void map_print(const struct lock_map *map, char *text, size_t size)
{
	size_t used = 0;

	snprintf(text, size, "nothing");
	for (size_t i = 0; i < map->count && used < size; i++) {
		const struct lock_range *range = &map->ranges[i];
		used += (size_t)snprintf(text + used, size - used, "%s%s %c %jd-", i ? ", " : "",
					 range->type == F_RDLCK ? "read" : "write",
					 actor_name(range->actor), (intmax_t)range->first);
		if (used < size && range->last == INT64_MAX)
			used += (size_t)snprintf(text + used, size - used, "EOF");
		else if (used < size)
			used += (size_t)snprintf(text + used, size - used, "%jd",
						 (intmax_t)range->last);
	}
}
