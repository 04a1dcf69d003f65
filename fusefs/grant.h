/*
 * Who holds a lock of the mount, and who is next.
 *
 * Waiters of a name queue up in the mount, first come first served, whether
 * they came by open(2) or by flock(2).  The mount as a whole holds the lock in
 * the store, for the process at the head of the queue, and passes it on.
 */
#pragma once

#include "entry.h"

/*
 * A waiter wants its handle to hold the lock.  It is answered through the
 * mount's answers, now or later; true if later: then it stays where it is
 * until it is answered or withdrawn.
 */
bool grant_request(struct mount *mount, struct waiter *waiter);

/* The waiter does not want it any more; it is the caller's again. */
void grant_withdraw(struct mount *mount, struct waiter *waiter);

/* The handle's hold, if it has one, goes to the next waiter.  -ESTALE: it had
 * one, which was broken. */
int grant_release(struct mount *mount, struct handle *handle);

/* From exclusive to shared, at once.  Errors of relock_convert(). */
int grant_downgrade(struct mount *mount, struct handle *handle);

/* From shared to exclusive, if no other holds it: -EAGAIN. */
int grant_upgrade(struct mount *mount, struct handle *handle);

/* Takes the lock from all its holders of this mount, as `by` wants it, and gives
 * it to the next waiter.  False: none of them held it. */
bool grant_break(struct mount *mount, struct entry *entry, const struct process *by);

/* The request being worked on has come a second time, and what it was to break
 * is broken: whoever holds now came later.  `entry` may be NULL. */
bool grant_break_was_done(const struct mount *mount, const struct entry *entry);

/* The handle holds, also as far as the store knows: 0.  -ESTALE: it was broken;
 * -EPERM: it holds nothing. */
int grant_check(struct mount *mount, struct handle *handle);

/* -ESTALE and -EPERM as above, -EFBIG, -ENOMEM, and errors of
 * relock_set_info() */
int grant_set_info(struct mount *mount, struct handle *handle, const void *info, size_t length);

/* Does anybody hold the lock, in the mount or outside it? */
bool grant_is_held(struct mount *mount, const char *name);

/* Serves the names whose wait for the store is over. */
void grant_waits_done(struct mount *mount);

/* After another process has served the mount, see recover.h: the handle takes up
 * the hold that is written down for it; if that is over, it is one that was
 * broken.  Errors of relock_adopt() */
int grant_restore_hold(struct mount *mount, struct handle *handle);
/* A waiter takes its place in the queue again, as the last so far. */
void grant_restore_waiter(struct mount *mount, struct waiter *waiter);
/* All that were there are there again: serves those whose turn it is. */
void grant_recovered(struct mount *mount);

/* Refuses all waiters and gives every lock back: the mount ends. */
void grant_end(struct mount *mount);
