/*
 * What an uncontended lock and its release cost: through librelock, with all
 * that it does besides (name checked, token grown, record and info published,
 * release recorded), and by a bare F_OFD_SETLK on an open descriptor.
 *
 *	bench-pair FOLDER ROUNDS PAIRS
 *
 * Prints nanoseconds a pair.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"

static void pairs_by_relock(relock_lock *lock, long pairs)
{
	const struct relock_request request = RELOCK_REQUEST_INIT;

	for (long i = 0; i < pairs; i++)
		if (relock_acquire(lock, &request) < 0 || relock_release(lock) < 0)
			give_up("librelock", relock_error_message());
}

static void pairs_by_fcntl(int fd, long pairs)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	struct flock unlock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	for (long i = 0; i < pairs; i++)
		if (fcntl(fd, F_OFD_SETLK, &lock) < 0 || fcntl(fd, F_OFD_SETLK, &unlock) < 0)
			give_up("fcntl", strerror(errno));
}

int main(int argc, char **argv)
{
	if (argc != 4)
		give_up("usage", "bench-pair FOLDER ROUNDS PAIRS");
	long rounds = count_of(argv[2]), pairs = count_of(argv[3]);
	relock_store *store = bench_store(argv[1]);
	relock_lock *lock = bench_lock(store, "pair");
	int fd = bench_file(argv[1], "pair-bare");

	bench_warm_up(lock);
	for (long round = 0; round < rounds; round++) {
		int64_t start = nanoseconds(CLOCK_MONOTONIC);
		pairs_by_relock(lock, pairs);
		int64_t middle = nanoseconds(CLOCK_MONOTONIC);
		pairs_by_fcntl(fd, pairs);
		int64_t end = nanoseconds(CLOCK_MONOTONIC);
		printf("relock %.1f\nbare %.1f\n", (double)(middle - start) / (double)pairs,
		       (double)(end - middle) / (double)pairs);
	}
	close(fd);
	relock_lock_close(lock);
	relock_store_close(store);
	return 0;
}
