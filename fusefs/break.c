/*
 * UNLINK, and the ioctl(2) that librelock asks a mount by: somebody takes a
 * lock away from its holder.  Root may, and the user that the holder runs as.
 *
 * A hold of the mount goes to the next waiter at once.  One outside it is
 * broken by the library, which may have to wait for whoever holds it: by a
 * thread of its own, one after the other, so that looks go on.  The kernel
 * keeps the directory locked meanwhile, which nothing here can help; so the
 * library must not ask a mount, this one or another, by UNLINK (ask-mount.h).
 */
#include <ask-mount.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "errand.h"
#include "grant.h"
#include "server.h"

struct breaking {
	struct errand errand;
	struct server *server;
	fuse_req_t request;
	uid_t uid; /* who asks for it */
	char name[];
};

static bool may_break_all(const struct relock_status *status, uid_t uid)
{
	for (size_t i = 0; i < status->holder_count; i++)
		if (status->holders[i].uid != uid)
			return false;
	return status->holder_count > 0;
}

static int look_and_break(const struct breaking *breaking)
{
	relock_store *store = breaking->server->mount.store;
	struct relock_status *status;

	int result = relock_status(store, breaking->name, &status);
	if (result < 0)
		return result;
	if (status->state == RELOCK_FREE)
		result = -ENOENT;
	else if (breaking->uid != 0 && !may_break_all(status, breaking->uid))
		result = -EPERM;
	else
		result = relock_break(store, breaking->name, NULL);
	relock_status_free(status);
	return result;
}

/* A holder that comes or goes at the moment is as much out of sight as one in
 * another pid namespace; but only at that moment. */
static void run(struct errand *errand)
{
	enum { TRIES = 10 };

	errand->result = -ESRCH;
	for (int i = 0; i < TRIES && errand->result == -ESRCH; i++)
		errand->result = look_and_break((struct breaking *)(void *)errand);
}

static void finish(struct errand *errand)
{
	struct breaking *breaking = (struct breaking *)(void *)errand;
	int result = errand->result;

	/* A holder out of sight is one that we have no rights over. */
	if (result == -ESRCH)
		result = -EPERM;
	fuse_reply_err(breaking->request, -plain_error(result));
	free(breaking);
}

/* By a process that is gone: the lock may have been broken, and another may hold
 * it by now. */
static bool was_begun(struct ledger *ledger)
{
	uint64_t request = ledger_request(ledger);
	struct ledger_errand *errand = NULL;

	while (request != 0 && (errand = ledger_next_errand(ledger, errand)))
		if (errand->is_break && errand->request == request)
			return true;
	return false;
}

static void break_outside(fuse_req_t request, const char *name)
{
	struct server *server = server_of(request);

	/* Nobody knows how far that came. */
	if (was_begun(server->mount.ledger)) {
		fuse_reply_err(request, EINTR);
		return;
	}
	struct breaking *breaking = malloc(sizeof *breaking + strlen(name) + 1);

	if (!breaking) {
		fuse_reply_err(request, ENOMEM);
		return;
	}
	breaking->errand = (struct errand){.run = run, .finish = finish, .is_break = true};
	breaking->server = server;
	breaking->request = request;
	breaking->uid = fuse_req_ctx(request)->uid;
	strcpy(breaking->name, name);
	errands_add(server->breaks, &breaking->errand);
}

/* Takes it from the holders of this mount, of whom there are some. */
static int break_here(fuse_req_t request, struct entry *entry)
{
	const struct fuse_ctx *context = fuse_req_ctx(request);
	const struct handle *handle;
	struct process by;

	TAILQ_FOREACH(handle, &entry->holders, in_holders)
	if (context->uid != 0 && handle->holder.uid != context->uid)
		return -EPERM;
	process_of_thread(&by, context->pid, context->uid, context->gid);
	(void)grant_break(&server_of(request)->mount, entry, &by);
	return 0;
}

void break_unlink(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	struct mount *mount = &server_of(request)->mount;
	struct entry *entry = entry_find(mount, name);

	if (parent != ROOT_ID || entry_check_name(name) < 0) {
		fuse_reply_err(request, EPERM);
		return;
	}
	if (!permissions_check(request, MAY_ACQUIRE))
		return;
	if (grant_break_was_done(mount, entry))
		fuse_reply_err(request, 0);
	else if (entry && entry_is_held(entry))
		fuse_reply_err(request, -break_here(request, entry));
	else
		break_outside(request, name);
}

void break_ioctl(fuse_req_t request, fuse_ino_t id, unsigned command, void *argument,
		 struct fuse_file_info *info, unsigned flags, const void *bytes, size_t size,
		 size_t answer_size)
{
	struct mount *mount = &server_of(request)->mount;
	const struct mount_break *what = bytes;

	if (command != MOUNT_BREAK || id != ROOT_ID || size != sizeof *what ||
	    what->name[sizeof what->name - 1] != '\0') {
		fuse_reply_err(request, ENOTTY);
		return;
	}
	if (!permissions_check(request, MAY_ACQUIRE))
		return;
	struct entry *entry = entry_find(mount, what->name);
	int result = 0;
	if (!grant_break_was_done(mount, entry))
		result = entry && entry_is_held(entry) ? break_here(request, entry) : -ENOENT;
	if (result < 0)
		fuse_reply_err(request, -result);
	else
		fuse_reply_ioctl(request, 0, NULL, 0);
}
