/*
 * The status of a lock: looking at one, or at all of a store.
 */
#include "status.h"

#include <errno.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cancellation.h"
#include "cleanup.h"
#include "clock.h"
#include "message.h"
#include "proc-locks.h"
#include "process.h"
#include "store.h"

char *status_user_name(uid_t uid)
{
	char *name = NULL, buffer[1024];
	struct passwd entry, *found = NULL;

	if (uid == (uid_t)-1)
		return NULL;
	if (uid == 0)
		return strdup("root"); /* without a word to a directory server */
	if (getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found)
		return strdup(found->pw_name);
	return asprintf(&name, "%u", (unsigned)uid) < 0 ? NULL : name;
}

static char *text_or_null(const char *text)
{
	return *text ? strdup(text) : NULL;
}

static char *via_text(const struct record *record)
{
	char *text = NULL;
	int length;

	switch (record->via) {
	case RELOCK_VIA_NONE:
		return NULL;
	case RELOCK_VIA_MOUNT:
		length = asprintf(&text, "mount %s (pid %d)", record->via_path, record->via_pid);
		break;
	case RELOCK_VIA_GET:
		length = asprintf(&text, "relock get (pid %d)", record->via_pid);
		break;
	default:
		length = asprintf(&text, "pid %d", record->via_pid);
		break;
	}
	return length < 0 ? NULL : text;
}

/* The process is gone, or its pid is another's now. */
static void forget_process(struct relock_holder *holder)
{
	holder->presence = RELOCK_ENDED;
	holder->opener = holder->pid;
	holder->pid = 0;
	holder->start_time = 0;
	holder->started = 0;
}

void status_live_holder_of_slot(struct relock_holder *ret, const struct slot *slot, bool proven)
{
	status_holder_of_slot(ret, slot);
	if (ret->pid == 0)
		return;
	if (!process_is_alive(ret->pid, ret->start_time)) {
		forget_process(ret);
	} else if (proven && ret->via_kind == RELOCK_VIA_NONE &&
		   process_uid(ret->pid, &ret->uid) == 0) {
		/* Who it is now: the record is of when the file was opened. */
		free(ret->user);
		ret->user = status_user_name(ret->uid);
	}
}

void status_holder_of_slot(struct relock_holder *ret, const struct slot *slot)
{
	const struct record *record = &slot->record;
	const struct self *self = process_self();
	/* A pid and a start time mean something only where they were made. */
	bool here = record->pid_namespace == self->pid_namespace &&
		    memcmp(record->boot_id, self->boot_id, sizeof record->boot_id) == 0;

	ret->mode = record->mode == HOLD_SHARED ? RELOCK_SHARED : RELOCK_EXCLUSIVE;
	ret->pid = here ? record->pid : 0;
	if (ret->pid == 0)
		ret->presence = RELOCK_OUT_OF_SIGHT;
	if (record->pid_namespace != self->pid_namespace) {
		ret->pid_namespace = record->pid_namespace;
		ret->namespace_pid = record->pid;
	}
	ret->start_time = here ? record->start_time : 0;
	ret->started = here ? process_started(record->start_time) : 0;
	ret->uid = record->uid;
	ret->user = status_user_name(record->uid);
	ret->host = text_or_null(record->host);
	ret->command = text_or_null(record->command);
	ret->via = via_text(record);
	ret->via_kind = record->via;
	ret->via_pid = here ? record->via_pid : 0;
	ret->via_path = text_or_null(record->via_path);
	ret->since = record->since;
	ret->token = record->token;
	if (record->info_length) {
		ret->info = malloc(record->info_length + 1);
		if (ret->info) {
			memcpy(ret->info, slot->info, record->info_length);
			ret->info[record->info_length] = '\0';
			ret->info_length = record->info_length;
		}
	}
}

void status_holder_of_process(struct relock_holder *ret, pid_t pid)
{
	char command[160];

	ret->pid = pid;
	ret->uid = (uid_t)-1;
	if (process_start_time(pid, &ret->start_time) == 0)
		ret->started = process_started(ret->start_time);
	process_uid(pid, &ret->uid);
	ret->user = status_user_name(ret->uid);
	ret->host = strdup(process_self()->host);
	if (process_command(pid, command, sizeof command) == 0)
		ret->command = strdup(command);
}

void status_last_of_slot(struct relock_status *ret, const struct slot *slot)
{
	const struct record_end *end = &slot->end;

	status_holder_of_slot(&ret->last, slot);
	ret->last_end = RELOCK_END_DIED;
	if (end->hold != slot->record.hold || end->how == RELOCK_END_NONE)
		return;
	ret->last_end = end->how;
	ret->last_end_time = end->when;
	if (end->how != RELOCK_END_BROKEN)
		return;
	ret->broken_by_pid = end->by_pid;
	ret->broken_by_uid = end->by_uid;
	ret->broken_by_command = text_or_null(end->by_command);
}

static void free_holder(struct relock_holder *holder)
{
	for (size_t i = 0; i < holder->open_by_count; i++)
		free(holder->open_by[i].command);
	free(holder->open_by);
	free(holder->user);
	free(holder->host);
	free(holder->command);
	free(holder->via);
	free(holder->via_path);
	free(holder->info);
}

void relock_status_free(struct relock_status *status)
{
	if (!status)
		return;
	for (size_t i = 0; i < status->holder_count; i++)
		free_holder(&status->holders[i]);
	free_holder(&status->last);
	free(status->holders);
	free(status->waiter_pids);
	free(status->broken_by_command);
	free(status->look_at);
	free(status->why);
	free(status->name);
	free(status->store);
	free(status);
}

/* By itself, or for somebody else.  A store that has a better proof has said so. */
static bool is_held_here(const struct relock_status *status)
{
	const struct self *self = process_self();

	for (size_t i = 0; i < status->holder_count; i++) {
		const struct relock_holder *holder = &status->holders[i];
		bool is_of_this_host = holder->host && strcmp(holder->host, self->host) == 0;
		if (is_of_this_host &&
		    (holder->via_pid == self->pid ||
		     (holder->pid == self->pid && holder->start_time == self->start_time)))
			return true;
	}
	return false;
}

static int look(relock_store *store, const char *name, struct snapshot *snapshot,
		struct relock_status **ret)
{
	struct relock_status *status = calloc(1, sizeof *status);
	int result = -ENOMEM;

	if (status) {
		status->name = strdup(name);
		status->store = strdup(store->url);
		status->now = moment_now();
	}
	if (status && status->name && status->store)
		result = store->operations->look(store, name, snapshot, status);
	if (result < 0) {
		relock_status_free(status);
		return result;
	}
	status->ours = status->ours || is_held_here(status);
	*ret = status;
	return 0;
}

int status_look(relock_store *store, const char *name, struct relock_status **ret)
{
	__attribute__((cleanup(snapshot_free))) struct snapshot snapshot = {0};

	return look(store, name, &snapshot, ret);
}

int relock_status(relock_store *store, const char *name, struct relock_status **ret)
{
	WITHOUT_CANCELLATION;

	message_begin();
	int result = name_check(name, false);
	if (result == 0)
		result = status_look(store, name, ret);
	return message_end(result, name);
}

int relock_lock_status(relock_lock *lock, struct relock_status **ret)
{
	WITHOUT_CANCELLATION;

	message_begin();
	return message_end(status_look(lock->store, lock->name, ret), lock->name);
}

/* Lists */

struct listing {
	relock_store *store;
	bool all;
	struct snapshot snapshot;
	struct relock_status **list;
	size_t count, room;
};

static bool is_worth_listing(const struct relock_status *status, bool all)
{
	return status->state != RELOCK_FREE || (all && status->last_end != RELOCK_END_NONE);
}

static int add_to_listing(const char *name, void *argument)
{
	struct listing *listing = argument;
	struct relock_status *status;

	int result = look(listing->store, name, &listing->snapshot, &status);
	if (result == -ENOMEM || result == -EMFILE || result == -ENFILE)
		return result;
	if (result < 0)
		return 0; /* no lock file, or not one that we may read */
	if (!is_worth_listing(status, listing->all)) {
		relock_status_free(status);
		return 0;
	}
	if (listing->count == listing->room) {
		size_t room = listing->room ? listing->room * 2 : 64;
		void *larger = reallocarray(listing->list, room, sizeof *listing->list);
		if (!larger) {
			relock_status_free(status);
			return -ENOMEM;
		}
		listing->list = larger;
		listing->room = room;
	}
	listing->list[listing->count++] = status;
	return 0;
}

static int by_name(const void *left, const void *right)
{
	const struct relock_status *const *a = left, *const *b = right;

	return strcmp((*a)->name, (*b)->name);
}

int relock_list(relock_store *store, unsigned flags, struct relock_status ***ret, size_t *ret_count)
{
	WITHOUT_CANCELLATION;
	struct listing listing = {.store = store, .all = flags & RELOCK_LIST_FREE};

	message_begin();
	int result = store->operations->each_name(store, add_to_listing, &listing);
	snapshot_free(&listing.snapshot);
	if (result < 0) {
		relock_list_free(listing.list, listing.count);
		return message_end(result, store->url);
	}
	if (listing.count)
		qsort(listing.list, listing.count, sizeof *listing.list, by_name);
	*ret = listing.list;
	*ret_count = listing.count;
	return 0;
}

void relock_list_free(struct relock_status **list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		relock_status_free(list[i]);
	free(list);
}

/* Pruning */

struct pruning {
	relock_store *store;
	int64_t age;
	size_t removed;
};

static int prune_one(const char *name, void *argument)
{
	struct pruning *pruning = argument;

	if (pruning->store->operations->prune(pruning->store, name, pruning->age) == 1)
		pruning->removed++;
	return 0;
}

int relock_store_prune(relock_store *store, int64_t age, size_t *ret_removed)
{
	WITHOUT_CANCELLATION;
	struct pruning pruning = {store, age, 0};

	message_begin();
	if (age < 0)
		return failed(-EINVAL, "an age cannot be negative");
	int result = store->operations->each_name(store, prune_one, &pruning);
	if (result < 0)
		return message_end(result, store->url);
	if (ret_removed)
		*ret_removed = pruning.removed;
	return 0;
}
