/*
 * The kernel's holder of a mount's lock is the daemon, twice if it is supervised,
 * with one table of descriptors.  Which lock is meant says the file: NAME in the
 * store's folder.
 */
#include "locks-in-mount.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ask-mounts.h"
#include "cleanup.h"
#include "message.h"
#include "mount-table.h"
#include "relock.h"

struct asking {
	struct relock_kernel_lock *locks;
	char **via;
	size_t *places; /* of the names that are asked for, among the locks */
};

/* Processes */

static void free_process(struct relock_kernel_process *process)
{
	free(process->command);
}

static struct relock_kernel_process process_of(pid_t pid, const char *command)
{
	char path[48], name[32] = "";
	struct relock_kernel_process process = {.pid = pid, .fd = -1, .uid = (uid_t)-1};
	struct stat status;

	snprintf(path, sizeof path, "/proc/%d", (int)pid);
	if (stat(path, &status) == 0)
		process.uid = status.st_uid;
	snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);

	CLEANUP_CLOSE int fd = command ? -1 : open(path, O_RDONLY | O_CLOEXEC);

	if (fd >= 0 && read(fd, name, sizeof name - 1) > 0) {
		name[strcspn(name, "\n")] = '\0';
		command = name;
	}
	if (command && *command)
		process.command = need_text(strdup(command));
	return process;
}

static bool is_of_daemon(pid_t pid, const struct mount_look *look)
{
	return pid > 0 && (pid == look->server || pid == look->keeper);
}

/* What is left of a list without the daemon, behind room for `more`. */
static struct relock_kernel_process *without_daemon(struct relock_kernel_process *list,
						    size_t count, size_t more,
						    const struct mount_look *look,
						    size_t *ret_others)
{
	struct relock_kernel_process *all = calloc(more + count + 1, sizeof *all);

	if (!all)
		out_of_memory();
	*ret_others = 0;
	for (size_t i = 0; i < count; i++)
		if (is_of_daemon(list[i].pid, look))
			free_process(&list[i]);
		else
			all[more + (*ret_others)++] = list[i];
	free(list);
	return all;
}

/* Locks */

static bool daemon_holds(const struct relock_kernel_lock *lock, const struct mount_look *look)
{
	for (size_t i = 0; i < lock->holder_count; i++)
		if (is_of_daemon(lock->holders[i].pid, look))
			return true;
	return false;
}

/* Who has the hold: who acquired it, or those that have its descriptor now. */
static size_t count_in_sight(const struct mount_look *look)
{
	size_t count = 0;

	for (uint32_t i = 0; i < look->holder_count; i++)
		count += look->holders[i].presence == RELOCK_PRESENT ? look->holders[i].opener > 0
								     : look->holders[i].heir_count;
	return count;
}

static void put_holders(struct relock_kernel_lock *lock, const struct mount_look *look)
{
	const struct mount_look_process *heirs = look->heirs;
	size_t count = 0, others, told = count_in_sight(look);

	/* Better the daemon than nobody. */
	if (told == 0)
		return;
	lock->holders = without_daemon(lock->holders, lock->holder_count, told, look, &others);
	for (uint32_t i = 0; i < look->holder_count; i++) {
		const struct mount_look_holder *holder = &look->holders[i];

		if (holder->presence == RELOCK_PRESENT && holder->opener > 0)
			lock->holders[count++] = process_of(holder->opener, NULL);
		for (uint32_t k = 0; k < holder->heir_count; k++, heirs++)
			if (holder->presence != RELOCK_PRESENT)
				lock->holders[count++] = process_of(heirs->pid, heirs->command);
	}
	lock->holder_count = told + others;
}

static void put_waiters(struct relock_kernel_lock *lock, const struct mount_look *pages,
			size_t page_count, bool in_sight)
{
	size_t told = 0, count = 0, others, before = lock->waiter_pid_count;

	for (size_t page = 0; in_sight && page < page_count; page++)
		for (uint32_t i = 0; i < pages[page].waiter_count; i++)
			told += pages[page].waiters[i] > 0;
	lock->waiters = without_daemon(lock->waiters, before, told, pages, &others);
	for (size_t page = 0; in_sight && page < page_count; page++)
		for (uint32_t i = 0; i < pages[page].waiter_count; i++)
			if (pages[page].waiters[i] > 0)
				lock->waiters[count++] = process_of(pages[page].waiters[i], NULL);
	lock->waiter_pid_count = told + others;
	/* The daemon's own wait is one for those told of; it may be out of sight. */
	size_t own = before - others;
	if (own == 0 && pages[0].waits_in_store && lock->waiter_count > others)
		own = 1;
	lock->waiter_count -= own < lock->waiter_count ? own : lock->waiter_count;
	lock->waiter_count += pages[0].queue_length;
}

static void told(size_t name, const struct mount_look *pages, size_t page_count, const char *folder,
		 bool in_sight, void *argument)
{
	const struct asking *asking = argument;
	size_t place = asking->places[name];
	struct relock_kernel_lock *lock = &asking->locks[place];

	if (in_sight && daemon_holds(lock, pages)) {
		char *text = NULL;

		if (asprintf(&text, "mount %s (pid %d)", folder, (int)pages[0].keeper) < 0)
			out_of_memory();
		free(asking->via[place]);
		asking->via[place] = text;
		put_holders(lock, pages);
	}
	put_waiters(lock, pages, page_count, in_sight);
}

/* The name in the store whose lock that is; NULL: none of that store's. */
static const char *name_in_store(const struct relock_kernel_lock *lock, const char *store)
{
	const char *folder = strchr(store, ':');
	size_t length = folder ? strlen(++folder) : 0;

	if (!folder || !lock->path || strncmp(lock->path, folder, length) != 0 ||
	    lock->path[length] != '/' || lock->start != 0 || strchr(lock->path + length + 1, '/') ||
	    strlen(lock->path + length + 1) > RELOCK_NAME_MAX)
		return NULL;
	return lock->path + length + 1;
}

static void ask_for_store(struct asking *asking, size_t count, const char *store)
{
	CLEANUP_FREE const char **names = calloc(count + 1, sizeof *names);
	size_t asked = 0;

	if (!names)
		out_of_memory();
	for (size_t i = 0; i < count; i++) {
		const char *name = name_in_store(&asking->locks[i], store);

		if (name) {
			names[asked] = name;
			asking->places[asked++] = i;
		}
	}
	ask_mounts(store, names, asked, told, asking);
}

char **locks_ask_mounts(struct relock_kernel_lock *locks, size_t count)
{
	CLEANUP_FREE size_t *places = calloc(count + 1, sizeof *places);
	char **via = calloc(count + 1, sizeof *via);
	struct asking asking = {locks, via, places};
	struct mounted *mounts = NULL;

	if (!places || !via)
		out_of_memory();

	size_t mount_count = mount_table_list(&mounts);

	for (size_t i = 0; i < mount_count; i++) {
		bool is_new = true;

		for (size_t k = 0; k < i && is_new; k++)
			is_new = strcmp(mounts[k].source, mounts[i].source) != 0;
		if (is_new)
			ask_for_store(&asking, count, mounts[i].source);
	}
	mount_table_free_list(mounts, mount_count);
	return via;
}

void locks_free_via(char **via, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(via[i]);
	free(via);
}
