/*
 * A lock as a status, for people and programs.
 *
 * Of a hold of relock's everything is in its record; of one of Core_unix's what the
 * lock file says, and of a process that runs here what the kernel knows besides.
 * Who waits cannot be known: waiters, on this machine and on others, only look.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "nfslock.h"
#include "process.h"
#include "status.h"

/* Its pid means something where its host is named beside it; nobody here can be
 * asked for the lock, though. */
static void name_remote_holder(struct relock_holder *holder, const struct claim_owner *owner)
{
	if (holder->pid != 0 || claim_owner_is_of_this_boot(owner))
		return;
	holder->pid = owner->pid;
	holder->presence = RELOCK_PRESENT;
	holder->pid_namespace = 0;
	holder->namespace_pid = 0;
	holder->via_kind = RELOCK_VIA_NONE;
}

static void describe_by_record(struct relock_holder *holder, const struct nfslock_look *look)
{
	bool lives = look->verdict == NFSLOCK_HELD;

	if (lives)
		status_live_holder_of_slot(holder, look->slot, true);
	else
		status_holder_of_slot(holder, look->slot);
	name_remote_holder(holder, &look->owner);
}

static void describe_by_text(struct relock_holder *holder, const struct nfslock_look *look)
{
	bool is_here = strcmp(look->info.host, process_self()->host) == 0;

	if (is_here && look->verdict == NFSLOCK_HELD &&
	    !process_is_proven_gone(look->info.pid, 0)) {
		status_holder_of_process(holder, look->info.pid);
	} else {
		holder->pid = look->info.pid;
		holder->uid = (uid_t)-1;
		holder->started = look->info.started;
	}
	free(holder->host);
	holder->host = strdup(look->info.host);
	holder->since = look->key.modified;
	if (look->info.message_length == 0)
		return;
	holder->info = malloc(look->info.message_length + 1);
	if (!holder->info)
		return;
	memcpy(holder->info, look->info.message, look->info.message_length + 1);
	holder->info_length = look->info.message_length;
	if (holder->info_length > RELOCK_INFO_MAX) {
		holder->info_length = RELOCK_INFO_MAX;
		holder->info[RELOCK_INFO_MAX] = '\0';
	}
}

static int describe_held(const struct nfslock_store *store, const char *name,
			 const struct nfslock_look *look, struct relock_status *status)
{
	status->mode = RELOCK_EXCLUSIVE;
	status->state = look->verdict == NFSLOCK_GONE    ? RELOCK_STALE
			: look->verdict == NFSLOCK_STUCK ? RELOCK_UNKNOWN
							 : RELOCK_HELD;
	status->ours = look->has_owner && !look->is_seized && claim_owner_is_self(&look->owner);
	status->holders = calloc(1, sizeof *status->holders);
	if (!status->holders)
		return -ENOMEM;
	if (look->slot)
		describe_by_record(status->holders, look);
	else if (look->has_info)
		describe_by_text(status->holders, look);
	status->holder_count = look->slot || look->has_info;
	if (look->verdict != NFSLOCK_STUCK)
		return 0;
	if (asprintf(&status->look_at, "%s/%s" NFSLOCK_SUFFIX, store->path, name) < 0)
		status->look_at = NULL;
	status->why = strdup(look->why);
	return 0;
}

static void describe_last(const struct nfslock_store *store, const char *name,
			  struct relock_status *status)
{
	CLEANUP_FREE struct slot *slot = NULL;
	char history[NAME_MAX + 1];
	struct claim_owner owner = {0};
	bool has_owner = false;

	if (!nfslock_history_name(history, name) ||
	    nfslock_record_read(store->dir_fd, history, &has_owner, &owner, &slot) < 0 || !slot)
		return;
	status_last_of_slot(status, slot);
	if (has_owner)
		name_remote_holder(&status->last, &owner);
}

int nfslock_status(relock_store *relock, const char *name, struct snapshot *snapshot,
		   struct relock_status *status)
{
	const struct nfslock_store *store = nfslock_store_of(relock);
	__attribute__((cleanup(nfslock_look_end))) struct nfslock_look look = NFSLOCK_LOOK_NONE;

	int result = nfslock_look(store, name, moment_now(), &look);
	if (result < 0)
		return result;
	if (look.exists)
		return describe_held(store, name, &look, status);
	status->state = RELOCK_FREE;
	describe_last(store, name, status);
	return 0;
}
