#include "callers.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Two descriptors each, at most. */
enum { MOST = 64 };

struct caller {
	struct process process; /* thread 0: nobody */
	/* /proc/TID/comm of its process, and of itself if that is another
	 * thread; -1: not open. */
	int command, own;
};

struct callers {
	struct caller slots[MOST]; /* by number of the thread */
	bool any;
};

struct callers *callers_new(void)
{
	struct callers *callers = calloc(1, sizeof *callers);

	for (size_t i = 0; callers && i < MOST; i++)
		callers->slots[i].command = callers->slots[i].own = -1;
	return callers;
}

static void forget(struct caller *caller)
{
	if (caller->command >= 0)
		close(caller->command);
	if (caller->own >= 0)
		close(caller->own);
	*caller = (struct caller){.command = -1, .own = -1};
}

void callers_forget(struct callers *callers)
{
	for (size_t i = 0; i < MOST; i++)
		forget(&callers->slots[i]);
	callers->any = false;
}

bool callers_any(const struct callers *callers)
{
	return callers->any;
}

void callers_free(struct callers *callers)
{
	if (callers)
		callers_forget(callers);
	free(callers);
}

static int open_command(pid_t thread)
{
	char path[32];

	snprintf(path, sizeof path, "/proc/%d/comm", (int)thread);
	return open(path, O_RDONLY | O_CLOEXEC);
}

/* A program that comes once, as flock(1), does not pay for being remembered:
 * its descriptors are opened when it comes again. */
static void remember(struct caller *caller, const struct process *process)
{
	bool again = caller->process.thread == process->thread &&
		     caller->process.start_time == process->start_time;

	forget(caller);
	if (process->pid == 0 || process->start_time == 0)
		return;
	caller->process = *process;
	if (!again)
		return;
	caller->command = open_command(process->pid);
	if (process->thread != process->pid && caller->command >= 0) {
		caller->own = open_command(process->thread);
		if (caller->own < 0)
			forget(caller);
	}
}

/* The thread is the one that was remembered; takes over what its program is
 * called now. */
static bool is_same(struct caller *caller, pid_t thread)
{
	struct process *process = &caller->process;
	char text[sizeof process->command + 1], ignored;

	if (process->thread != thread || caller->command < 0)
		return false;
	if (caller->own >= 0 && pread(caller->own, &ignored, 1, 0) != 1)
		return false;
	ssize_t length = pread(caller->command, text, sizeof text, 0);
	if (length < 1)
		return false;
	/* It ends with a line feed, and may contain others. */
	if (length > (ssize_t)sizeof process->command)
		length = sizeof process->command;
	memcpy(process->command, text, (size_t)length);
	process->command[length - 1] = '\0';
	return true;
}

void callers_find(struct callers *callers, struct process *ret, pid_t thread, uid_t uid, gid_t gid)
{
	struct caller *caller = &callers->slots[(unsigned)thread % MOST];

	if (thread != 0 && is_same(caller, thread)) {
		*ret = caller->process;
		ret->uid = uid;
		ret->gid = gid;
		return;
	}
	process_of_thread(ret, thread, uid, gid);
	if (thread == 0)
		return;
	remember(caller, ret);
	callers->any = true;
}
