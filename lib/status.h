/* Parts of a status, made from records and processes. */
#pragma once

#include "record.h"
#include "relock.h"

/* The holder that a record tells of.  Missing memory leaves a text NULL. */
void status_holder_of_slot(struct relock_holder *ret, const struct slot *slot);

/* A holder of whom only the process is known. */
void status_holder_of_process(struct relock_holder *ret, pid_t pid);

/* The last holder of a free lock, and how its hold ended. */
void status_last_of_slot(struct relock_status *ret, const struct slot *slot);
