#include "sight.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A descriptor each, at most. */
enum { MOST = 64 };

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

static bool read_again(const struct sight *sight, char *text, size_t size, size_t *ret_length)
{
	ssize_t length = pread(sight->fd, text, size, 0);

	if (length <= 0)
		return false;
	*ret_length = (size_t)length;
	return true;
}

bool sight_take(struct sight *ret, const struct process *process, int number, dev_t device,
		ino_t inode)
{
	struct sight sight = SIGHT_NONE;
	char path[64];

	/* First the file, then the proof that it is that process's. */
	snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", (int)process->pid, number);
	sight.fd = open(path, O_RDONLY | O_CLOEXEC);
	if (sight.fd < 0)
		return false;
	bool is_seen = !process_is_gone(process) &&
		       read_again(&sight, sight.text, sizeof sight.text, &sight.length) &&
		       process_has_open_at(process->pid, number, device, inode);
	/* One that is longer has an end that would not be compared; one without the
	 * number of the file (before Linux 5.14) says too little. */
	if (!is_seen || sight.length == sizeof sight.text ||
	    !memmem(sight.text, sight.length, "\nino:\t", 6)) {
		sight_drop(&sight);
		return false;
	}
	*ret = sight;
	return true;
}

void sight_drop(struct sight *sight)
{
	if (sight->fd >= 0)
		close(sight->fd);
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
	char text[sizeof place->sight.text];
	size_t length;

	if (!is_of(place, handle_id(handle), &handle->holder) || place->sight.fd < 0)
		return false;
	if (read_again(&place->sight, text, sizeof text, &length) &&
	    length == place->sight.length && memcmp(text, place->sight.text, length) == 0)
		return true;
	sight_drop(&place->sight);
	return false;
}

bool sights_want(struct sights *sights, const struct handle *handle)
{
	struct place *place = place_of(sights, handle_id(handle));

	if (is_of(place, handle_id(handle), &handle->holder))
		return true;
	sight_drop(&place->sight);
	place->handle = handle_id(handle);
	place->holder = handle->holder;
	sights->any = true;
	return false;
}

void sights_keep(struct sights *sights, uint64_t handle, const struct process *holder,
		 struct sight *sight)
{
	struct place *place = place_of(sights, handle);

	if (is_of(place, handle, holder) && sight->fd >= 0) {
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
