/*
 * A lock as resourcelock takes it, by the bare calls: sem_timedwait(3), the text
 * into the shared memory, sem_post(3).
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"

enum { TEXT_SIZE = 4096 };

/* libc keeps a tree of what is open, under a lock that ThreadSanitizer does not see. */
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

struct bare_sem {
	sem_t *semaphore;
	char *text;
	bool held;
};

static int store_open(void **ret, const char *url)
{
	static char all_in_one_place;

	*ret = &all_in_one_place;
	return 0;
}

static void store_close(void *store)
{
}

static char *map_text(const char *name)
{
	int fd = shm_open(name, O_RDWR | O_CLOEXEC, 0600);

	if (fd < 0) {
		fd = shm_open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 || ftruncate(fd, TEXT_SIZE) < 0)
			return NULL;
	}
	char *text = mmap(NULL, TEXT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	return text == MAP_FAILED ? NULL : text;
}

static int open_handle(void **ret, void *store, const char *name)
{
	struct bare_sem *bare = calloc(1, sizeof *bare);

	if (!bare)
		return -ENOMEM;
	pthread_mutex_lock(&opening);
	bare->semaphore = sem_open(name, O_CREAT, 0600, 1);
	pthread_mutex_unlock(&opening);
	bare->text = map_text(name);
	if (bare->semaphore == SEM_FAILED || !bare->text) {
		int error = -errno;
		free(bare);
		return error;
	}
	*ret = bare;
	return 0;
}

static int release(void *handle)
{
	struct bare_sem *bare = handle;

	bare->held = false;
	return sem_post(bare->semaphore) < 0 ? -errno : 0;
}

static void close_handle(void *handle)
{
	struct bare_sem *bare = handle;

	if (bare->held)
		release(bare);
	pthread_mutex_lock(&opening);
	sem_close(bare->semaphore);
	pthread_mutex_unlock(&opening);
	munmap(bare->text, TEXT_SIZE);
	free(bare);
}

static int acquire(void *handle, const struct oracle_wish *wish)
{
	struct bare_sem *bare = handle;
	struct timespec until;
	int result;

	clock_gettime(CLOCK_REALTIME, &until);
	int64_t end = until.tv_sec * INT64_C(1000000000) + until.tv_nsec + wish->timeout;
	until = (struct timespec){end / 1000000000, end % 1000000000};
	if (wish->timeout == 0)
		result = sem_trywait(bare->semaphore);
	else if (wish->timeout < 0)
		result = sem_wait(bare->semaphore);
	else
		result = sem_timedwait(bare->semaphore, &until);
	if (result < 0)
		return -errno;
	bare->held = true;
	clock_gettime(CLOCK_REALTIME, &until);
	snprintf(bare->text, TEXT_SIZE, "%lld.%09ld - %d", (long long)until.tv_sec, until.tv_nsec,
		 (int)getpid());
	return 0;
}

const struct oracle_driver driver_bare_sem = {
	.name = "bare-sem",
	.exclusive_only = true,
	.store_open = store_open,
	.store_close = store_close,
	.open = open_handle,
	.close = close_handle,
	.acquire = acquire,
	.release = release,
};
