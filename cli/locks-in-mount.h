/*
 * For whom a mount holds what the kernel has as its daemon's lock, and who waits for
 * it there (ask-mounts.h).
 */
#pragma once

#include <stddef.h>

struct relock_kernel_lock;

/*
 * Puts, into locks that the daemon of a mount holds, its holders and waiters in the
 * place of the daemon.  Gives back for each lock the mount, as text; NULL: none holds
 * it.  To be freed with locks_free_via().
 */
char **locks_ask_mounts(struct relock_kernel_lock *locks, size_t count);
void locks_free_via(char **via, size_t count);
