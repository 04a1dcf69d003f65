/*
 * What descriptors cost that have nothing to do with any lock, in nanoseconds
 * for each:
 *
 *	close              close(2), in a program that has locked nothing
 *	close-holding      the same while it holds a lock on another file
 *	read               open, read and close, in several threads
 *	read-holding-100   the same while 100 files are locked
 */
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "bench.h"

enum { DESCRIPTORS = 500, BATCHES = 8, THREADS = 4, READS = 1000, HELD = 100 };

static void prepare_nothing(void)
{
}

static void prepare_holding(void)
{
	bench_hold(1);
}

/* Only the closing is timed, so all are opened before. */
static double close_batch(void)
{
	int fds[DESCRIPTORS];

	for (int i = 0; i < DESCRIPTORS; i++)
		fds[i] = bench_open("closed", 0);
	double start = bench_nanoseconds(CLOCK_THREAD_CPUTIME_ID);
	for (int i = 0; i < DESCRIPTORS; i++)
		close(fds[i]);
	return bench_nanoseconds(CLOCK_THREAD_CPUTIME_ID) - start;
}

static double turn_of_closes(void)
{
	double sum = 0;

	for (int i = 0; i < BATCHES; i++)
		sum += close_batch();
	return sum / (BATCHES * DESCRIPTORS);
}

/* A file for each thread: all of them on one would fight for its inode. */
static void *read_again_and_again(void *argument)
{
	const unsigned *number = argument;
	char text[64];

	for (int i = 0; i < READS; i++) {
		int fd = bench_open("read", *number);
		if (read(fd, text, sizeof text) != sizeof text)
			bench_give_up("read");
		close(fd);
	}
	return NULL;
}

static void prepare_reads(void)
{
	static const char text[64];

	for (unsigned i = 0; i < THREADS; i++) {
		int fd = bench_open("read", i);
		if (pwrite(fd, text, sizeof text, 0) != sizeof text)
			bench_give_up("pwrite");
		close(fd);
	}
}

static void prepare_reads_holding(void)
{
	prepare_reads();
	bench_hold(HELD);
}

static double turn_of_reads(void)
{
	pthread_t threads[THREADS];
	unsigned numbers[THREADS];
	double start = bench_nanoseconds(CLOCK_MONOTONIC);

	for (unsigned i = 0; i < THREADS; i++) {
		numbers[i] = i;
		if (pthread_create(&threads[i], NULL, read_again_and_again, &numbers[i]) != 0)
			bench_give_up("pthread_create");
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	return (bench_nanoseconds(CLOCK_MONOTONIC) - start) / (THREADS * READS);
}

const struct bench_work bench_descriptors[] = {
	{"close", prepare_nothing, turn_of_closes},
	{"close-holding", prepare_holding, turn_of_closes},
	{"read", prepare_reads, turn_of_reads},
	{"read-holding-100", prepare_reads_holding, turn_of_reads},
	{0},
};
