/*
 * A store in a folder of its own for each test, and short ways to say what the
 * tests say often.
 */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdbool.h>

#include "peer.h"
#include "relock.h"

struct fixture {
	char folder[64];
	char url[80];
	relock_store *store;
};

/* cmocka setup and teardown: *state is a struct fixture. */
int fixture_setup_ofd(void **state);
int fixture_setup_flock(void **state);
int fixture_setup_nfslock(void **state);
int fixture_setup_link(void **state);
int fixture_teardown(void **state);
/* In a /dev/shm of the test's own; `folder` is that. */
int fixture_setup_sem(void **state);
int fixture_teardown_sem(void **state);

#define test_ofd(f)     cmocka_unit_test_setup_teardown(f, fixture_setup_ofd, fixture_teardown)
#define test_flock(f)   cmocka_unit_test_setup_teardown(f, fixture_setup_flock, fixture_teardown)
#define test_link(f)    cmocka_unit_test_setup_teardown(f, fixture_setup_link, fixture_teardown)
#define test_nfslock(f) cmocka_unit_test_setup_teardown(f, fixture_setup_nfslock, fixture_teardown)

#define test_sem(f) cmocka_unit_test_setup_teardown(f, fixture_setup_sem, fixture_teardown_sem)

/* The path of a lock's file. */
const char *path_of(const struct fixture *fixture, const char *name);

relock_lock *handle(const struct fixture *fixture, const char *name);

/* acquire at once, within, for ever; by default exclusive */
int try_lock(relock_lock *lock);
int try_shared(relock_lock *lock);
int lock_within(relock_lock *lock, int64_t timeout);

/* The lock as somebody else sees it, with a handle of their own. */
int try_elsewhere(const struct fixture *fixture, const char *name);

/* The value of a key in the status text; NULL if it is not there.  Valid until
 * the next call. */
const char *state_of(const struct fixture *fixture, const char *name, const char *key);

/* A peer that holds the lock from peer_start() until it is told to go on: it
 * says 1 when it has it, releases when it hears something, and says 2. */
struct holding {
	const struct fixture *fixture;
	const char *name;
	enum relock_mode mode;
};
peer_main hold_until_told;

/* One that waits for the lock "demo" of the fixture that is its argument, says what
 * came of it, and has it until it is told to end. */
peer_main wait_until_told;

/* The system call in which a waiter of this store sleeps. */
long wait_syscall(const struct fixture *fixture);

/* Open descriptors of this process. */
int count_descriptors(void);
