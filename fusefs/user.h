/*
 * Names of users.
 *
 * Asking the name service may take as long as the network does, so the session
 * thread only looks at what another thread has asked.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

/* Asks.  Not in the session thread. */
void user_resolve(uid_t uid);

/* A copy of the name, or of the number if it has none, to be freed by the
 * caller; NULL if user_resolve() has not been called for it, or without
 * memory. */
char *user_name(uid_t uid);

bool user_is_known(uid_t uid);
