#include "sight.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* A descriptor each, at most. */
enum { MOST = 64 };

#define AGE (RELOCK_SECOND / 10)

/* A handle may be several holders', one after the other, by flock(2). */
struct place {
	uint64_t handle; /* 0: nobody's */
	struct process holder;
	struct sight sight;
};

struct sights {
	struct place places[MOST]; /* by number of the handle */
	bool any;
};

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * RELOCK_SECOND + time.tv_nsec;
}

/* The rights of the descriptor, as those of its entry; 0: it is not there. */
static mode_t mode_of(const struct sight *sight)
{
	struct stat entry;

	return fstatat(sight->folder, sight->number, &entry, AT_SYMLINK_NOFOLLOW) == 0
		       ? entry.st_mode
		       : 0;
}

bool sight_take(struct sight *ret, const struct process *process, int number, dev_t device,
		ino_t inode)
{
	struct sight sight = {.taken = now()};
	char path[64];

	/* First the folder, then the proof that it is that process's. */
	snprintf(path, sizeof path, "/proc/%d/fd", (int)process->pid);
	snprintf(sight.number, sizeof sight.number, "%d", number);
	sight.folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (sight.folder < 0)
		return false;
	sight.mode = mode_of(&sight);
	if (sight.mode == 0 || process_is_gone(process) ||
	    !process_has_open_at(process->pid, number, device, inode)) {
		sight_drop(&sight);
		return false;
	}
	*ret = sight;
	return true;
}

void sight_drop(struct sight *sight)
{
	if (sight->folder >= 0)
		close(sight->folder);
	*sight = SIGHT_NONE;
}

struct sights *sights_new(void)
{
	struct sights *sights = calloc(1, sizeof *sights);

	for (size_t i = 0; sights && i < MOST; i++)
		sights->places[i].sight = SIGHT_NONE;
	return sights;
}

void sights_free(struct sights *sights)
{
	if (sights)
		sights_forget(sights);
	free(sights);
}

static struct place *place_of(struct sights *sights, uint64_t handle)
{
	return &sights->places[handle % MOST];
}

static bool is_of(const struct place *place, uint64_t handle, const struct process *holder)
{
	return place->handle == handle && process_is_same(&place->holder, holder);
}

bool sights_see(struct sights *sights, const struct handle *handle)
{
	struct place *place = place_of(sights, handle_id(handle));

	if (!is_of(place, handle_id(handle), &handle->held->holder) || place->sight.folder < 0)
		return false;
	if (now() - place->sight.taken <= AGE && mode_of(&place->sight) == place->sight.mode)
		return true;
	sight_drop(&place->sight);
	return false;
}

bool sights_want(struct sights *sights, const struct handle *handle)
{
	struct place *place = place_of(sights, handle_id(handle));

	if (is_of(place, handle_id(handle), &handle->held->holder))
		return true;
	sight_drop(&place->sight);
	place->handle = handle_id(handle);
	place->holder = handle->held->holder;
	sights->any = true;
	return false;
}

void sights_keep(struct sights *sights, uint64_t handle, const struct process *holder,
		 struct sight *sight)
{
	struct place *place = place_of(sights, handle);

	if (is_of(place, handle, holder) && sight->folder >= 0) {
		sight_drop(&place->sight);
		place->sight = *sight;
		*sight = SIGHT_NONE;
	} else {
		sight_drop(sight);
	}
}

void sights_forget(struct sights *sights)
{
	for (size_t i = 0; i < MOST; i++) {
		sight_drop(&sights->places[i].sight);
		sights->places[i].handle = 0;
	}
	sights->any = false;
}

bool sights_any(const struct sights *sights)
{
	return sights->any;
}
