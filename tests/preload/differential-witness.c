/*
 * See differential-witness.h.
 *
 * All players are descendants of the conductor (PR_SET_CHILD_SUBREAPER), so
 * that those are found, too, that never told who they are.  Nobody waits for
 * them before the run is over: who has ended is still there as a zombie, with
 * its exit status.
 */
#include "differential-witness.h"

#include <ctype.h>
#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* More than a plan has at a time, with those that have ended. */
enum { PROCESSES_MAX = 256 };

struct family {
	struct {
		pid_t pid, parent;
	} members[PROCESSES_MAX];
	size_t count;
};

struct page {
	char *text;
	size_t size, used;
};

static void __attribute__((format(printf, 2, 3))) put(struct page *page, const char *format, ...)
{
	va_list arguments;

	if (page->used >= page->size)
		return;
	va_start(arguments, format);
	page->used += (size_t)vsnprintf(page->text + page->used, page->size - page->used, format,
					arguments);
	va_end(arguments);
}

/* The first line of a task's file; empty if there is none. */
static const char *read_line(pid_t pid, pid_t tid, const char *name, char line[512])
{
	char path[64];

	*line = '\0';
	snprintf(path, sizeof path, "/proc/%d/task/%d/%s", (int)pid, (int)tid, name);
	FILE *file = fopen(path, "re");
	if (!file)
		return line;
	if (!fgets(line, 512, file))
		*line = '\0';
	fclose(file);
	line[strcspn(line, "\n")] = '\0';
	return line;
}

static void add_children(struct family *family, pid_t pid, pid_t tid)
{
	char path[64];
	int child;

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)pid, (int)tid);
	FILE *children = fopen(path, "re");
	if (!children)
		return;
	while (family->count < PROCESSES_MAX && fscanf(children, "%d", &child) == 1) {
		family->members[family->count].pid = child;
		family->members[family->count++].parent = pid;
	}
	fclose(children);
}

static void for_each_task(pid_t pid, void (*function)(void *argument, pid_t pid, pid_t tid),
			  void *argument)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);
	if (!tasks)
		return;
	for (struct dirent *entry; (entry = readdir(tasks));)
		if (isdigit((unsigned char)*entry->d_name))
			function(argument, pid, atoi(entry->d_name));
	closedir(tasks);
}

static void add_children_of_task(void *argument, pid_t pid, pid_t tid)
{
	add_children(argument, pid, tid);
}

static void find_descendants(struct family *family)
{
	for_each_task(getpid(), add_children_of_task, family);
	for (size_t i = 0; i < family->count; i++)
		for_each_task(family->members[i].pid, add_children_of_task, family);
}

struct account {
	const struct cast *cast;
	struct page *page;
	int actor; /* -1: nobody knows */
	unsigned tasks;
};

static int actor_of(const struct cast *cast, pid_t pid)
{
	for (int i = 0; i < ACTORS; i++)
		if (cast_pid(cast, i) == pid)
			return i;
	return -1;
}

static char state_of(const char *stat)
{
	const char *after_name = strrchr(stat, ')');

	return after_name && after_name[1] == ' ' ? after_name[2] : '?';
}

/* The last field of /proc/PID/stat is the wait status. */
static void put_end(struct page *page, const char *stat)
{
	const char *last = strrchr(stat, ' ');
	int status = last ? atoi(last + 1) : 0;

	if (WIFSIGNALED(status))
		put(page, " was killed by signal %d\n", WTERMSIG(status));
	else
		put(page, " has ended with exit status %d\n", WEXITSTATUS(status));
}

static void count_task(void *argument, pid_t pid, pid_t tid)
{
	struct account *account = argument;

	(void)pid;
	(void)tid;
	account->tasks++;
}

/* The call that it is in stands there by its number, with its arguments. */
static void put_task(void *argument, pid_t pid, pid_t tid)
{
	const struct account *account = argument;
	char stat[512], wchan[512], call[512];
	int thread = account->actor < 0 ? THREADS : 0;

	while (thread < THREADS &&
	       atomic_load(&account->cast->stage->actors[account->actor].seats[thread].tid) != tid)
		thread++;
	if (thread < THREADS)
		put(account->page, "  %c.%d", actor_name(account->actor), thread);
	else
		put(account->page, "  no seat yet");
	put(account->page, ", thread %d: state %c, in %s, system call %s\n", (int)tid,
	    state_of(read_line(pid, tid, "stat", stat)), read_line(pid, tid, "wchan", wchan),
	    read_line(pid, tid, "syscall", call));
}

static void put_process(const struct cast *cast, struct page *page, pid_t pid, pid_t parent)
{
	struct account account = {cast, page, actor_of(cast, pid), 0};
	char stat[512];

	put(page,
	    "%c, process %d, child of %d:", account.actor >= 0 ? actor_name(account.actor) : '?',
	    (int)pid, (int)parent);
	read_line(pid, pid, "stat", stat);
	for_each_task(pid, count_task, &account);
	if (account.tasks == 0) {
		put(page, " is gone\n");
	} else if (account.tasks == 1 && state_of(stat) == 'Z') {
		put_end(page, stat);
	} else {
		put(page, "\n");
		for_each_task(pid, put_task, &account);
	}
}

void witness_print(const struct cast *cast, char *text, size_t size)
{
	struct page page = {.text = text, .size = size};
	struct family *family = calloc(1, sizeof *family);

	if (!family)
		abort();
	*text = '\0';
	for (int i = 0; i < ACTORS; i++) {
		int error = atomic_load(&cast->stage->actors[i].error);
		if (error)
			put(&page, "%c could not begin: %s\n", actor_name(i), strerror(error));
	}
	find_descendants(family);
	for (size_t i = 0; i < family->count; i++)
		put_process(cast, &page, family->members[i].pid, family->members[i].parent);
	free(family);
}
