/*
 * A wait with a timeout, for a lock that another process keeps: how late it
 * ends, and what it costs while it lasts.
 *
 *	bench-timed-wait FOLDER ROUNDS MILLISECONDS
 *
 * Prints, a round: milliseconds past the deadline ("overshoot"), and
 * milliseconds of processor time for each second waited ("processor").
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

static int64_t processor_time(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * RELOCK_SECOND +
	       (usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) * 1000;
}

/* Holds the lock until the pipe is closed. */
static void keep(const char *folder, const int ready[2], const int end[2])
{
	const struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = bench_lock(bench_store(folder), "timed-wait");
	char byte = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	close(end[1]);
	if (relock_acquire(lock, &request) < 0 || write(ready[1], &byte, 1) != 1)
		give_up("holder", relock_error_message());
	while (read(end[0], &byte, 1) > 0)
		;
	_exit(0);
}

static void wait_once(relock_lock *lock, int64_t timeout)
{
	struct relock_request request = RELOCK_REQUEST_INIT;

	request.timeout = timeout;
	int64_t cost = processor_time();
	int64_t start = nanoseconds(CLOCK_MONOTONIC);
	int result = relock_acquire(lock, &request);
	int64_t taken = nanoseconds(CLOCK_MONOTONIC) - start;
	cost = processor_time() - cost;
	if (result != -ETIMEDOUT)
		give_up("librelock", result < 0 ? relock_error_message() : "the lock was free");
	printf("overshoot %.4f\nprocessor %.4f\n", (double)(taken - timeout) / 1e6,
	       (double)cost / (double)taken * 1000);
}

int main(int argc, char **argv)
{
	int ready[2], end[2], status;
	char byte;

	if (argc != 4)
		give_up("usage", "bench-timed-wait FOLDER ROUNDS MILLISECONDS");
	long rounds = count_of(argv[2]);
	int64_t timeout = count_of(argv[3]) * RELOCK_MILLISECOND;
	if (pipe(ready) < 0 || pipe(end) < 0)
		give_up("pipe", strerror(errno));
	pid_t holder = fork();
	if (holder < 0)
		give_up("fork", strerror(errno));
	if (holder == 0)
		keep(argv[1], ready, end);
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		give_up("holder", "is gone");
	relock_store *store = bench_store(argv[1]);
	relock_lock *lock = bench_lock(store, "timed-wait");
	for (long round = 0; round < rounds; round++)
		wait_once(lock, timeout);
	relock_lock_close(lock);
	relock_store_close(store);
	close(end[1]);
	waitpid(holder, &status, 0);
	return 0;
}
