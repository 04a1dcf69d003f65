/*
 * Waiters in a cell of a table.
 */
#pragma once

#include <stddef.h>
#include <sys/types.h>

/*
 * Pids in their order, no more than a few, and how many there are besides:
 * "4712 4713 +2".  NULL where nobody waits; else to be freed.
 */
char *waiters_text(const pid_t *pids, size_t pid_count, size_t count);
