/*
 * The lock that the command line names: NAME, a path, and perhaps --store.
 */
#pragma once

#include "cleanup.h"
#include "command.h"
#include "relock.h"

struct named_lock {
	relock_store *store; /* NULL: the handle has its own */
	relock_lock *lock;
};

#define NAMED_LOCK CLEANUP(named_lock_close) struct named_lock

/* Errors of relock_store_open() and relock_lock_open(). */
int named_lock_open(struct named_lock *ret, const struct invocation *invocation, const char *name);

/* Releases what is held through it, and closes it; zeroes are allowed. */
void named_lock_close(struct named_lock *named);
