/*
 * What scripts/bench times natively and under the shim: one program, which
 * knows nothing of the shim, and does a turn of its work for each line that it
 * reads (tests/bench/turns.c hands them out).
 *
 *	preload-bench WORK FOLDER
 *
 * A work is prepared once and then done in turns of a few milliseconds, short
 * enough for two programs to take turns under the same conditions.
 */
#pragma once

#include <stdint.h>
#include <time.h>

struct bench_work {
	const char *name;
	void (*prepare)(void);
	/* Returns what the turn cost, in the work's unit. */
	double (*turn)(void);
};

/* The works of one file each, ended by one without a name. */
extern const struct bench_work bench_locks[], bench_descriptors[], bench_processes[];

/* Where all files are made; who starts the program removes them. */
extern const char *bench_folder;

/* By CLOCK_THREAD_CPUTIME_ID where nothing is waited for: what others run
 * meanwhile is no cost of ours. */
static inline double bench_nanoseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (double)now.tv_sec * 1e9 + (double)now.tv_nsec;
}

/* "FOLDER/NAME-NUMBER", made if it is not there, and opened. */
int bench_open(const char *name, unsigned number);
/* A write lock on all of it. */
void bench_lock(int fd);
/* That many files, each locked through a descriptor that stays open. */
void bench_hold(unsigned files);

void bench_give_up(const char *what) __attribute__((noreturn));
