/*
 * Waiters in a cell of a table.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * Pids in their order, no more than a few, and how many there are besides:
 * "4712 4713 +2"; or, with `all`, every pid on a line of its own, for JSON.
 * NULL where nobody waits; else to be freed.
 */
char *waiters_text(const pid_t *pids, size_t pid_count, size_t count, bool all);
