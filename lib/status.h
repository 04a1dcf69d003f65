/* Parts of a status, made from records and processes. */
#pragma once

#include "record.h"
#include "relock.h"

/* relock_status() of a name that has been checked. */
int status_look(relock_store *store, const char *name, struct relock_status **ret);

/* A user's name, or the number as text; NULL for -1 and without memory. */
char *status_user_name(uid_t uid);

/* The holder that a record tells of.  Missing memory leaves a text NULL. */
void status_holder_of_slot(struct relock_holder *ret, const struct slot *slot);

/* The same of one who holds now: no pid but that of a living process; `proven`
 * if it has been seen to have the lock. */
void status_live_holder_of_slot(struct relock_holder *ret, const struct slot *slot, bool proven);

/* A holder of whom only the process is known. */
void status_holder_of_process(struct relock_holder *ret, pid_t pid);

/* The last holder of a free lock, and how its hold ended. */
void status_last_of_slot(struct relock_status *ret, const struct slot *slot);
