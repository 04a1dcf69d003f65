/*
 * Completing what the store says of its locks by what its mounts say (ask-mounts.h),
 * so that `relock state NAME` and `cat /locks/NAME` tell the same.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct named_lock;
struct relock_status;

/* Looks at the lock, in the store and in its mounts.  Errors of
 * relock_lock_status() */
int status_of_named(const struct named_lock *named, struct relock_status **ret);

/* Completes a list of one store's.  False: of some lock a mount has told what is of
 * a later moment, its holder is another by now. */
bool status_ask_mounts(struct relock_status *const *list, size_t count);
