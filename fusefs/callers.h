/*
 * Who sent a request, remembered: a thread that comes again is not looked up
 * again (process.h), which takes longer than all else that a grant does.
 *
 * What is remembered counts only while the thread is known to be the same one.
 * An open file of /proc/TID belongs to that thread and to no other one, even
 * when the number is used again: reading it fails then.  The same read brings
 * the name of the program, which changes with execve(2).
 */
#pragma once

#include "process.h"

struct callers;

/* NULL without memory. */
struct callers *callers_new(void);
void callers_free(struct callers *callers);

/* Forgets all, and closes what is open for them: who has not come for a while may
 * be gone. */
void callers_forget(struct callers *callers);
bool callers_any(const struct callers *callers);

/* As process_of_thread(); the request must be unanswered still. */
void callers_find(struct callers *callers, struct process *ret, pid_t thread, uid_t uid, gid_t gid);
