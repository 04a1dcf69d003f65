/*
 * Files of a relockfs mount, seen from outside.
 */
#pragma once

#include <stdbool.h>
#include <stdlib.h>

/* All to be freed by mounted_lock_free(). */
struct mounted_lock {
	char *mountpoint;
	char *store; /* URL */
	char *name;
	char *file; /* in the store; NULL if it is not a store of files */
};

/* False if the path leads to no file of a relockfs mount, whether that is there now,
 * its lock being held, or not. */
bool mounted_lock_find(const char *path, struct mounted_lock *ret);

static inline void mounted_lock_free(struct mounted_lock *lock)
{
	free(lock->mountpoint);
	free(lock->store);
	free(lock->name);
	free(lock->file);
}

#define MOUNTED_LOCK __attribute__((cleanup(mounted_lock_free))) struct mounted_lock
