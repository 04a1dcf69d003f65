/*
 * OPEN, CREATE and FLOCK: a program wants to hold a lock.
 *
 * OPEN and FLOCK are parked until it is their turn: the request is answered
 * later, and nothing else in the mount stalls.  CREATE is not, see promise.h.
 * A parked request is answered EINTR as soon as the kernel says that a signal
 * has come: a waiter that ignores it cannot even be killed.
 *
 * A hold ends with RELEASE and nothing else, matched by the number of the
 * handle: FLUSH comes for each close of each duplicate, also before the last
 * write, and is answered ENOSYS, upon which the kernel sends no more of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/file.h>

#include "callers.h"
#include "grant.h"
#include "history.h"
#include "promise.h"
#include "server.h"

enum wish { BY_OPEN, BY_CREATE, BY_FLOCK };

struct parked {
	struct waiter waiter;
	struct server *server;
	struct fuse_file_info info;
	pid_t thread;
	uid_t uid;
	struct table_node by_number; /* until its request comes again */
};

static void poll_forget(struct handle *handle)
{
	LIST_REMOVE(handle, in_pollers);
	handle->poll = NULL;
	if (handle->kept)
		handle->kept->poll = 0;
}

static struct parked *parked_of(struct waiter *waiter)
{
	return (struct parked *)(void *)((char *)waiter - offsetof(struct parked, waiter));
}

/* direct_io: the page cache would go on showing the text of an hour ago. */
static void describe_open(struct fuse_file_info *info, const struct handle *handle)
{
	info->fh = handle_id(handle);
	info->direct_io = 1;
	info->keep_cache = 0;
}

static int reply_create(fuse_req_t request, struct server *server, struct handle *handle,
			struct fuse_file_info *info)
{
	struct entry *entry = handle->entry;
	struct fuse_entry_param answer = look_entry(server, entry);

	describe_open(info, handle);
	/* Before the reply: a FORGET may follow it at once. */
	entry_begin_lookup(&server->mount, entry);
	int result = fuse_reply_create(request, &answer, info);
	if (result < 0)
		entry_end_lookup(entry);
	return result;
}

static int granted(struct waiter *waiter)
{
	struct parked *parked = parked_of(waiter);
	int result;

	switch (parked->waiter.wish) {
	case BY_CREATE:
		result = reply_create(waiter->request, parked->server, waiter->handle,
				      &parked->info);
		break;
	case BY_OPEN:
		describe_open(&parked->info, waiter->handle);
		result = fuse_reply_open(waiter->request, &parked->info);
		break;
	default:
		result = -fuse_reply_err(waiter->request, 0);
		break;
	}
	if (result < 0)
		return result;
	handle_is_told(waiter->handle);
	free(parked);
	return 0;
}

static void abandoned(struct waiter *waiter)
{
	struct parked *parked = parked_of(waiter);

	if (parked->waiter.wish != BY_FLOCK)
		handle_free(&parked->server->mount, waiter->handle);
	free(parked);
}

/* A lock that is taken, to one who must not wait for it. */
static int answer_taken(const struct parked *parked)
{
	const struct entry *entry = parked->waiter.handle->entry;

	if (parked->waiter.wish != BY_CREATE)
		return -EAGAIN;
	if (parked->info.flags & O_EXCL)
		return -EEXIST;
	if (parked->info.flags & O_NONBLOCK)
		return -EAGAIN;
	/* Made already by a process that was killed before it could answer, it
	 * is refused once. */
	(void)(promise_make(parked->server->promises, parked->thread, parked->uid, entry->name) ||
	       promise_make(parked->server->promises, parked->thread, parked->uid, entry->name));
	return -ESTALE;
}

/* The handle goes first: one that is still there belongs to a request that will
 * come again, or has been granted. */
static void refused(struct waiter *waiter, int error)
{
	struct parked *parked = parked_of(waiter);
	fuse_req_t request = waiter->request;

	int answer = error == -EAGAIN                  ? answer_taken(parked)
		     : parked->waiter.wish == BY_FLOCK ? holder_error(error)
						       : plain_error(error);
	abandoned(waiter);
	fuse_reply_err(request, -answer);
}

static void changed(struct entry *entry)
{
	struct handle *handle;

	while ((handle = LIST_FIRST(&entry->pollers))) {
		struct fuse_pollhandle *poll = handle->poll;
		poll_forget(handle);
		fuse_lowlevel_notify_poll(poll);
		fuse_pollhandle_destroy(poll);
	}
}

const struct answers open_answers = {
	.granted = granted,
	.abandoned = abandoned,
	.refused = refused,
	.changed = changed,
};

/* libfuse calls this in the session thread, from within the processing of an
 * INTERRUPT, for requests that have not been answered. */
static void interrupted(fuse_req_t request, void *argument)
{
	struct parked *parked = argument;

	grant_withdraw(&parked->server->mount, &parked->waiter);
	refused(&parked->waiter, -EINTR);
}

/* Answers the request, or parks it.  The handle is the request's own if it is
 * to be made by it. */
static void ask(fuse_req_t request, enum wish wish, struct handle *handle, enum relock_mode mode,
		const struct fuse_file_info *info, bool no_wait)
{
	const struct fuse_ctx *context = fuse_req_ctx(request);
	struct server *server = server_of(request);
	struct parked *parked = malloc(sizeof *parked);

	if (!parked) {
		if (wish != BY_FLOCK)
			handle_free(&server->mount, handle);
		fuse_reply_err(request, ENOMEM);
		return;
	}
	*parked = (struct parked){
		.server = server,
		.info = *info,
		.thread = context->pid,
		.uid = context->uid,
		.waiter = {.handle = handle,
			   .mode = mode,
			   .by_open = wish != BY_FLOCK,
			   .no_wait = no_wait,
			   .number = ledger_request(server->mount.ledger),
			   .wish = (uint8_t)wish,
			   .request = request},
	};
	if (wish != BY_FLOCK)
		handle_is_of(handle, context->pid);
	callers_find(server->callers, &parked->waiter.process, context->pid, context->uid,
		     context->gid);
	if (grant_request(&server->mount, &parked->waiter))
		fuse_req_interrupt_func(request, interrupted, parked);
}

/*
 * After another process has served the mount.  Those that were parked stand in
 * the queue before their requests have come again: `request` is NULL until
 * then.  A handle whose opener may not have been told of it is here for the
 * case that its request comes again, too.
 */

static struct parked *parked_of_number(struct server *server, uint64_t number)
{
	struct table_node *node = table_find(&server->parked, number);

	return node ? TABLE_OWNER(node, struct parked, by_number) : NULL;
}

static struct handle *untold_handle(struct mount *mount, uint64_t number)
{
	struct ledger_handle *kept = NULL;

	while ((kept = ledger_next_handle(mount->ledger, kept)))
		if (kept->opened_by == number)
			return handle_of_id(mount, kept->id);
	return NULL;
}

int open_restore(struct server *server, struct ledger_waiter *kept, struct handle *handle)
{
	struct parked *parked = calloc(1, sizeof *parked);

	if (!parked)
		return -ENOMEM;
	int result = table_add(&server->parked, &parked->by_number, kept->request);
	if (result < 0) {
		free(parked);
		return result;
	}
	parked->server = server;
	parked->thread = kept->process.thread;
	parked->uid = kept->process.uid;
	parked->waiter = (struct waiter){
		.handle = handle,
		.mode = kept->mode,
		.by_open = kept->by_open,
		.process = kept->process,
		.number = kept->request,
		.wish = kept->wish,
		.kept = kept,
	};
	grant_restore_waiter(&server->mount, &parked->waiter);
	return 0;
}

/* It was granted, and killed the process that was to say so, or nearly. */
static bool tell(fuse_req_t request, struct server *server, struct handle *handle,
		 struct fuse_file_info *info, bool by_create)
{
	int result;

	if (handle->hold == HOLDS_NOTHING) {
		handle_free(&server->mount, handle);
		return false;
	}
	if (by_create)
		result = reply_create(request, server, handle, info);
	else
		describe_open(info, handle), result = fuse_reply_open(request, info);
	if (result < 0) {
		(void)grant_release(&server->mount, handle);
		handle_free(&server->mount, handle);
	} else {
		handle_is_told(handle);
	}
	return true;
}

static bool open_resume(fuse_req_t request, const struct fuse_file_info *info, enum wish wish)
{
	struct server *server = server_of(request);
	struct parked *parked;
	struct handle *handle;

	if (!server->mount.is_recovering)
		return false;
	uint64_t number = ledger_request(server->mount.ledger);
	if ((parked = parked_of_number(server, number))) {
		table_remove(&server->parked, &parked->by_number);
		parked->info = *info;
		parked->waiter.request = request;
		fuse_req_interrupt_func(request, interrupted, parked);
		return true;
	}
	handle = wish == BY_FLOCK ? NULL : untold_handle(&server->mount, number);
	if (!handle)
		return false;
	struct fuse_file_info answer = *info;
	return tell(request, server, handle, &answer, wish == BY_CREATE);
}

static void drop_parked(struct server *server)
{
	struct table_node *node;

	while ((node = table_next(&server->parked, NULL))) {
		struct parked *parked = TABLE_OWNER(node, struct parked, by_number);
		table_remove(&server->parked, node);
		grant_withdraw(&server->mount, &parked->waiter);
		abandoned(&parked->waiter);
	}
	table_free(&server->parked);
}

/* Who waits for an answer is not in execve(2), and of others only what the
 * kernel shows at any time is looked at, see process.h. */
static bool opener_has_ended(const struct handle *handle)
{
	const struct process opener = {.pid = handle->thread};

	return process_has_ended(&opener);
}

/*
 * A handle whose opener has not been told, as far as is known, and has not asked
 * again: either it has been told, and the process that told it was killed
 * before it could note that; or the opener was killed before it asked again.
 * Then nobody has the file open.  Those that wait in the queue have asked again,
 * and are told when it is their turn.
 */
static void settle_untold(struct server *server)
{
	struct mount *mount = &server->mount;
	struct ledger_handle *kept = NULL;

	while ((kept = ledger_next_handle(mount->ledger, kept))) {
		struct handle *handle = kept->opened_by ? handle_of_id(mount, kept->id) : NULL;
		if (!handle || handle->waiters > 0)
			continue;
		if (opener_has_ended(handle) &&
		    !process_any_has_open(mount->device, entry_id(handle->entry))) {
			(void)grant_release(mount, handle);
			handle_free(mount, handle);
		} else {
			handle_is_told(handle);
		}
	}
}

void open_recovered(struct server *server)
{
	drop_parked(server);
	settle_untold(server);
}

bool open_is_promised(fuse_req_t request, const char *name)
{
	const struct fuse_ctx *context = fuse_req_ctx(request);

	return promise_holds(server_of(request)->promises, context->pid, context->uid, name);
}

static void end_promise(fuse_req_t request, const struct entry *entry)
{
	const struct fuse_ctx *context = fuse_req_ctx(request);

	promise_end(server_of(request)->promises, context->pid, context->uid, entry->name);
}

/* A descriptor to look, or to call flock(2) on. */
static void open_to_look(fuse_req_t request, struct entry *entry, struct fuse_file_info *info)
{
	const struct fuse_ctx *context = fuse_req_ctx(request);
	struct server *server = server_of(request);
	struct handle *handle;

	if (info->flags & O_TRUNC) {
		fuse_reply_err(request, EPERM);
		return;
	}
	/* Released since its LOOKUP: let it look again, once.  Whether it was
	 * told so already is not known of those who cannot be seen. */
	if (context->pid != 0) {
		if (!grant_is_held(&server->mount, entry->name) &&
		    promise_make(server->promises, context->pid, context->uid, entry->name)) {
			fuse_reply_err(request, ESTALE);
			return;
		}
		end_promise(request, entry);
	}
	int result = handle_new(&handle, &server->mount, entry, O_RDONLY);
	if (result < 0) {
		fuse_reply_err(request, -result);
		return;
	}
	handle_is_of(handle, context->pid);
	describe_open(info, handle);
	if (fuse_reply_open(request, info) < 0)
		handle_free(&server->mount, handle);
	else
		handle_is_told(handle);
}

/* May the sender of the request open a lock like this? */
static bool check_permission(fuse_req_t request, int access)
{
	static const unsigned needed[] = {
		[O_RDONLY] = MAY_SEE,
		[O_WRONLY] = MAY_ACQUIRE,
		[O_RDWR] = MAY_SEE | MAY_ACQUIRE,
		/* Linux has it for "neither, but to see what can be done to it". */
		[O_ACCMODE] = MAY_SEE | MAY_ACQUIRE,
	};

	return permissions_check(request, needed[access]);
}

void open_open(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info)
{
	struct server *server = server_of(request);
	struct entry *entry = entry_of_id(&server->mount, id);
	int access = info->flags & O_ACCMODE;
	struct handle *handle;

	if (!entry) {
		fuse_reply_err(request, ENOENT);
		return;
	}
	/* What was opened for it before, and holds nothing. */
	if (access == O_RDONLY)
		(void)open_resume(request, info, BY_OPEN);
	if (entry_is_history(entry)) {
		history_open(request, entry, info);
		return;
	}
	if (!check_permission(request, access))
		return;
	if (access == O_RDONLY) {
		open_to_look(request, entry, info);
		return;
	}
	end_promise(request, entry);
	if (open_resume(request, info, BY_OPEN))
		return;
	/* libfuse would call interrupted() from within ask() */
	if (fuse_req_interrupted(request)) {
		fuse_reply_err(request, EINTR);
		return;
	}
	int result = handle_new(&handle, &server->mount, entry, access);
	if (result < 0)
		fuse_reply_err(request, -result);
	else
		ask(request, BY_OPEN, handle, RELOCK_EXCLUSIVE, info, info->flags & O_NONBLOCK);
}

/* What flock(1) does: the name appears when it is held. */
static void create_to_look(fuse_req_t request, struct handle *handle, struct fuse_file_info *info)
{
	struct server *server = server_of(request);

	handle_is_of(handle, fuse_req_ctx(request)->pid);
	if (info->flags & O_EXCL && grant_is_held(&server->mount, handle->entry->name)) {
		handle_free(&server->mount, handle);
		fuse_reply_err(request, EEXIST);
	} else if (reply_create(request, server, handle, info) < 0) {
		handle_free(&server->mount, handle);
	} else {
		handle_is_told(handle);
	}
}

void open_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
		 struct fuse_file_info *info)
{
	struct server *server = server_of(request);
	int access = info->flags & O_ACCMODE;
	struct handle *handle;

	if (!check_permission(request, access))
		return;
	if (open_resume(request, info, BY_CREATE))
		return;
	int result = parent == ROOT_ID ? entry_check_name(name) : -EPERM;
	struct entry *entry = result == 0 ? entry_get(&server->mount, name) : NULL;
	if (result == 0 && !entry)
		result = -ENOMEM;
	if (result == 0) {
		result = handle_new(&handle, &server->mount, entry, access);
		if (result < 0)
			entry_settle(&server->mount, entry);
	}
	if (result < 0)
		fuse_reply_err(request, -result);
	else if (access == O_RDONLY)
		create_to_look(request, handle, info);
	else
		ask(request, BY_CREATE, handle, RELOCK_EXCLUSIVE, info, true);
}

void open_release(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info)
{
	struct server *server = server_of(request);
	struct handle *handle = handle_of_id(&server->mount, info->fh);

	if (handle) {
		if (handle->poll) {
			fuse_pollhandle_destroy(handle->poll);
			poll_forget(handle);
		}
		(void)grant_release(&server->mount, handle);
		handle_free(&server->mount, handle);
	}
	fuse_reply_err(request, 0);
}

static void unlock(fuse_req_t request, struct handle *handle)
{
	int result = grant_release(&server_of(request)->mount, handle);

	/* That the hold is over is what it asked for, whatever else went wrong. */
	fuse_reply_err(request, result == -ESTALE ? ESTALE : 0);
}

/* A holder wants another mode. */
static void convert(fuse_req_t request, struct handle *handle, enum relock_mode mode,
		    const struct fuse_file_info *info, bool no_wait)
{
	struct mount *mount = &server_of(request)->mount;
	int result = 0;

	if (mode == RELOCK_SHARED && handle->mode == RELOCK_EXCLUSIVE)
		result = grant_downgrade(mount, handle);
	else if (mode == RELOCK_EXCLUSIVE && handle->mode == RELOCK_SHARED)
		result = grant_upgrade(mount, handle);
	if (result == -EAGAIN && !no_wait) {
		/* As flock(2): without the lock while it waits for the other
		 * mode, or two would wait for each other. */
		if (grant_release(mount, handle) == -ESTALE)
			fuse_reply_err(request, ESTALE);
		else
			ask(request, BY_FLOCK, handle, mode, info, false);
		return;
	}
	fuse_reply_err(request, -holder_error(result));
}

void open_flock(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info, int operation)
{
	struct handle *handle = handle_of_id(&server_of(request)->mount, info->fh);
	enum relock_mode mode = operation & LOCK_SH ? RELOCK_SHARED : RELOCK_EXCLUSIVE;
	bool no_wait = operation & LOCK_NB;

	if (open_resume(request, info, BY_FLOCK))
		return;
	if (!handle)
		fuse_reply_err(request, EBADF);
	else if (operation & LOCK_UN)
		unlock(request, handle);
	else if (entry_is_history(handle->entry))
		fuse_reply_err(request, EOPNOTSUPP);
	else if (handle->hold == HOLD_BROKEN)
		fuse_reply_err(request, ESTALE);
	else if (!permissions_check(request, MAY_ACQUIRE))
		return;
	else if (fuse_req_interrupted(request))
		fuse_reply_err(request, EINTR);
	else if (handle->hold == HOLDS)
		convert(request, handle, mode, info, no_wait);
	else
		ask(request, BY_FLOCK, handle, mode, info, no_wait);
}

/* A record lock through a descriptor that holds the lock adds nothing to it:
 * nobody else can have one.  Elsewhere it would exclude nobody. */
static bool covers(const struct handle *handle, short type)
{
	return handle && handle->hold == HOLDS &&
	       (type != F_WRLCK || handle->mode == RELOCK_EXCLUSIVE);
}

void open_getlk(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info, struct flock *lock)
{
	if (!covers(handle_of_id(&server_of(request)->mount, info->fh), lock->l_type)) {
		fuse_reply_err(request, EOPNOTSUPP);
		return;
	}
	lock->l_type = F_UNLCK;
	fuse_reply_lock(request, lock);
}

void open_setlk(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info, struct flock *lock,
		int sleep)
{
	const struct handle *handle = handle_of_id(&server_of(request)->mount, info->fh);

	fuse_reply_err(request, covers(handle, lock->l_type) ? 0 : EOPNOTSUPP);
}

/*
 * poll(2): a descriptor is ready when the lock's state has changed since its
 * text was last read from the start; like /proc/mounts, by POLLPRI too, which
 * says that it is this kind of readiness.
 */
void open_poll(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info,
	       struct fuse_pollhandle *poll)
{
	struct handle *handle = handle_of_id(&server_of(request)->mount, info->fh);
	unsigned events = 0;

	if (!handle) {
		if (poll)
			fuse_pollhandle_destroy(poll);
		fuse_reply_err(request, EBADF);
		return;
	}
	if (handle->hold == HOLDS)
		events |= POLLOUT;
	if (handle->hold == HOLD_BROKEN)
		events |= POLLERR;
	if (entry_is_history(handle->entry))
		events |= POLLIN | POLLRDNORM;
	if (handle->changes_seen != handle->entry->changes)
		events |= POLLIN | POLLRDNORM | POLLPRI;
	if (poll) {
		if (handle->poll) {
			fuse_pollhandle_destroy(handle->poll);
			poll_forget(handle);
		}
		handle->poll = poll;
		if (handle->kept)
			handle->kept->poll = ledger_head(server_of(request)->mount.ledger)->poll;
		LIST_INSERT_HEAD(&handle->entry->pollers, handle, in_pollers);
	}
	fuse_reply_poll(request, events);
}
