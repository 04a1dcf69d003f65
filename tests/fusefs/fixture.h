/*
 * A mount to test: the real relockfs in the foreground, on a store and a mount
 * point of its own, and programs that open its locks.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <limits.h>
#include <relock.h>
#include <stdbool.h>
#include <sys/types.h>

#include "peer.h"

struct daemon {
	char mountpoint[128];
	pid_t pid;  /* 0: not running */
	int errors; /* what it says on standard error */
};

struct fixture {
	char folder[64];
	char store_url[128];
	struct daemon daemon;
	struct daemon second; /* of the same store; not started by itself */
	relock_store *store;
};

/* The mount is there when setup returns; at the end the daemon has to leave
 * with status 0, and nothing may be left of it. */
int fixture_setup(void **state);
/* On stores whose locks are files. */
int fixture_setup_link(void **state);
int fixture_setup_nfslock(void **state);
int fixture_teardown(void **state);
/* On the store "sem:", in a /dev/shm of the test's own. */
int fixture_setup_sem(void **state);

/* Starts a second daemon on the fixture's store. */
void fixture_start_second(struct fixture *fixture);

/* Mounts anew, with these mount options ("a,b"). */
void fixture_mount_with(struct fixture *fixture, const char *options);

/* Sends the signal and returns the wait status; fails the test if the daemon
 * does not end. */
int daemon_end(struct daemon *daemon, int signal);
/* All it has said so far, to be freed. */
char *daemon_errors(const struct daemon *daemon);

/* The path of a lock; valid until the eighth call from now. */
const char *lock_path(const struct fixture *fixture, const char *name);

/* Opens the file; the test fails if that fails. */
int open_lock(const struct fixture *fixture, const char *name, int flags);
/* 0 if it could be opened (and is closed again), else the errno. */
int try_open(const struct fixture *fixture, const char *name, int flags);

/* The text of a lock, to be freed; NULL if it does not exist. */
char *read_lock(const struct fixture *fixture, const char *name);
/* The value of a key in such a text, to be freed; NULL: not there. */
char *value_of(const char *text, const char *key);
void assert_value(const char *text, const char *key, const char *expected);
/* How many names a listing of the mount has, without . and .. */
size_t count_names(const struct fixture *fixture);

/*
 * Another process that opens the lock as soon as it is started, says the errno
 * or 0, and does what it is told until it is told to CLOSE, after which it
 * ends.
 */
struct opener {
	struct peer peer;
	char path[PATH_MAX];
	int flags;
};
enum command { CLOSE = 1000, EXIT_OPEN, READ_ERRNO, WRITE_ERRNO, FSYNC_ERRNO, FLOCK_BASE = 2000 };
void opener_start(struct opener *opener, const struct fixture *fixture, const char *name,
		  int flags);
/* Tells it a command and returns its answer: an errno, or 0. */
int opener_ask(struct opener *opener, int command);
/* Tells it to close, and waits until it has ended. */
void opener_close(struct opener *opener);

/* Waits until the mount shows exactly this many waiters of a lock, by poll(2)
 * on it. */
void await_waiters(const struct fixture *fixture, const char *name, size_t count);
/* Waits until nobody holds the lock, or, with held, until somebody does. */
void await_state(const struct fixture *fixture, const char *name, bool held);

/* Runs a shell command with $LOCKS set to the mount point; its exit status. */
int shell(const struct fixture *fixture, const char *command);
