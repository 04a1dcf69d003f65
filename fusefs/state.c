#include "state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "heirs.h"
#include "user.h"

static int64_t clock_of(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * RELOCK_SECOND + now.tv_nsec;
}

/* Start times are clock ticks since boot. */
static int64_t moment_of_start(uint64_t start_time)
{
	long ticks = sysconf(_SC_CLK_TCK);

	if (start_time == 0 || ticks <= 0)
		return 0;
	return clock_of(CLOCK_REALTIME) - clock_of(CLOCK_BOOTTIME) +
	       (int64_t)start_time * (RELOCK_SECOND / ticks);
}

static char *copy_bytes(const char *bytes, size_t length)
{
	char *copy = malloc(length + 1);

	if (copy) {
		memcpy(copy, bytes, length);
		copy[length] = '\0';
	}
	return copy;
}

static char *host_name(void)
{
	char name[256] = "";

	gethostname(name, sizeof name - 1);
	return strdup(name);
}

bool state_lacks_heirs(const struct entry *entry)
{
	const struct handle *handle;

	TAILQ_FOREACH(handle, &entry->holders, in_holders)
	if (!handle->heirs && process_has_ended(&handle->holder))
		return true;
	return false;
}

/* A pid that is shown is one that lives and has the lock; who had it before is
 * told apart, and who has the descriptor now. */
static int describe_process(const struct handle *handle, struct relock_holder *ret)
{
	const struct process *process = &handle->holder;
	const struct heirs *heirs = handle->heirs;

	ret->pid_namespace = process->pid_namespace;
	ret->namespace_pid = process->namespace_pid;
	if (process->pid == 0)
		ret->presence = RELOCK_OUT_OF_SIGHT;
	else if (process_has_ended(process))
		ret->presence = RELOCK_ENDED;
	else if (heirs)
		ret->presence = heirs->presence;
	if (ret->presence == RELOCK_PRESENT) {
		ret->pid = process->pid;
		ret->start_time = process->start_time;
		ret->started = moment_of_start(process->start_time);
		return 0;
	}
	ret->opener = process->pid;
	if (!heirs || (heirs->count == 0 && !heirs->complete))
		return 0;
	ret->open_by = calloc(heirs->count + 1, sizeof *ret->open_by);
	if (!ret->open_by)
		return -ENOMEM;
	for (size_t i = 0; i < heirs->count; i++) {
		const struct heir *heir = &heirs->list[i];
		ret->open_by[i] = (struct relock_kernel_process){
			.pid = heir->pid,
			.fd = -1,
			.uid = (uid_t)-1,
			.command = heir->command[0] ? strdup(heir->command) : NULL,
		};
		ret->open_by_count++;
	}
	return 0;
}

static int describe(const struct mount *mount, const struct handle *handle,
		    struct relock_holder *ret)
{
	const struct process *process = &handle->holder;

	*ret = (struct relock_holder){
		.mode = handle->mode,
		.uid = process->uid,
		.user = user_name(process->uid),
		.host = host_name(),
		.command = process->command[0] ? strdup(process->command) : NULL,
		.via_kind = RELOCK_VIA_MOUNT,
		.via_pid = mount_pid(mount),
		.via_path = strdup(mount->path),
		.since = handle->since,
		.token = handle->token,
		.info = handle->info ? copy_bytes(handle->info, handle->info_length) : NULL,
		.info_length = handle->info_length,
	};
	if (asprintf(&ret->via, "mount %s (pid %d)", mount->path, (int)mount_pid(mount)) < 0)
		ret->via = NULL;
	bool complete = ret->host && ret->via && ret->via_path &&
			(ret->command || !process->command[0]) && (ret->info || !handle->info);
	return complete ? describe_process(handle, ret) : -ENOMEM;
}

int state_of_held(const struct mount *mount, const struct entry *entry, struct relock_status **ret)
{
	struct relock_status *status = calloc(1, sizeof *status);
	const struct handle *handle;
	size_t count = 0;

	if (!status)
		return -ENOMEM;
	TAILQ_FOREACH(handle, &entry->holders, in_holders)
	count++;
	status->name = strdup(entry->name);
	status->store = strdup(relock_store_url(mount->store));
	status->state = RELOCK_HELD;
	status->mode = TAILQ_FIRST(&entry->holders)->mode;
	status->now = clock_of(CLOCK_REALTIME);
	status->holders = calloc(count, sizeof *status->holders);
	int result = status->name && status->store && status->holders ? 0 : -ENOMEM;
	if (result == 0)
		TAILQ_FOREACH(handle, &entry->holders, in_holders)
	if (describe(mount, handle, &status->holders[status->holder_count++]) < 0)
		result = -ENOMEM;
	if (result == 0)
		result = state_add_queue(entry, status);
	if (result < 0) {
		relock_status_free(status);
		return result;
	}
	*ret = status;
	return 0;
}

/* A wait of the mount's own is there for those in its queue. */
static bool is_ours(pid_t pid)
{
	return pid == getpid();
}

static int add_waiters(struct relock_status *status, const struct relock_status *outside)
{
	size_t room = status->waiter_pid_count + outside->waiter_pid_count, ours = 0;
	pid_t *pids = reallocarray(status->waiter_pids, room + 1, sizeof *pids);

	if (!pids)
		return -ENOMEM;
	status->waiter_pids = pids;
	for (size_t i = 0; i < outside->waiter_pid_count; i++)
		if (is_ours(outside->waiter_pids[i]))
			ours++;
		else
			pids[status->waiter_pid_count++] = outside->waiter_pids[i];
	status->waiter_count += outside->waiter_count;
	status->waiter_count -= ours < status->waiter_count ? ours : status->waiter_count;
	return 0;
}

int state_add_outside(struct relock_status *status, struct relock_status *outside)
{
	if (outside->state == RELOCK_FREE)
		return 0;
	struct relock_holder *holders = reallocarray(
		status->holders, status->holder_count + outside->holder_count + 1, sizeof *holders);
	if (!holders)
		return -ENOMEM;
	status->holders = holders;
	for (size_t i = 0; i < outside->holder_count; i++) {
		struct relock_holder *other = &outside->holders[i];
		if (status->mode != RELOCK_SHARED || other->mode != RELOCK_SHARED ||
		    other->via_pid == status->holders[0].via_pid || is_ours(other->pid))
			continue;
		holders[status->holder_count++] = *other;
		*other = (struct relock_holder){0};
	}
	return add_waiters(status, outside);
}

int state_add_queue(const struct entry *entry, struct relock_status *status)
{
	pid_t *pids = calloc(entry->waiter_count + status->waiter_pid_count + 1, sizeof *pids);
	struct relock_status outside = *status;
	const struct waiter *waiter;

	if (!pids)
		return -ENOMEM;
	status->waiter_pids = pids;
	status->waiter_pid_count = 0;
	status->waiter_count = entry->waiter_count;
	TAILQ_FOREACH(waiter, &entry->queue, in_queue)
	if (waiter->process.pid != 0)
		pids[status->waiter_pid_count++] = waiter->process.pid;
	int result = add_waiters(status, &outside);
	free(outside.waiter_pids);
	return result;
}
