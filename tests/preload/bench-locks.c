/*
 * What a lock and its unlock cost, in nanoseconds for the two:
 *
 *	pair            F_SETLK of a range
 *	pair-pid        the same with something left in l_pid
 *	pair-cursor     the same, relative to the file offset
 *	pair-lockf      F_TLOCK and F_ULOCK
 *	pair-among-64   F_SETLK, while 64 other ranges of the file are held
 */
#include <fcntl.h>
#include <unistd.h>

#include "bench.h"

enum { PAIRS = 5000, OTHER_RANGES = 64, LENGTH = 10 };

static int fd;
static struct flock wanted = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = LENGTH};

/* One program's lock shall not be in the way of the other's. */
static void prepare_pair(void)
{
	fd = bench_open("pair", (unsigned)getpid());
}

static void prepare_pid(void)
{
	wanted.l_pid = 4711;
	prepare_pair();
}

static void prepare_cursor(void)
{
	wanted.l_whence = SEEK_CUR;
	prepare_pair();
}

/* With a gap between each two, or the kernel would make one of them. */
static void prepare_among_others(void)
{
	prepare_pair();
	for (int i = 1; i <= OTHER_RANGES; i++) {
		struct flock other = {
			.l_type = F_WRLCK, .l_start = i * 2 * LENGTH, .l_len = LENGTH};
		if (fcntl(fd, F_SETLK, &other) < 0)
			bench_give_up("F_SETLK of another range");
	}
}

static double turn_by_fcntl(void)
{
	double start = bench_nanoseconds(CLOCK_THREAD_CPUTIME_ID);

	for (int i = 0; i < PAIRS; i++) {
		struct flock lock = wanted, unlock = wanted;
		unlock.l_type = F_UNLCK;
		if (fcntl(fd, F_SETLK, &lock) < 0 || fcntl(fd, F_SETLK, &unlock) < 0)
			bench_give_up("F_SETLK");
	}
	return (bench_nanoseconds(CLOCK_THREAD_CPUTIME_ID) - start) / PAIRS;
}

static double turn_by_lockf(void)
{
	double start = bench_nanoseconds(CLOCK_THREAD_CPUTIME_ID);

	for (int i = 0; i < PAIRS; i++)
		if (lockf(fd, F_TLOCK, LENGTH) < 0 || lockf(fd, F_ULOCK, LENGTH) < 0)
			bench_give_up("lockf");
	return (bench_nanoseconds(CLOCK_THREAD_CPUTIME_ID) - start) / PAIRS;
}

const struct bench_work bench_locks[] = {
	{"pair", prepare_pair, turn_by_fcntl},
	{"pair-pid", prepare_pid, turn_by_fcntl},
	{"pair-cursor", prepare_cursor, turn_by_fcntl},
	{"pair-lockf", prepare_pair, turn_by_lockf},
	{"pair-among-64", prepare_among_others, turn_by_fcntl},
	{0},
};
