/*
 * The exclusion oracle: processes that take and give back locks in random
 * ways, are killed, stopped and interrupted at random, and log every hold
 * (log.h).  A run fails on any
 *
 *	overlap          two inside, not both shared
 *	token            of an exclusive grant, not larger than the last
 *	lost wake-up     somebody waits, the lock is free, and nothing moves
 *	lost hold        given up by a release that nobody's break explains
 *	leftover         a lock, or a descriptor, after its last holder has gone
 *	error, crash     a result, or an end of a process, that should not be
 *
 * What it runs on is a table of functions (driver.h).  What is random comes
 * from the seed alone; how the processes interleave does not, so a seed makes
 * a failure likely to come again, not certain.  Kills and forks are counted in
 * grants and steps, not in time.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "driver.h"
#include "log.h"

enum { OTHERS_MAX = 7 };

/* A way to take the locks, and where they are for it. */
struct oracle_party {
	const struct oracle_driver *driver; /* NULL: none */
	const char *url;                    /* NULL: that of the options */
};

struct oracle_options {
	const struct oracle_driver *driver;
	const char *url;
	/* The processes are the driver's, then of each of these, in turn. */
	struct oracle_party others[OTHERS_MAX];
	const char *preload; /* a library that every second process starts with, or NULL */
	uint64_t seed;
	uint64_t grants;
	unsigned processes, threads, locks;
	unsigned kill_every;   /* grants; 0: never */
	unsigned exit_every;   /* steps inside, on average; 0: never */
	unsigned fork_every;   /* likewise */
	unsigned break_every;  /* steps; 0: never */
	unsigned signal_every; /* grants; 0: never */
	unsigned stop_every;   /* likewise */
	unsigned crash_every;  /* likewise: whoever serves the locks, see driver.h */
	int patience;          /* seconds without any movement */
	bool quiet;
};

#define ORACLE_OPTIONS_INIT                                                                        \
	{                                                                                          \
		.driver = oracle_drivers[0], .seed = 1, .grants = 10000, .processes = 6,           \
		.threads = 2, .locks = 3, .kill_every = 200, .exit_every = 400, .fork_every = 400, \
		.patience = 20,                                                                    \
	}

/* One for each handle of a thread, see holds_by_process. */
enum { LOCKS_OF_A_PROCESS = 2 };

/* What a run shares. */
struct oracle_run {
	struct oracle_options options;
	struct oracle_log *log;
};

/* Runs, prints what happened on standard output, what went wrong on standard
 * error, and returns that.  The caller must have no other children. */
enum failure_kind oracle(const struct oracle_options *options);

const char *failure_name(enum failure_kind kind);

/* worker.c: one process.  Returns its exit status. */
int worker(struct oracle_run *run, struct life *life, const struct oracle_driver *driver,
	   uint64_t seed);

/* recruit.c: becomes a process of the run that starts anew with the library of
 * `preload`.  Returns only if that cannot be done. */
void recruit(const struct oracle_run *run, const struct life *life,
	     const struct oracle_driver *driver, uint64_t seed);
/* What main() of a program that uses `preload` must begin with: the exit status
 * if it is such a process, and -1 if not. */
int recruit_main(int argc, char **argv);

/* The file of a lock: DIR/oracle-N. */
void oracle_lock_name(uint32_t lock, char name[32]);

/* Small numbers from a large one (splitmix64). */
uint64_t random_next(uint64_t *state);
static inline bool random_one_in(uint64_t *state, unsigned n)
{
	return n > 0 && random_next(state) % n == 0;
}
