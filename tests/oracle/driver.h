/*
 * What the oracle tests: any way to hold locks by name, as a table of
 * functions.  Results are 0 or a negative errno, as those of librelock.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct oracle_wish {
	bool shared;
	bool inherit;    /* children shall keep it */
	int64_t timeout; /* 0: at once; -1: for ever; else nanoseconds */
};

struct oracle_driver {
	const char *name;
	/* The process is the holder, as it is of a legacy record lock: its
	 * threads and handles do not exclude each other.  Then it has one
	 * thread, and no two handles of one lock. */
	bool holds_by_process;
	/* A child has every hold of its parent: a hold is an open file
	 * description.  Such a driver has no check(). */
	bool children_hold;
	/* There is no shared mode. */
	bool exclusive_only;
	/* What a process has in common for all its handles. */
	int (*store_open)(void **ret, const char *url);
	void (*store_close)(void *store);

	/* A handle is one holder of one lock.  Closing releases. */
	int (*open)(void **ret, void *store, const char *name);
	void (*close)(void *handle);

	/* -EAGAIN at once, -ETIMEDOUT, -EINTR; -EDEADLK if the process would wait
	 * for itself. */
	int (*acquire)(void *handle, const struct oracle_wish *wish);
	int (*release)(void *handle);

	/* The rest may be NULL. */
	int (*convert)(void *handle, bool shared, int64_t timeout);
	/* An upgrade keeps the shared hold until it has the exclusive one. */
	bool (*upgrades_in_place)(void *handle);
	int (*token)(void *handle, uint64_t *ret);
	/* Some other thing a holder does: info, checks. */
	int (*touch)(void *handle, uint64_t number);
	/* In the child of a fork: -ENOENT if the handle holds nothing there. */
	int (*check)(void *handle);
	/* The child has the hold from now on (wish.inherit). */
	int (*leave)(void *handle);
	/* Takes the lock away from whoever holds it. */
	int (*break_lock)(void *store, const char *name);
	/* Ends whoever serves the locks, with SIGKILL; that is to harm nobody. */
	int (*crash)(const char *url);
	/* A failed call's message. */
	const char *(*message)(void);
};

/* Those that a program knows, ended by NULL; the first is the one it takes if
 * it is not told. */
extern const struct oracle_driver *const oracle_drivers[];
const struct oracle_driver *oracle_driver_find(const char *name);

/* librelock; and what it can do in stores without a lock of the kernel's. */
extern const struct oracle_driver driver_relock, driver_relock_exclusive;
/* OFD and flock(2) locks on the files of a store, by bare system calls; at
 * once and for ever only. */
extern const struct oracle_driver driver_bare_ofd, driver_bare_flock;
/* As Core_unix's Lock_file.Nfs. */
extern const struct oracle_driver driver_core_unix_v1, driver_core_unix_v2;

/* librelock on the store "sem:", and bare sem_open(3), sem_timedwait(3) and
 * sem_post(3) with the text, as resourcelock has it: whoever is killed with that
 * keeps it. */
extern const struct oracle_driver driver_sem, driver_bare_sem;

/* Wrong on purpose, each in one way: see driver-broken.c. */
extern const struct oracle_driver driver_broken_none, driver_broken_early, driver_broken_deaf,
	driver_broken_keeps, driver_broken_token, driver_broken_fork, driver_broken_denies;
