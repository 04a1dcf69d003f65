/*
 * Handles and fork(2): the child's copies of a parent's descriptors would keep
 * the parent's locks, however the parent ends.
 */
#pragma once

#include "relock.h"

/* Every handle is entered here as long as it lives. */
void fork_enter(relock_lock *lock);
/* No fork in between: for as long as a descriptor is open that its handle does
 * not know yet. */
void fork_prevent(void);
void fork_allow(void);

void fork_leave(relock_lock *lock);
