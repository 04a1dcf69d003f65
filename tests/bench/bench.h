/*
 * What the benchmark programs share.  Each measures two ways of doing the same
 * thing, turn by turn, so that what else the machine does hits both; it prints
 * one line a round and way, "NAME NUMBER", and scripts/bench takes the medians.
 */
#pragma once

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "relock.h"

static inline int64_t nanoseconds(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return (int64_t)now.tv_sec * RELOCK_SECOND + now.tv_nsec;
}

/* A measurement that did not take place is none. */
static inline void __attribute__((noreturn)) give_up(const char *what, const char *why)
{
	fprintf(stderr, "%s: %s\n", what, why);
	exit(1);
}

/* From the command line: a positive number. */
static inline long count_of(const char *text)
{
	long count = strtol(text, NULL, 10);

	if (count < 1)
		give_up(text, "not a number above 0");
	return count;
}

relock_store *bench_store(const char *folder);
relock_lock *bench_lock(relock_store *store, const char *name);
/* A file of that name in the folder, for bare locks. */
int bench_file(const char *folder, const char *name);

/*
 * librelock looks at the folder's times instead of the name's entry, once
 * these are older than 50 ms (lib/lock-file.c, lock_file_is_current()): waits for
 * that, locking and unlocking.
 */
void bench_warm_up(relock_lock *lock);
