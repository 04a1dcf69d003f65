/*
 * What the kernel shows of a wait that somebody has announced.
 *
 *	/proc/locks                  a line for each lock that is waited for:
 *	                             device, inode and range, for all to read
 *	/proc/PID/task/TID/syscall   what the thread is blocked in, for those who
 *	                             may ptrace(2) it
 *	/proc/PID/task/TID/stat      whether it runs, sleeps or is stopped
 *
 * A thread that left its wait by siglongjmp(3) is in none of these, and its
 * announcement is still in the table.
 */
#pragma once

#include <stdbool.h>

#include "deadlock-table.h"

/* Marks each want in the view with DEADLOCK_FILE_IN_KERNEL if /proc/locks has
 * any line of that inode, and with DEADLOCK_IN_KERNEL if it has the wait.
 * Without /proc there are no marks. */
void deadlock_proof_mark(const struct deadlock_view *view);

/* Marks a want with what its thread does, if that can be seen.
 * `pid_namespace` is the caller's own. */
void deadlock_proof_look(const struct deadlock_record *record, struct deadlock_want *want,
			 uint64_t pid_namespace);

/* The caller's; 0: not known. */
uint64_t deadlock_proof_pid_namespace(void);
