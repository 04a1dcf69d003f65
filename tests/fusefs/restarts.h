/*
 * Ends serving processes of a supervised mount, and asks what came of it.
 */
#pragma once

#include "fixture.h"

/* What the mount says of itself: its attribute user.relock.KEY. */
long number_of_mount(const struct fixture *fixture, const char *key);

/* Sends the signal, and waits until the process has ended. */
void kill_and_wait(pid_t pid, int signal);
/* The next one serves when this returns. */
void kill_server(const struct fixture *fixture);

/* Takes the lock in the store, behind the mount's back, and gives it back: 0, or
 * the error of that. */
int try_in_store(const struct fixture *fixture, const char *name);

/* Descriptors that the process has open. */
size_t count_descriptors(pid_t pid);
