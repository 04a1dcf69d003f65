/* See differential-stage.h. */
#include "differential-stage.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct stage *stage_map(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return NULL;
	void *stage = mmap(NULL, sizeof(struct stage), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return stage == MAP_FAILED ? NULL : stage;
}

void stage_wait(_Atomic uint32_t *word, uint32_t seen)
{
	static const struct timespec limit = {.tv_nsec = 100 * 1000 * 1000};

	syscall(SYS_futex, word, FUTEX_WAIT, seen, &limit, NULL, 0);
}

void stage_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX, NULL, NULL, 0);
}

void stage_player_start(const struct stage *stage, const char *stage_path, int actor, int thread,
			bool under_shim, struct player_start *ret)
{
	*ret = (struct player_start){0};
	snprintf(ret->actor, sizeof ret->actor, "%d", actor);
	snprintf(ret->thread, sizeof ret->thread, "%d", thread);
	ret->arguments[0] = (char *)stage->player;
	ret->arguments[1] = (char *)stage_path;
	ret->arguments[2] = ret->actor;
	ret->arguments[3] = ret->thread;
	if (!under_shim)
		return;
	snprintf(ret->preload, sizeof ret->preload, "LD_PRELOAD=%s", stage->shim);
	snprintf(ret->semantics, sizeof ret->semantics, "RELOCK_SEMANTICS=%s", stage->semantics);
	ret->environment[0] = ret->preload;
	ret->environment[1] = ret->semantics;
}
