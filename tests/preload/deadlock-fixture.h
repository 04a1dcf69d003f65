/*
 * What the tests of row 14 share.  The search is compiled into them; lockers
 * (locker.h) are the processes.  The tables lie in file systems of the test's own,
 * in a mount namespace.
 */
#pragma once

#include "locker.h"

#define READ(...)      ((struct locker_order){LOCKER_READ, __VA_ARGS__})
#define WRITE(...)     ((struct locker_order){LOCKER_WRITE, __VA_ARGS__})
#define UNLOCK(...)    ((struct locker_order){LOCKER_UNLOCK, __VA_ARGS__})
#define JUMP(...)      ((struct locker_order){LOCKER_JUMP, __VA_ARGS__})
#define IN_THREAD(...) ((struct locker_order){LOCKER_THREAD, __VA_ARGS__})
#define IN_CHILD(...)  ((struct locker_order){LOCKER_FORK, __VA_ARGS__})
#define JOIN           ((struct locker_order){LOCKER_JOIN})
#define RELEASE        ((struct locker_order){LOCKER_RELEASE})

#define SHARED_TABLE "/run/relock/.waits"
#define ROOTS_TABLE  "/dev/shm/relock-waits-0"

enum { RING_MAX = 48 };

int deadlock_set_up_all(void **state);
int deadlock_set_up(void **state);
int deadlock_tear_down(void **state);

/* Ends two lockers of which `waiter` is blocked by the other. */
void end_pair(struct peer *waiter, struct peer *other);
/* What a crossed wait must look like. */
void assert_cross_is_seen(locker_prepare *prepare);
/* ... where the table cannot be used: both wait, and a signal helps. */
void assert_cross_is_not_seen(locker_prepare *prepare);
/* So many lockers, each of which holds its file and waits for the next one's. */
void close_ring(unsigned count);

unsigned next_random(unsigned *seed);
