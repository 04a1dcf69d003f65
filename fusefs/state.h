/*
 * The state of a lock, as the mount shows it.
 *
 * Who holds a lock through the mount, and who waits for it there in which
 * order, the mount knows itself; the store knows those outside.  To the store,
 * a lock of the mount is one holder's and its waiters are one thread of the
 * mount at most.
 *
 * To ask the store who waits outside is dear: it reads /proc/locks, and while it
 * does, the kernel lets nobody on the machine take a file lock (file_rwsem in
 * fs/locks.c).  So it is asked when a text is read, and not for each stat(2); and
 * not then if it said a moment ago that nobody does (look.c).
 */
#pragma once

#include "entry.h"

/* Once, before the first look: what is the same of all holders, as it is now, and
 * as the records in the store have it.  -ENOMEM */
int state_begin(struct mount *mount);

/*
 * The state of a lock that the mount holds; to be freed with
 * relock_status_free().  The users of its holders must be known (user.h).  With
 * `openers_are_seen`, each opener that has no heirs has been seen to live, just
 * now.  -ENOMEM
 */
int state_of_held(const struct mount *mount, const struct entry *entry, bool openers_are_seen,
		  struct relock_status **ret);

/* Where the process is that acquired it. */
enum relock_presence state_presence(const struct handle *handle);

/* A holder's opener has ended, and who has the lock now has not been looked for
 * (heirs.h). */
bool state_lacks_heirs(const struct entry *entry);

/*
 * Adds what the store has said to it: holders outside the mount, if all are
 * shared, and waiters.  Takes them out of `outside`.  -ENOMEM
 */
int state_add_outside(struct relock_status *status, struct relock_status *outside);

/* Makes the waiters of `status`, a look at a lock that the mount does not hold,
 * those of the mount and of the store.  -ENOMEM */
int state_add_queue(const struct entry *entry, struct relock_status *status);
