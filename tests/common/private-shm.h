/*
 * A /dev/shm of the test's own, in a mount namespace of its own: POSIX semaphores
 * have one place for the whole machine, and a test must neither find nor leave
 * any there.
 */
#pragma once

/* For the calling thread, and what it makes from now on; once is enough.  0, or
 * a negative errno: it takes root. */
int private_shm(void);

/* Removes whatever is in it. */
void private_shm_clear(void);
