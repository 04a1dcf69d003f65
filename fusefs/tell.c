/*
 * The ioctl(2) by which others ask what only the mount knows of a lock
 * (mount-look.h): its queue, and who has it open.
 *
 * Who has it open is an errand (heirs.h); all the rest is in memory.  The store is
 * not looked at: who asks has done that, and may be another mount's look.
 */
#include <errno.h>
#include <mount-look.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "errand.h"
#include "heirs.h"
#include "server.h"
#include "state.h"

struct telling {
	struct errand errand;
	struct server *server;
	fuse_req_t request;
	struct entry *entry; /* pinned */
	struct heir_search *heirs;
	uint32_t skip;
};

static void tell_heirs(struct mount_look *answer, struct mount_look_holder *holder,
		       const struct heirs *heirs, size_t *told)
{
	holder->heirs_were_sought = heirs->complete;
	for (size_t i = 0; i < heirs->count && *told < MOUNT_LOOK_HEIRS; i++) {
		struct mount_look_process *heir = &answer->heirs[(*told)++];
		heir->pid = heirs->list[i].pid;
		memcpy(heir->command, heirs->list[i].command, sizeof heir->command);
		holder->heir_count++;
		holder->heirs_were_sought = true;
	}
}

static void tell_holder(struct mount_look *answer, const struct handle *handle, size_t *heirs_told)
{
	const struct process *process = &handle->held->holder;
	struct mount_look_holder *holder = &answer->holders[answer->holder_count++];

	*holder = (struct mount_look_holder){
		.opener = process->pid,
		.uid = process->uid,
		.start_time = process->start_time,
		.since = handle->held->since,
		.token = handle->held->token,
		.pid_namespace = process->pid_namespace,
		.namespace_pid = process->namespace_pid,
		.mode = handle->mode,
		.presence = state_presence(handle),
	};
	memcpy(holder->command, process->command, sizeof holder->command);
	if (handle->held->heirs)
		tell_heirs(answer, holder, handle->held->heirs, heirs_told);
}

static void tell_holders(struct mount_look *answer, const struct entry *entry)
{
	size_t heirs_told = 0;

	for (const struct handle *handle = TAILQ_FIRST(&entry->holders);
	     handle && answer->holder_count < MOUNT_LOOK_HOLDERS;
	     handle = TAILQ_NEXT(handle, in_holders))
		tell_holder(answer, handle, &heirs_told);
}

static void tell_queue(struct mount_look *answer, const struct entry *entry, uint32_t skip)
{
	const struct waiter *waiter;
	uint32_t place = 0;

	answer->queue_length = (uint32_t)entry->waiter_count;
	TAILQ_FOREACH(waiter, &entry->queue, in_queue)
	if (place++ >= skip && answer->waiter_count < MOUNT_LOOK_WAITERS)
		answer->waiters[answer->waiter_count++] = waiter->process.pid;
}

static uint64_t own_pid_namespace(void)
{
	struct stat status;

	return stat("/proc/self/ns/pid", &status) == 0 ? status.st_ino : 0;
}

static void answer(const struct telling *telling)
{
	const struct mount *mount = &telling->server->mount;
	const struct entry *entry = telling->entry;
	struct mount_look *look = calloc(1, sizeof *look);

	if (!look) {
		fuse_reply_err(telling->request, ENOMEM);
		return;
	}
	strcpy(look->name, entry->name);
	look->skip = telling->skip;
	look->waits_in_store = entry->wait != NULL;
	look->server = getpid();
	look->keeper = mount_pid(mount);
	look->changes = entry->changes;
	look->pid_namespace = own_pid_namespace();
	tell_holders(look, entry);
	tell_queue(look, entry, telling->skip);
	fuse_reply_ioctl(telling->request, 0, look, sizeof *look);
	free(look);
}

static void end(struct telling *telling)
{
	struct mount *mount = &telling->server->mount;
	struct entry *entry = telling->entry;

	heir_search_finish(mount, telling->server->sights, telling->heirs);
	free(telling);
	entry->pins--;
	entry_settle(mount, entry);
}

static void run(struct errand *errand)
{
	const struct telling *telling = (struct telling *)(void *)errand;

	errand->result = 0;
	heir_search_run(telling->heirs);
}

static void finish(struct errand *errand)
{
	struct telling *telling = (struct telling *)(void *)errand;

	heir_search_finish(&telling->server->mount, telling->server->sights, telling->heirs);
	telling->heirs = NULL;
	if (errand->result < 0)
		fuse_reply_err(telling->request, -plain_error(errand->result));
	else
		answer(telling);
	end(telling);
}

static void tell(fuse_req_t request, struct entry *entry, uint32_t skip)
{
	struct telling *telling = calloc(1, sizeof *telling);

	if (!telling) {
		fuse_reply_err(request, ENOMEM);
		return;
	}
	telling->errand = (struct errand){.run = run, .finish = finish};
	telling->server = server_of(request);
	telling->request = request;
	telling->entry = entry;
	telling->skip = skip;
	entry->pins++;
	/* Once is enough for all pages. */
	if (skip == 0)
		telling->heirs = heir_search_new(&telling->server->mount, entry);
	if (telling->heirs) {
		errands_add(telling->server->looks, &telling->errand);
		return;
	}
	answer(telling);
	end(telling);
}

void tell_ioctl(fuse_req_t request, fuse_ino_t id, const void *bytes, size_t size,
		size_t answer_size)
{
	const struct mount_look *question = bytes;

	if (id != ROOT_ID || size != sizeof *question || answer_size != sizeof *question ||
	    question->name[sizeof question->name - 1] != '\0') {
		fuse_reply_err(request, ENOTTY);
		return;
	}
	if (!permissions_check(request, MAY_SEE))
		return;
	struct entry *entry = entry_find(&server_of(request)->mount, question->name);
	if (!entry || entry_is_history(entry) ||
	    (!entry_is_held(entry) && TAILQ_EMPTY(&entry->queue)))
		fuse_reply_err(request, ENOENT);
	else
		tell(request, entry, question->skip);
}
