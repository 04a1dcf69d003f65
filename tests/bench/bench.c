#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

relock_store *bench_store(const char *folder)
{
	relock_store *store = NULL;
	char *url = NULL;

	if (asprintf(&url, "ofd:%s", folder) < 0)
		give_up(folder, "no memory");
	if (relock_store_open(&store, url) < 0)
		give_up(url, relock_error_message());
	free(url);
	return store;
}

relock_lock *bench_lock(relock_store *store, const char *name)
{
	relock_lock *lock = NULL;

	if (relock_lock_open(&lock, store, name) < 0)
		give_up(name, relock_error_message());
	return lock;
}

int bench_file(const char *folder, const char *name)
{
	int directory = open(folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int fd = openat(directory, name, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

	if (fd < 0)
		give_up(folder, strerror(errno));
	close(directory);
	return fd;
}

void bench_warm_up(relock_lock *lock)
{
	const int64_t end = nanoseconds(CLOCK_MONOTONIC) + 100 * RELOCK_MILLISECOND;
	const struct relock_request request = RELOCK_REQUEST_INIT;

	do
		if (relock_acquire(lock, &request) < 0 || relock_release(lock) < 0)
			give_up("warm-up", relock_error_message());
	while (nanoseconds(CLOCK_MONOTONIC) < end);
}
