/* See differential-outsider.h. */
#include "differential-outsider.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void flock_print(const struct flock *lock, char words[WORDS_SIZE])
{
	snprintf(words, WORDS_SIZE, "type %d whence %d start %jd length %jd pid %d", lock->l_type,
		 lock->l_whence, (intmax_t)lock->l_start, (intmax_t)lock->l_len, (int)lock->l_pid);
}

static short type_at(const struct lock_map *map, off_t byte)
{
	for (size_t i = 0; i < map->count; i++)
		if (map->ranges[i].first <= byte && byte <= map->ranges[i].last)
			return map->ranges[i].type;
	return F_UNLCK;
}

static bool is_in_view(const struct lock_map *view, const struct flock *seen)
{
	off_t last = seen->l_len ? seen->l_start + seen->l_len - 1 : INT64_MAX;

	for (size_t i = 0; i < view->count; i++)
		if (view->ranges[i].first == seen->l_start && view->ranges[i].last == last &&
		    view->ranges[i].type == seen->l_type)
			return true;
	return false;
}

static bool check_byte(const struct cast *cast, int file, const struct lock_map *view, off_t byte,
		       struct difference *ret)
{
	struct flock seen = {.l_type = F_WRLCK, .l_start = byte, .l_len = 1};
	char words[WORDS_SIZE], holders[600];

	if (fcntl(cast->outsiders[file], F_OFD_GETLK, &seen) < 0)
		return difference_note(ret, "no view of file %d: %s", file, strerror(errno));
	short expected = type_at(view, byte);
	if (seen.l_type == expected && (expected == F_UNLCK || is_in_view(view, &seen)))
		return true;
	flock_print(&seen, words);
	map_print(view, holders, sizeof holders);
	return difference_note(ret, "expected in file %d: %s\nseen     at byte %jd: %s", file,
			       holders, (intmax_t)byte, seen.l_type == F_UNLCK ? "no lock" : words);
}

/* All that a plan's small ranges reach. */
enum { VIEW_BYTES = 72 };

bool outsider_check(const struct cast *cast, const struct model *model, struct difference *ret)
{
	static const off_t edges[] = {1000,          INT64_MAX - 4, INT64_MAX - 3,
				      INT64_MAX - 2, INT64_MAX - 1, INT64_MAX};
	struct lock_map view;

	for (int file = 0; file < FILES; file++) {
		map_view(&model->files[file], &view);
		for (off_t byte = 0; byte < VIEW_BYTES; byte++)
			if (!check_byte(cast, file, &view, byte, ret))
				return false;
		for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
			if (!check_byte(cast, file, &view, edges[i], ret))
				return false;
	}
	return true;
}

/* A letter for each byte. */
static void print_bytes(const struct cast *cast, int file, char letters[VIEW_BYTES + 1])
{
	for (off_t byte = 0; byte < VIEW_BYTES; byte++) {
		struct flock seen = {.l_type = F_WRLCK, .l_start = byte, .l_len = 1};
		bool is_seen = fcntl(cast->outsiders[file], F_OFD_GETLK, &seen) == 0;
		letters[byte] = !is_seen                 ? '?'
				: seen.l_type == F_UNLCK ? '-'
				: seen.l_type == F_RDLCK ? 'r'
							 : 'w';
	}
	letters[VIEW_BYTES] = '\0';
}

void outsider_print(const struct cast *cast, const struct model *model, struct difference *ret)
{
	char letters[VIEW_BYTES + 1], locks[600];
	char *text = ret->files;
	size_t size = sizeof ret->files, used = 0;
	struct lock_map view;

	for (int file = 0; file < FILES && used < size; file++) {
		map_view(&model->files[file], &view);
		map_print(&view, locks, sizeof locks);
		print_bytes(cast, file, letters);
		used += (size_t)snprintf(text + used, size - used,
					 "file %d, expected: %s\n        seen:     %s\n", file,
					 locks, letters);
	}
}
