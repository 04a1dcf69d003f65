/*
 * The store tells a mount's holders by their records, and of its waiters no more
 * than the one thread of the daemon that waits in the store; if a record could not
 * be written, the holder is the daemon.  The mount tells its holders and its queue,
 * and nothing of what is outside it.  Put together, the mount's come first, in its
 * order, as in the mount's own text.
 */
#include "status-in-mount.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "ask-mounts.h"
#include "cleanup.h"
#include "message.h"
#include "named-lock.h"
#include "user-name.h"

enum { TRIES_MOST = 4 };

static int64_t clock_of(clockid_t clock)
{
	struct timespec time;

	clock_gettime(clock, &time);
	return time.tv_sec * RELOCK_SECOND + time.tv_nsec;
}

/* Of clock ticks since boot. */
static int64_t moment_of_start(uint64_t start_time)
{
	long ticks = sysconf(_SC_CLK_TCK);

	return start_time == 0 || ticks <= 0
		       ? 0
		       : clock_of(CLOCK_REALTIME) - clock_of(CLOCK_BOOTTIME) +
				 (int64_t)start_time * (RELOCK_SECOND / ticks);
}

/* Pids mean something only in their namespace. */
/* Holders */

static bool is_recorded_as(const struct relock_holder *holder, const struct mount_look_holder *told,
			   const struct mount_look *look)
{
	pid_t opener = holder->pid > 0 ? holder->pid : holder->opener;

	if (holder->via_kind != RELOCK_VIA_MOUNT || holder->via_pid != look->keeper ||
	    holder->mode != (enum relock_mode)told->mode)
		return false;
	if (holder->token != 0 || told->token != 0)
		return holder->token == told->token;
	return opener == told->opener && (holder->start_time == 0 || told->start_time == 0 ||
					  holder->start_time == told->start_time);
}

/* The daemon itself, seen to have the lock. */
static bool is_daemon(const struct relock_holder *holder, const struct mount_look *look)
{
	return holder->via_kind == RELOCK_VIA_NONE && holder->pid > 0 &&
	       (holder->pid == look->server || holder->pid == look->keeper);
}

static struct relock_holder unrecorded(const struct mount_look_holder *told,
				       const struct mount_look *look, const char *folder)
{
	char host[256] = "";
	struct relock_holder holder = {
		.mode = (enum relock_mode)told->mode,
		.started = moment_of_start(told->start_time),
		.uid = told->uid,
		.user = user_name(told->uid),
		.command = told->command[0] ? need_text(strdup(told->command)) : NULL,
		.via_kind = RELOCK_VIA_MOUNT,
		.via_pid = look->keeper,
		.via_path = need_text(strdup(folder)),
	};

	(void)gethostname(host, sizeof host - 1);
	holder.host = need_text(strdup(host));
	if (asprintf(&holder.via, "mount %s (pid %d)", folder, (int)look->keeper) < 0)
		out_of_memory();
	return holder;
}

static struct relock_kernel_process *heirs_of(const struct mount_look_holder *told,
					      const struct mount_look_process *heirs)
{
	struct relock_kernel_process *list = calloc(told->heir_count + 1, sizeof *list);

	if (!list)
		out_of_memory();
	for (uint32_t i = 0; i < told->heir_count; i++)
		list[i] = (struct relock_kernel_process){
			.pid = heirs[i].pid,
			.fd = -1,
			.uid = (uid_t)-1,
			.command = heirs[i].command[0] ? need_text(strdup(heirs[i].command)) : NULL,
		};
	return list;
}

/* `heirs` are its own. */
static void take_told(struct relock_holder *holder, const struct mount_look_holder *told,
		      const struct mount_look_process *heirs)
{
	holder->since = told->since;
	holder->token = told->token;
	holder->presence = (enum relock_presence)told->presence;
	holder->pid_namespace = told->pid_namespace;
	holder->namespace_pid = told->namespace_pid;
	if (holder->presence == RELOCK_PRESENT) {
		holder->pid = told->opener;
		holder->start_time = told->start_time;
		return;
	}
	holder->pid = 0;
	holder->start_time = 0;
	holder->started = 0;
	holder->opener = told->opener;
	if (!told->heirs_were_sought || holder->open_by)
		return;
	holder->open_by = heirs_of(told, heirs);
	holder->open_by_count = told->heir_count;
}

/* Takes one that is as told out of the list; false: there is none. */
static bool take_recorded(struct relock_holder *holders, size_t *count,
			  const struct mount_look_holder *told, const struct mount_look *look,
			  struct relock_holder *ret)
{
	for (size_t i = 0; i < *count; i++) {
		if (!is_recorded_as(&holders[i], told, look))
			continue;
		*ret = holders[i];
		(*count)--;
		memmove(&holders[i], &holders[i + 1], (*count - i) * sizeof *holders);
		return true;
	}
	return false;
}

/* Those that stand for the mount's holders have no more than a process. */
static bool drop_daemon(struct relock_holder *holders, size_t *count, const struct mount_look *look)
{
	size_t kept = 0;

	for (size_t i = 0; i < *count; i++)
		if (is_daemon(&holders[i], look)) {
			free(holders[i].user);
			free(holders[i].host);
			free(holders[i].command);
		} else {
			holders[kept++] = holders[i];
		}

	bool dropped = kept < *count;

	*count = kept;
	return dropped;
}

static bool merge_holders(struct relock_status *status, const struct mount_look *look,
			  const char *folder)
{
	const struct mount_look_process *heirs = look->heirs;
	struct relock_holder *all =
		calloc(status->holder_count + look->holder_count + 1, sizeof *all);
	size_t left = status->holder_count, count = 0;
	bool is_of_now = true;

	if (!all)
		out_of_memory();

	bool has_unrecorded = look->holder_count > 0 && drop_daemon(status->holders, &left, look);

	for (uint32_t i = 0; i < look->holder_count; i++) {
		const struct mount_look_holder *told = &look->holders[i];
		struct relock_holder holder;
		bool found = take_recorded(status->holders, &left, told, look, &holder);

		if (!found && has_unrecorded)
			holder = unrecorded(told, look, folder);
		if (found || has_unrecorded) {
			take_told(&holder, told, heirs);
			all[count++] = holder;
		} else {
			is_of_now = false;
		}
		heirs += told->heir_count;
	}
	for (size_t i = 0; i < left; i++) {
		is_of_now = is_of_now && (status->holders[i].via_kind != RELOCK_VIA_MOUNT ||
					  status->holders[i].via_pid != look->keeper);
		all[count++] = status->holders[i];
	}
	free(status->holders);
	status->holders = all;
	status->holder_count = count;
	return is_of_now;
}

/* Waiters */

/* Takes the daemon's own wait out, which is there for those told of. */
static void drop_own_wait(struct relock_status *status, const struct mount_look *look,
			  bool in_sight)
{
	size_t kept = 0;

	for (size_t i = 0; i < status->waiter_pid_count; i++)
		if (!in_sight || (status->waiter_pids[i] != look->server &&
				  status->waiter_pids[i] != look->keeper))
			status->waiter_pids[kept++] = status->waiter_pids[i];

	size_t dropped = status->waiter_pid_count - kept;

	/* To this user it may be one out of sight. */
	if (dropped == 0 && look->waits_in_store && status->waiter_count > kept)
		dropped = 1;
	status->waiter_pid_count = kept;
	status->waiter_count -= dropped;
}

static void merge_waiters(struct relock_status *status, const struct mount_look *pages,
			  size_t page_count, bool in_sight)
{
	pid_t *pids = calloc(page_count * MOUNT_LOOK_WAITERS + status->waiter_pid_count + 1,
			     sizeof *pids);
	size_t count = 0;

	if (!pids)
		out_of_memory();
	for (size_t page = 0; in_sight && page < page_count; page++)
		for (uint32_t i = 0; i < pages[page].waiter_count; i++)
			if (pages[page].waiters[i] > 0)
				pids[count++] = pages[page].waiters[i];
	for (size_t i = 0; i < status->waiter_pid_count; i++)
		pids[count++] = status->waiter_pids[i];
	free(status->waiter_pids);
	status->waiter_pids = pids;
	status->waiter_pid_count = count;
	status->waiter_count += pages[0].queue_length;
	if (status->waiter_count < count)
		status->waiter_count = count;
}

/* Both */

struct completing {
	struct relock_status *const *list;
	const size_t *places; /* of the names that are asked for, in the list */
	bool is_of_now;
};

static void told(size_t name, const struct mount_look *pages, size_t page_count, const char *folder,
		 bool in_sight, void *argument)
{
	struct completing *completing = argument;
	struct relock_status *status = completing->list[completing->places[name]];

	if (in_sight && !merge_holders(status, &pages[0], folder))
		completing->is_of_now = false;
	drop_own_wait(status, &pages[0], in_sight);
	merge_waiters(status, pages, page_count, in_sight);
}

bool status_ask_mounts(struct relock_status *const *list, size_t count)
{
	CLEANUP_FREE const char **names = calloc(count + 1, sizeof *names);
	CLEANUP_FREE size_t *places = calloc(count + 1, sizeof *places);
	struct completing completing = {list, places, true};
	size_t asked = 0;

	if (!names || !places)
		out_of_memory();
	for (size_t i = 0; i < count; i++)
		if (list[i]->state == RELOCK_HELD) {
			names[asked] = list[i]->name;
			places[asked++] = i;
		}
	if (asked > 0)
		ask_mounts(list[0]->store, names, asked, told, &completing);
	return completing.is_of_now;
}

int status_of_named(const struct named_lock *named, struct relock_status **ret)
{
	for (int tries = 1;; tries++) {
		CLEANUP_STATUS struct relock_status *status = NULL;

		int error = relock_lock_status(named->lock, &status);
		if (error < 0)
			return error;
		if (!status_ask_mounts(&status, 1) && tries < TRIES_MOST)
			continue;
		*ret = status;
		status = NULL;
		return 0;
	}
}
