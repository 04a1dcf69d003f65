/*
 * The wait-for graph: a process waits for each process that holds what is in
 * the way of one of its wants.  It waits for all of them, so any way through
 * the graph that comes back to where it began is a deadlock.
 *
 * Memory and nothing else: no system call.
 */
#pragma once

#include <stdbool.h>

#include "deadlock-table.h"

/* Whether a want of another process counts as a wait. */
typedef bool deadlock_counts(const struct deadlock_view *view, const struct deadlock_record *record,
			     struct deadlock_want *want, void *argument);

/* Whether `own`, a want of the process whose record is `self`, leads back to
 * what `self` holds, through the processes in `view` and those of their wants
 * that count. */
bool deadlock_closes_cycle(struct deadlock_view *view, const struct deadlock_record *self,
			   const struct deadlock_want *own, deadlock_counts *counts,
			   void *argument);
