/*
 * OPEN, CREATE and FLOCK: a program wants to hold a lock.
 *
 * OPEN and FLOCK are parked until it is their turn: the request is answered
 * later, and nothing else in the mount stalls.  CREATE is not, see promise.h.
 * A parked request is answered EINTR as soon as the kernel says that a signal
 * has come: a waiter that ignores it cannot even be killed.
 *
 * Of a parked request only its number is kept, and it is answered by that
 * (wire.h): what libfuse has for a request is more than all that the mount has
 * to know of a waiter.  So libfuse is told that it needs no answer, and does not
 * know whom the INTERRUPT is about that may come for it: see open_interrupt().
 *
 * A hold ends with RELEASE and nothing else, matched by the number of the
 * handle: FLUSH comes for each close of each duplicate, also before the last
 * write, and is answered ENOSYS, upon which the kernel sends no more of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/file.h>

#include "callers.h"
#include "grant.h"
#include "history.h"
#include "promise.h"
#include "server.h"
#include "wire.h"

enum wish { BY_OPEN, BY_CREATE, BY_FLOCK };

/* A waiter is first in hand, then parked.  After another process has served the
 * mount it is missing until its request has come again. */
enum stage { IN_HAND, PARKED, MISSING };

struct parked {
	struct waiter waiter;
	union {
		/* In hand */
		struct {
			fuse_req_t request;
			struct fuse_file_info *info;
		};
		/* Parked, or missing: then without LEDGER_RESENT. */
		struct table_node by_number;
	};
};

static struct parked *parked_of(struct waiter *waiter)
{
	return (struct parked *)(void *)((char *)waiter - offsetof(struct parked, waiter));
}

static int session_descriptor(const struct server *server)
{
	return fuse_session_fd(server->session);
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

static int say_granted(struct server *server, struct parked *parked)
{
	struct handle *handle = parked->waiter.handle;

	switch (parked->waiter.wish) {
	case BY_CREATE:
		return reply_create(parked->request, server, handle, parked->info);
	case BY_OPEN:
		describe_open(parked->info, handle);
		return fuse_reply_open(parked->request, parked->info);
	default:
		return -fuse_reply_err(parked->request, 0);
	}
}

static int say_granted_to_parked(const struct server *server, const struct parked *parked)
{
	const struct handle *handle = parked->waiter.handle;
	struct fuse_file_info info = {0};

	if (parked->waiter.wish == BY_FLOCK)
		return wire_answer(session_descriptor(server), parked->by_number.key, 0);
	describe_open(&info, handle);
	return wire_answer_open(session_descriptor(server), parked->by_number.key, info.fh,
				info.direct_io);
}

static void free_parked(struct server *server, struct parked *parked)
{
	if (parked->waiter.stage == PARKED)
		table_remove(&server->parked, &parked->by_number);
	else if (parked->waiter.stage == MISSING)
		table_remove(&server->missing, &parked->by_number);
	free(parked);
}

static int granted(struct mount *mount, struct waiter *waiter)
{
	struct server *server = server_of_mount(mount);
	struct parked *parked = parked_of(waiter);

	int result = waiter->stage == IN_HAND ? say_granted(server, parked)
					      : say_granted_to_parked(server, parked);
	if (result < 0)
		return result;
	handle_is_told(waiter->handle);
	free_parked(server, parked);
	return 0;
}

static void abandoned(struct mount *mount, struct waiter *waiter)
{
	if (waiter->wish != BY_FLOCK)
		handle_free(mount, waiter->handle);
	free_parked(server_of_mount(mount), parked_of(waiter));
}

/* A lock that is taken, to one who must not wait for it. */
static int answer_taken(const struct server *server, const struct parked *parked)
{
	const struct process *process = &parked->waiter.process;
	const struct entry *entry = parked->waiter.handle->entry;

	if (parked->waiter.wish != BY_CREATE)
		return -EAGAIN;
	if (parked->info->flags & O_EXCL)
		return -EEXIST;
	if (parked->info->flags & O_NONBLOCK)
		return -EAGAIN;
	/* Made already by a process that was killed before it could answer, it
	 * is refused once. */
	(void)(promise_make(server->promises, process->thread, process->uid, entry->name) ||
	       promise_make(server->promises, process->thread, process->uid, entry->name));
	return -ESTALE;
}

/* The handle goes first: one that is still there belongs to a request that will
 * come again, or has been granted. */
static void refused(struct mount *mount, struct waiter *waiter, int error)
{
	struct server *server = server_of_mount(mount);
	struct parked *parked = parked_of(waiter);
	fuse_req_t request = waiter->stage == IN_HAND ? parked->request : NULL;
	uint64_t number = request ? 0 : parked->by_number.key;

	int answer = error == -EAGAIN           ? answer_taken(server, parked)
		     : waiter->wish == BY_FLOCK ? holder_error(error)
						: plain_error(error);
	abandoned(mount, waiter);
	if (request)
		fuse_reply_err(request, -answer);
	else
		(void)wire_answer(session_descriptor(server), number, answer);
}

const struct answers open_answers = {
	.granted = granted,
	.abandoned = abandoned,
	.refused = refused,
	.changed = poll_wake,
};

static struct parked *find_parked(const struct table *table, uint64_t number)
{
	struct table_node *node = table_find(table, number);

	return node ? TABLE_OWNER(node, struct parked, by_number) : NULL;
}

bool open_interrupt(struct server *server, uint64_t number)
{
	struct parked *parked = find_parked(&server->parked, number);

	if (!parked)
		return false;
	grant_withdraw(&server->mount, &parked->waiter);
	refused(&server->mount, &parked->waiter, -EINTR);
	return true;
}

/* From now on it goes by its number: of the request libfuse shall know nothing
 * more. */
static void park(struct server *server, struct parked *parked, fuse_req_t request)
{
	if (parked->waiter.stage == MISSING)
		table_remove(&server->missing, &parked->by_number);
	int result = table_add(&server->parked, &parked->by_number, server->request);
	if (result < 0) {
		/* Not even the table's first buckets can be had. */
		parked->waiter.stage = IN_HAND;
		parked->request = request;
		grant_withdraw(&server->mount, &parked->waiter);
		refused(&server->mount, &parked->waiter, result);
		return;
	}
	parked->waiter.stage = PARKED;
	fuse_reply_none(request);
}

/* Answers the request, or parks it.  The handle is the request's own if it is
 * to be made by it. */
static void ask(fuse_req_t request, enum wish wish, struct handle *handle, enum relock_mode mode,
		struct fuse_file_info *info, bool no_wait)
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
	parked->request = request;
	parked->info = info;
	parked->waiter = (struct waiter){
		.handle = handle,
		.mode = mode,
		.by_open = wish != BY_FLOCK,
		.no_wait = no_wait,
		.wish = (uint8_t)wish,
		.stage = IN_HAND,
	};
	if (wish != BY_FLOCK)
		handle_is_of(handle, context->pid);
	callers_find(server->callers, &parked->waiter.process, context->pid, context->uid,
		     context->gid);
	if (grant_request(&server->mount, &parked->waiter))
		park(server, parked, request);
}

/*
 * After another process has served the mount.  Those that were parked stand in
 * the queue before their requests have come again.  A handle whose opener may not have been told of
 * it is here for the case that its request comes again, too.
 */

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
	int result = table_add(&server->missing, &parked->by_number, kept->request);
	if (result < 0) {
		free(parked);
		return result;
	}
	parked->waiter = (struct waiter){
		.handle = handle,
		.mode = kept->mode,
		.by_open = kept->by_open,
		.process = kept->process,
		.wish = kept->wish,
		.stage = MISSING,
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
	parked = find_parked(&server->missing, number);
	if (parked) {
		bool is_interrupted = fuse_req_interrupted(request);
		park(server, parked, request);
		if (is_interrupted)
			(void)open_interrupt(server, server->request);
		return true;
	}
	handle = wish == BY_FLOCK ? NULL : untold_handle(&server->mount, number);
	if (!handle)
		return false;
	struct fuse_file_info answer = *info;
	return tell(request, server, handle, &answer, wish == BY_CREATE);
}

static void drop_missing(struct server *server)
{
	struct table_node *node;

	while ((node = table_next(&server->missing, NULL))) {
		struct parked *parked = TABLE_OWNER(node, struct parked, by_number);
		grant_withdraw(&server->mount, &parked->waiter);
		abandoned(&server->mount, &parked->waiter);
	}
	table_free(&server->missing);
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
	drop_missing(server);
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
	/* The INTERRUPT has come before it. */
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
		poll_forget(handle);
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
		    struct fuse_file_info *info, bool no_wait)
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
