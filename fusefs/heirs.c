#include "heirs.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <pthread.h>
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
	bool wants_sight;
	struct sight sight; /* of the first of */
	size_t hold_count, other_count;
	struct sought holds[HOLDS_MOST];
	struct other others[OTHERS_MOST];
};

struct heir_search *heir_search_new(const struct mount *mount, const struct entry *entry)
{
	struct heir_search *search = entry_is_held(entry) ? malloc(sizeof *search) : NULL;

	if (!search)
		return NULL;
	search->device = mount->device;
	search->inode = entry_id(entry);
	search->wants_sight = false;
	search->sight = SIGHT_NONE;
	search->hold_count = search->other_count = 0;
	for (const struct handle *handle = TAILQ_FIRST(&entry->holders);
	     handle && search->hold_count < HOLDS_MOST; handle = TAILQ_NEXT(handle, in_holders))
		search->holds[search->hold_count++] = (struct sought){
			.handle = handle_id(handle),
			.process = handle->held->holder,
			.thread = handle->thread,
			.access = handle->access,
			.descriptor = handle->held->descriptor,
		};
	for (const struct handle *handle = LIST_FIRST(&entry->handles);
	     handle && search->other_count < OTHERS_MOST; handle = LIST_NEXT(handle, in_entry))
		if (handle->hold != HOLDS)
			search->others[search->other_count++] =
				(struct other){handle->thread, handle->access};
	return search;
}

void heir_search_want_sight(struct heir_search *search)
{
	search->wants_sight = true;
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
	if (process_is_gone(process))
		return RELOCK_ENDED;
	if (hold->descriptor >= 0 &&
	    process_has_open_at(process->pid, hold->descriptor, search->device, search->inode))
		return RELOCK_PRESENT;
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
	if (heirs->count == HEIRS_MOST)
		return;
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

/*
 * The walk is a thread's of its own, since any process of the machine that hangs
 * in execve(2) stops it (process.h).  A walk that takes too long is left to
 * itself, and until it has ended there is no other.
 */
struct walk {
	struct heir_search search;
	bool complete, done, abandoned;
};

static struct {
	pthread_mutex_t mutex; /* guards `done` and `abandoned` of a walk, and */
	pthread_cond_t changed;
	bool busy;
} walker = {.mutex = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};

static void free_heirs(struct heir_search *search)
{
	for (size_t i = 0; i < search->hold_count; i++) {
		free(search->holds[i].heirs);
		search->holds[i].heirs = NULL;
	}
}

static void *walk_main(void *argument)
{
	struct walk *walk = argument;

	walk->complete = examine_all(&walk->search);
	pthread_mutex_lock(&walker.mutex);
	walker.busy = false;
	walk->done = true;
	bool abandoned = walk->abandoned;
	pthread_cond_broadcast(&walker.changed);
	pthread_mutex_unlock(&walker.mutex);
	if (abandoned) {
		free_heirs(&walk->search);
		free(walk);
	}
	return NULL;
}

/* Waits, with the mutex, until the flag is as wanted; false: it took too long. */
static bool await(const bool *flag, bool wanted)
{
	struct timespec deadline;
	int result = 0;

	clock_gettime(CLOCK_MONOTONIC, &deadline);
	deadline.tv_nsec += 2 * PATIENCE_MS * 1000000L;
	deadline.tv_sec += deadline.tv_nsec / 1000000000L;
	deadline.tv_nsec %= 1000000000L;
	while (*flag != wanted && result != ETIMEDOUT)
		result = pthread_cond_clockwait(&walker.changed, &walker.mutex, CLOCK_MONOTONIC,
						&deadline);
	return *flag == wanted;
}

static bool start_walk(struct walk *walk)
{
	pthread_attr_t attributes;
	pthread_t thread;

	pthread_mutex_lock(&walker.mutex);
	bool free_to_go = await(&walker.busy, false);
	if (free_to_go)
		walker.busy = true;
	pthread_mutex_unlock(&walker.mutex);
	if (!free_to_go)
		return false;
	/* It inherits the mask of the thread that it works for: no signals. */
	pthread_attr_init(&attributes);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	bool started = pthread_create(&thread, &attributes, walk_main, walk) == 0;
	pthread_attr_destroy(&attributes);
	if (!started) {
		pthread_mutex_lock(&walker.mutex);
		walker.busy = false;
		pthread_cond_broadcast(&walker.changed);
		pthread_mutex_unlock(&walker.mutex);
	}
	return started;
}

/* A room for the heirs of each hold whose opener does not have it; false: none
 * is needed. */
static bool make_room(struct heir_search *search)
{
	bool wanted = false;

	for (size_t i = 0; i < search->hold_count; i++) {
		struct sought *hold = &search->holds[i];
		hold->heirs = NULL;
		if (hold->presence != RELOCK_ENDED && hold->presence != RELOCK_HANDED_ON)
			continue;
		hold->heirs = calloc(1, sizeof *hold->heirs + HEIRS_MOST * sizeof(struct heir));
		if (!hold->heirs)
			continue;
		hold->heirs->presence = hold->presence;
		wanted = true;
	}
	return wanted;
}

/* Takes over what the walk has found. */
static void take_result(struct heir_search *search, struct walk *walk)
{
	for (size_t i = 0; i < search->hold_count; i++) {
		struct heirs *found = walk->search.holds[i].heirs;
		if (!found)
			continue;
		found->complete = walk->complete && found->count < HEIRS_MOST;
		free(search->holds[i].heirs);
		search->holds[i].heirs = found;
		walk->search.holds[i].heirs = NULL;
	}
}

static void walk_for(struct heir_search *search)
{
	struct walk *walk = calloc(1, sizeof *walk);

	if (!walk)
		return;
	walk->search = *search;
	(void)make_room(&walk->search);
	if (!start_walk(walk)) {
		free_heirs(&walk->search);
		free(walk);
		return;
	}
	pthread_mutex_lock(&walker.mutex);
	bool done = await(&walk->done, true);
	walk->abandoned = !done;
	pthread_mutex_unlock(&walker.mutex);
	if (!done)
		return; /* it is the thread's now */
	take_result(search, walk);
	free_heirs(&walk->search);
	free(walk);
}

void heir_search_run(struct heir_search *search)
{
	for (size_t i = 0; i < search->hold_count; i++)
		search->holds[i].presence = presence_of_opener(search, &search->holds[i]);
	const struct sought *first = &search->holds[0];
	if (search->wants_sight && first->presence == RELOCK_PRESENT && first->descriptor >= 0)
		(void)sight_take(&search->sight, &first->process, first->descriptor, search->device,
				 search->inode);
	if (make_room(search))
		walk_for(search);
}

void heir_search_finish(const struct mount *mount, struct sights *sights,
			struct heir_search *search)
{
	if (search)
		sights_keep(sights, search->holds[0].handle, &search->holds[0].process,
			    &search->sight);
	for (size_t i = 0; search && i < search->hold_count; i++) {
		struct sought *hold = &search->holds[i];
		struct handle *handle = handle_of_id(mount, hold->handle);
		/* It may have given the lock back meanwhile, and others may hold. */
		if (handle && handle->hold == HOLDS &&
		    process_is_same(&handle->held->holder, &hold->process)) {
			free(handle->held->heirs);
			handle->held->heirs = hold->heirs;
			handle->held->descriptor = hold->descriptor;
			hold->heirs = NULL;
		}
		free(hold->heirs);
	}
	free(search);
}
