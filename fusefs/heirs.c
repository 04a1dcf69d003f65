#include "heirs.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum {
	/* More holders than these are taken to have what they opened. */
	HOLDS_MOST = 64,
	/* Of a lock whose file is open so often, bystanders may pass for heirs. */
	OTHERS_MOST = 1024,
	HEIRS_MOST = 32,
	DESCRIPTORS_MOST = 64, /* on one file, in one process */
	PATIENCE_MS = 250,
};

/* A hold, and what becomes known of it. */
struct sought {
	uint64_t handle;
	struct process process;
	pid_t thread;
	int access;
	int descriptor;
	enum relock_presence presence;
	struct heirs *heirs; /* NULL: not needed, or no memory */
};

/* An open file of the entry that is somebody's. */
struct other {
	pid_t thread; /* that opened it */
	int access;
};

struct heir_search {
	dev_t device;
	ino_t inode;
	size_t hold_count, other_count;
	struct sought holds[HOLDS_MOST];
	struct other others[OTHERS_MOST];
};

struct heir_search *heir_search_new(const struct mount *mount, const struct entry *entry)
{
	struct heir_search *search = entry_is_held(entry) ? malloc(sizeof *search) : NULL;
	const struct handle *handle;

	if (!search)
		return NULL;
	search->device = mount->device;
	search->inode = entry_id(entry);
	search->hold_count = search->other_count = 0;
	TAILQ_FOREACH(handle, &entry->holders, in_holders)
	{
		if (search->hold_count == HOLDS_MOST)
			break;
		search->holds[search->hold_count++] = (struct sought){
			.handle = handle_id(handle),
			.process = handle->holder,
			.thread = handle->thread,
			.access = handle->access,
			.descriptor = handle->descriptor,
		};
	}
	LIST_FOREACH(handle, &entry->handles, in_entry)
	{
		if (search->other_count == OTHERS_MOST)
			break;
		if (handle->hold != HOLDS)
			search->others[search->other_count++] =
				(struct other){handle->thread, handle->access};
	}
	return search;
}

/* One process's descriptors of the file, of one access mode. */
struct descriptors {
	int access;
	size_t count;
	int numbers[DESCRIPTORS_MOST];
};

static bool note_descriptor(void *argument, int number, int access)
{
	struct descriptors *found = argument;

	if (access == found->access)
		found->numbers[found->count++] = number;
	return found->count < DESCRIPTORS_MOST;
}

static enum relock_presence presence_of_opener(const struct heir_search *search,
					       struct sought *hold)
{
	struct descriptors found = {.access = hold->access};
	const struct process *process = &hold->process;

	if (process->pid == 0)
		return RELOCK_OUT_OF_SIGHT;
	/* That it is another process by now is seen when the text is made. */
	if (hold->descriptor >= 0 &&
	    process_has_open_at(process->pid, hold->descriptor, search->device, search->inode))
		return RELOCK_PRESENT;
	if (process_is_gone(process))
		return RELOCK_ENDED;
	hold->descriptor = -1;
	if (!process_each_open(process->pid, process->pid, search->device, search->inode,
			       note_descriptor, &found))
		return RELOCK_PRESENT; /* as far as known */
	/* A thread may have descriptors of its own (CLONE_FILES), and the first
	 * one, whose they are in /proc/PID/fd, may have ended before it. */
	if (found.count == 0 && hold->thread != process->pid)
		(void)process_each_open(process->pid, hold->thread, search->device, search->inode,
					note_descriptor, &found);
	if (found.count == 0)
		return RELOCK_HANDED_ON;
	hold->descriptor = found.numbers[0];
	return RELOCK_PRESENT;
}

/* Duplicates are one description.  Where kcmp(2) is not allowed they count each
 * by itself. */
static size_t count_descriptions(pid_t pid, const struct descriptors *found)
{
	size_t count = 0;

	for (size_t i = 0; i < found->count; i++) {
		bool is_new = true;
		for (size_t j = 0; j < i && is_new; j++)
			is_new = syscall(SYS_kcmp, pid, pid, KCMP_FILE, found->numbers[i],
					 found->numbers[j]) != 0;
		count += is_new;
	}
	return count;
}

static bool has_thread(pid_t pid, pid_t thread)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/task/%d", (int)pid, (int)thread);
	return thread == pid || (thread != 0 && access(path, F_OK) == 0);
}

/* How many descriptions the process has opened that are not what is looked
 * for. */
static size_t count_own(const struct heir_search *search, pid_t pid, int access)
{
	size_t count = 0;

	for (size_t i = 0; i < search->other_count; i++)
		count += search->others[i].access == access &&
			 has_thread(pid, search->others[i].thread);
	for (size_t i = 0; i < search->hold_count; i++)
		count += search->holds[i].access == access &&
			 search->holds[i].presence == RELOCK_PRESENT &&
			 search->holds[i].process.pid == pid;
	return count;
}

static void add_heir(struct heirs *heirs, pid_t pid)
{
	if (heirs->count == HEIRS_MOST) {
		heirs->complete = false;
		return;
	}
	struct heir *heir = &heirs->list[heirs->count++];
	heir->pid = pid;
	process_command_of(pid, heir->command);
}

static void examine_process(struct heir_search *search, pid_t pid)
{
	static const int modes[] = {O_RDONLY, O_WRONLY, O_RDWR};

	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		struct descriptors found = {.access = modes[i]};
		bool wanted = false;
		for (size_t j = 0; j < search->hold_count; j++)
			wanted |= search->holds[j].heirs && search->holds[j].access == modes[i];
		if (!wanted)
			continue;
		(void)process_each_open(pid, pid, search->device, search->inode, note_descriptor,
					&found);
		if (found.count == 0 ||
		    count_descriptions(pid, &found) <= count_own(search, pid, modes[i]))
			continue;
		for (size_t j = 0; j < search->hold_count; j++)
			if (search->holds[j].heirs && search->holds[j].access == modes[i])
				add_heir(search->holds[j].heirs, pid);
	}
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* False: there was more to see. */
static bool examine_all(struct heir_search *search)
{
	int64_t deadline = now_ms() + PATIENCE_MS;
	DIR *processes = opendir("/proc");
	bool in_time = true;

	if (!processes)
		return false;
	for (struct dirent *entry; in_time && (entry = readdir(processes));) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
		if (pid != getpid())
			examine_process(search, pid);
		in_time = now_ms() < deadline;
	}
	closedir(processes);
	return in_time;
}

void heir_search_run(struct heir_search *search)
{
	bool wanted = false;

	for (size_t i = 0; i < search->hold_count; i++) {
		struct sought *hold = &search->holds[i];
		hold->presence = presence_of_opener(search, hold);
		if (hold->presence != RELOCK_ENDED && hold->presence != RELOCK_HANDED_ON)
			continue;
		hold->heirs = calloc(1, sizeof *hold->heirs + HEIRS_MOST * sizeof(struct heir));
		if (!hold->heirs)
			continue;
		hold->heirs->presence = hold->presence;
		hold->heirs->complete = true;
		wanted = true;
	}
	bool complete = !wanted || examine_all(search);
	for (size_t i = 0; i < search->hold_count; i++)
		if (search->holds[i].heirs && !complete)
			search->holds[i].heirs->complete = false;
}

void heir_search_finish(const struct mount *mount, struct heir_search *search)
{
	for (size_t i = 0; search && i < search->hold_count; i++) {
		struct sought *hold = &search->holds[i];
		struct handle *handle = handle_of_id(mount, hold->handle);
		/* It may have given the lock back meanwhile, and others may hold. */
		if (handle && handle->hold == HOLDS &&
		    process_is_same(&handle->holder, &hold->process)) {
			free(handle->heirs);
			handle->heirs = hold->heirs;
			handle->descriptor = hold->descriptor;
			hold->heirs = NULL;
		}
		free(hold->heirs);
	}
	free(search);
}
