/*
 * What an uncontended lock and its release cost in the store "sem:": through
 * librelock, and by the bare sequence that resourcelock makes of posix_ipc's
 * calls, in C: sem_timedwait(3) with a second's timeout, the text with the moment
 * into the mapped shared memory, sem_post(3).
 *
 *	bench-sem-pair ROUNDS PAIRS
 *
 * Prints nanoseconds of processor time a pair: neither way ever sleeps, and a round
 * is shorter than what a busy machine takes away at a time.
 */
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bench.h"

enum { TEXT_SIZE = 4096 };

static const char info[] = "bench";

static char *map_text(const char *name)
{
	int fd = shm_open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, TEXT_SIZE) < 0)
		give_up(name, strerror(errno));
	char *text = mmap(NULL, TEXT_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (text == MAP_FAILED)
		give_up(name, strerror(errno));
	close(fd);
	return text;
}

static void write_text(char *text)
{
	struct timespec now;
	struct tm local;

	clock_gettime(CLOCK_REALTIME, &now);
	localtime_r(&now.tv_sec, &local);
	size_t length = strftime(text, TEXT_SIZE, "%Y-%m-%d %H:%M:%S", &local);
	snprintf(text + length, TEXT_SIZE - length, ".%06ld - %s", now.tv_nsec / 1000, info);
}

static void pairs_by_semaphore(sem_t *semaphore, char *text, long pairs)
{
	for (long i = 0; i < pairs; i++) {
		struct timespec until;
		clock_gettime(CLOCK_REALTIME, &until);
		until.tv_sec++;
		if (sem_timedwait(semaphore, &until) < 0)
			give_up("sem_timedwait", strerror(errno));
		write_text(text);
		if (sem_post(semaphore) < 0)
			give_up("sem_post", strerror(errno));
	}
}

static void pairs_by_relock(relock_lock *lock, long pairs)
{
	struct relock_request request = RELOCK_REQUEST_INIT;

	request.timeout = RELOCK_SECOND;
	request.info = info;
	request.info_length = strlen(info);
	for (long i = 0; i < pairs; i++)
		if (relock_acquire(lock, &request) < 0 || relock_release(lock) < 0)
			give_up("librelock", relock_error_message());
}

/* Both are of this process only. */
static void remove_objects(const char *name)
{
	sem_unlink(name);
	shm_unlink(name);
}

int main(int argc, char **argv)
{
	char ours[64], bare[64];
	relock_store *store = NULL;

	if (argc != 3)
		give_up("usage", "bench-sem-pair ROUNDS PAIRS");
	long rounds = count_of(argv[1]), pairs = count_of(argv[2]);
	snprintf(ours, sizeof ours, "relock-bench-%d", (int)getpid());
	snprintf(bare, sizeof bare, "relock-bench-bare-%d", (int)getpid());
	if (relock_store_open(&store, "sem:") < 0)
		give_up("sem:", relock_error_message());
	relock_lock *lock = bench_lock(store, ours);
	sem_t *semaphore = sem_open(bare, O_CREAT, 0600, 1);
	if (semaphore == SEM_FAILED)
		give_up(bare, strerror(errno));
	char *text = map_text(bare);

	for (long round = 0; round < rounds; round++) {
		int64_t start = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
		pairs_by_relock(lock, pairs);
		int64_t middle = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
		pairs_by_semaphore(semaphore, text, pairs);
		int64_t end = nanoseconds(CLOCK_THREAD_CPUTIME_ID);
		printf("relock %.1f\nbare %.1f\n", (double)(middle - start) / (double)pairs,
		       (double)(end - middle) / (double)pairs);
	}
	relock_lock_close(lock);
	relock_store_close(store);
	remove_objects(ours);
	remove_objects(bare);
	return 0;
}
