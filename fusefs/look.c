/*
 * LOOKUP, GETATTR, READ: a program wants to know.
 *
 * A name exists while its lock is held.  That is asked of the store at each
 * LOOKUP, since names come and go on this side: no answer may be cached, the
 * timeouts are 0.  Who holds it, for GETATTR (the size is that of the text)
 * and READ, may be an errand.
 */
#include "look.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "grant.h"
#include "heirs.h"
#include "history.h"
#include "state.h"
#include "user.h"

#define NO_USER ((uid_t)-1)

/*
 * More than any text has.  sendfile(2) and splice(2), by which BusyBox's cat
 * reads, go through the page cache even of a direct_io file, and take nothing
 * from behind the size that the kernel has of it (filemap_splice_read()): after
 * a LOOKUP with 0 that is nothing at all.  A short read tells the kernel the
 * true size, and stat(2) asks for it, since attributes are not cached.
 */
#define SIZE_BEFORE_READ ((off_t)1 << 20)

/*
 * So old may be what is shown of who waits for the lock in the store, outside the
 * mount: a tenth of a second.
 */
#define WAITERS_AGE (RELOCK_SECOND / 10)

static void run(struct errand *errand)
{
	struct look *look = (struct look *)(void *)errand;

	errand->result = 0;
	if (look->unknown_user != NO_USER) {
		user_resolve(look->unknown_user);
		return;
	}
	if (look->heirs)
		heir_search_run(look->heirs);
	if (look->wants_store)
		errand->result = relock_status(look->server->mount.store,
					       entry_lock_name(look->entry), &look->status);
}

/* The first holder whose user's name has not been asked for yet. */
static uid_t unknown_user(const struct entry *entry)
{
	const struct handle *handle;

	TAILQ_FOREACH(handle, &entry->holders, in_holders)
	if (!user_is_known(handle->held->holder.uid))
		return handle->held->holder.uid;
	return NO_USER;
}

/* Makes the status that of now: the look is a moment old. */
static int complete(struct look *look)
{
	const struct mount *mount = &look->server->mount;
	struct relock_status *status, *outside = look->status;

	if (entry_is_history(look->entry))
		return history_check(look->status);
	if (!entry_is_held(look->entry))
		return state_add_queue(look->entry, look->status);
	int result = state_of_held(mount, look->entry, look->openers_are_seen, &status);
	if (result < 0)
		return result;
	look->status = status;
	if (outside) {
		result = state_add_outside(status, outside);
		relock_status_free(outside);
	}
	return result;
}

static void end(struct look *look)
{
	struct mount *mount = &look->server->mount;
	struct entry *entry = look->entry;

	relock_status_free(look->status);
	heir_search_finish(mount, look->server->sights, look->heirs);
	free(look->key);
	free(look);
	entry->pins--;
	entry_settle(mount, entry);
}

/* The only holder, who so has the lock exclusively, or NULL. */
static const struct handle *sole_holder(const struct entry *entry)
{
	const struct handle *first = TAILQ_FIRST(&entry->holders);

	return first && first->mode == RELOCK_EXCLUSIVE ? first : NULL;
}

/* Has the store looked at for what that leaves behind (relock_nobody_waits()). */
struct question {
	struct errand errand;
	struct server *server;
	char name[];
};

static void run_question(struct errand *errand)
{
	const struct question *question = (struct question *)(void *)errand;
	struct relock_status *status = NULL;

	if (relock_status(question->server->mount.store, question->name, &status) == 0)
		relock_status_free(status);
}

static void finish_question(struct errand *errand)
{
	struct question *question = (struct question *)(void *)errand;

	question->server->asks_for_waiters = false;
	free(question);
}

static void ask_for_waiters(struct server *server, const struct entry *entry)
{
	struct question *question;
	size_t size = strlen(entry->name) + 1;

	if (server->asks_for_waiters)
		return;
	question = malloc(sizeof *question + size);
	if (!question)
		return;
	question->errand = (struct errand){
		.run = run_question, .finish = finish_question, .is_for_nobody = true};
	question->server = server;
	memcpy(question->name, entry->name, size);
	server->asks_for_waiters = true;
	errands_add(server->looks, &question->errand);
}

/*
 * Who waits in the store is known from a look of a moment ago, at this lock or
 * another: nobody.  What holders outside do is asked of the store at each look;
 * while the mount holds exclusively there are none.
 *
 * Who looks again and again shall not have to wait each time that becomes old:
 * somebody is sent beforehand.
 */
static bool nobody_waits_outside(struct look *look)
{
	const struct handle *holder = sole_holder(look->entry);

	if (!holder)
		return false;
	if (relock_nobody_waits(holder->held->lock, WAITERS_AGE / 2) == 0)
		return true;
	if (relock_nobody_waits(holder->held->lock, WAITERS_AGE) < 0)
		return false;
	ask_for_waiters(look->server, look->entry);
	return true;
}

/* The openers that have no heirs live, and if they were looked for before, have
 * their descriptors. */
static bool see_openers(struct look *look)
{
	const struct handle *holder = sole_holder(look->entry);

	if (holder && sights_see(look->server->sights, holder))
		return true;
	return (look->knows_heirs || !look->thorough) && !state_lacks_heirs(look->entry);
}

static struct heir_search *search_for_heirs(const struct look *look)
{
	struct heir_search *search = heir_search_new(&look->server->mount, look->entry);
	const struct handle *holder = sole_holder(look->entry);

	if (search && holder && sights_want(look->server->sights, holder))
		heir_search_want_sight(search);
	return search;
}

/* Answers the request if all is known that it needs; else sends an errand. */
static void go_on(struct look *look)
{
	uid_t asked = look->unknown_user;

	/* Asked for already, and without memory to keep it: shown without. */
	look->unknown_user = unknown_user(look->entry);
	if (look->unknown_user == asked)
		look->unknown_user = NO_USER;
	bool held = entry_is_held(look->entry);
	look->wants_store =
		!look->status && (!held || (look->thorough && !nobody_waits_outside(look)));
	look->openers_are_seen = held && see_openers(look);
	if (look->unknown_user == NO_USER && held && !look->knows_heirs &&
	    !look->openers_are_seen) {
		look->heirs = search_for_heirs(look);
		look->knows_heirs = true;
	}
	if (look->unknown_user != NO_USER || look->wants_store || look->heirs) {
		errands_add(look->server->looks, &look->errand);
		return;
	}
	int result = complete(look);
	if (result < 0)
		fuse_reply_err(look->request, -plain_error(result));
	else
		look->answer(look);
	end(look);
}

static void finish(struct errand *errand)
{
	struct look *look = (struct look *)(void *)errand;

	heir_search_finish(&look->server->mount, look->server->sights, look->heirs);
	look->heirs = NULL;
	if (errand->result < 0) {
		fuse_reply_err(look->request, -plain_error(errand->result));
		end(look);
		return;
	}
	go_on(look);
}

void look_send(const struct look *look)
{
	struct look *copy = malloc(sizeof *copy);

	if (!copy) {
		fuse_reply_err(look->request, ENOMEM);
		free(look->key);
		entry_settle(&look->server->mount, look->entry);
		return;
	}
	*copy = *look;
	copy->errand = (struct errand){.run = run, .finish = finish};
	copy->unknown_user = NO_USER;
	copy->entry->pins++;
	go_on(copy);
}

static struct timespec time_of(int64_t moment)
{
	return (struct timespec){.tv_sec = moment / RELOCK_SECOND,
				 .tv_nsec = moment % RELOCK_SECOND};
}

static struct stat attributes_of_folder(const struct server *server, fuse_ino_t id)
{
	mode_t mode = permissions_folder_mode(&server->permissions);

	return (struct stat){
		.st_ino = id,
		/* Not sticky: fs.protected_regular would keep everybody, root
		 * too, from opening another user's lock with O_CREAT. */
		.st_mode = S_IFDIR | (id == ROOT_ID ? mode : mode & 0555),
		.st_nlink = 2,
		.st_uid = server->permissions.uid,
		.st_gid = server->permissions.gid,
		.st_atim = time_of(server->started),
		.st_mtim = time_of(server->started),
		.st_ctim = time_of(server->started),
	};
}

/* As far as the mount itself knows. */
static struct stat attributes_of(const struct server *server, const struct entry *entry)
{
	const struct handle *holder = TAILQ_FIRST(&entry->holders);
	mode_t mode = permissions_file_mode(&server->permissions);
	struct stat attributes = {
		.st_ino = entry_id(entry),
		.st_mode = S_IFREG | (entry_is_history(entry) ? mode & 0444 : mode),
		.st_nlink = 1,
		.st_uid = server->permissions.uid,
		.st_gid = server->permissions.gid,
		.st_blksize = 4096,
	};

	if (holder) {
		attributes.st_uid = holder->held->holder.uid;
		attributes.st_gid = holder->held->holder.gid;
		attributes.st_mtim = time_of(holder->held->since);
		attributes.st_atim = attributes.st_ctim = attributes.st_mtim;
	}
	return attributes;
}

struct fuse_entry_param look_entry(const struct server *server, const struct entry *entry)
{
	struct fuse_entry_param answer = {
		.ino = entry_id(entry),
		.generation = 1,
		.attr = attributes_of(server, entry),
	};

	answer.attr.st_size = SIZE_BEFORE_READ;
	return answer;
}

/* Not a name: there at all times, with the number that it always has. */
static void lookup_history(fuse_req_t request)
{
	const struct fuse_entry_param answer = {
		.ino = HISTORY_ID,
		.generation = 1,
		.attr = attributes_of_folder(server_of(request), HISTORY_ID),
	};

	fuse_reply_entry(request, &answer);
}

void look_lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	struct server *server = server_of(request);
	struct mount *mount = &server->mount;

	/* Either right goes with x on the folder. */
	if (permissions_of(request) == 0) {
		fuse_reply_err(request, EACCES);
		return;
	}
	if (parent == HISTORY_ID) {
		history_lookup(request, name);
		return;
	}
	if (parent == ROOT_ID && strcmp(name, HISTORY_NAME) == 0) {
		lookup_history(request);
		return;
	}
	int result = entry_check_name(name);
	/* No lock has such a name, and programs ask for all kinds of dot files. */
	if (result == -EINVAL || parent != ROOT_ID)
		result = -ENOENT;
	if (result == 0 && !grant_is_held(mount, name) && !open_is_promised(request, name))
		result = -ENOENT;
	struct entry *entry = result == 0 ? entry_get(mount, name) : NULL;
	if (!entry) {
		fuse_reply_err(request, result < 0 ? -result : ENOMEM);
		return;
	}
	struct fuse_entry_param answer = look_entry(server, entry);
	entry_begin_lookup(mount, entry);
	if (fuse_reply_entry(request, &answer) < 0)
		entry_end_lookup(entry);
	entry_settle(mount, entry);
}

static void forget(struct server *server, fuse_ino_t id, uint64_t count)
{
	struct entry *entry = entry_of_id(&server->mount, id);

	if (entry)
		entry_forget(&server->mount, entry, count);
}

void look_forget(fuse_req_t request, fuse_ino_t id, uint64_t count)
{
	forget(server_of(request), id, count);
	fuse_reply_none(request);
}

void look_forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget(server_of(request), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(request);
}

/* A holder outside the mount, by its process. */
static void take_holder(struct stat *attributes, const struct relock_holder *holder)
{
	char path[32];
	struct stat process;

	if (holder->uid != (uid_t)-1)
		attributes->st_uid = holder->uid;
	snprintf(path, sizeof path, "/proc/%d", (int)holder->pid);
	if (holder->pid > 0 && stat(path, &process) == 0)
		attributes->st_gid = process.st_gid;
	attributes->st_mtim = time_of(holder->since);
	attributes->st_atim = attributes->st_ctim = attributes->st_mtim;
}

/* The time is that of the end, as far as it is known.  The process is gone, and
 * with it what it had for a group. */
static void take_last_holder(struct stat *attributes, const struct relock_status *status)
{
	if (status->last.uid != (uid_t)-1)
		attributes->st_uid = status->last.uid;
	attributes->st_mtim =
		time_of(status->last_end_time > 0 ? status->last_end_time : status->last.since);
	attributes->st_atim = attributes->st_ctim = attributes->st_mtim;
}

static void answer_getattr(struct look *look)
{
	const struct relock_status *status = look->status;
	struct stat attributes = attributes_of(look->server, look->entry);
	char *text;

	if (status->state == RELOCK_FREE && LIST_EMPTY(&look->entry->handles) &&
	    !entry_is_history(look->entry)) {
		fuse_reply_err(look->request, ENOENT);
		return;
	}
	if (relock_status_text(status, &text) < 0) {
		fuse_reply_err(look->request, ENOMEM);
		return;
	}
	attributes.st_size = (off_t)strlen(text);
	free(text);
	if (entry_is_history(look->entry))
		take_last_holder(&attributes, status);
	else if (status->state == RELOCK_FREE)
		attributes.st_nlink = 0; /* open, and gone */
	else if (!entry_is_held(look->entry) && status->holder_count > 0)
		take_holder(&attributes, &status->holders[0]);
	fuse_reply_attr(look->request, &attributes, 0);
}

void look_getattr(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info)
{
	struct server *server = server_of(request);

	if (id == ROOT_ID || id == HISTORY_ID) {
		struct stat attributes = attributes_of_folder(server, id);
		fuse_reply_attr(request, &attributes, 0);
		return;
	}
	struct entry *entry = entry_of_id(&server->mount, id);
	if (!entry) {
		fuse_reply_err(request, ENOENT);
		return;
	}
	look_send(&(struct look){
		.server = server, .request = request, .entry = entry, .answer = answer_getattr});
}

static void reply_piece(fuse_req_t request, const struct handle *handle, size_t size, off_t offset)
{
	if ((size_t)offset >= handle->text_length) {
		fuse_reply_buf(request, NULL, 0);
		return;
	}
	size_t left = handle->text_length - (size_t)offset;
	fuse_reply_buf(request, handle->text + offset, size < left ? size : left);
}

static void answer_read(struct look *look)
{
	struct handle *handle = handle_of_id(&look->server->mount, look->handle);
	char *text;

	if (!handle) {
		fuse_reply_err(look->request, EBADF);
		return;
	}
	if (relock_status_text(look->status, &text) < 0) {
		fuse_reply_err(look->request, ENOMEM);
		return;
	}
	free(handle->text);
	handle->text = text;
	handle->text_length = strlen(text);
	reply_piece(look->request, handle, look->size, look->offset);
}

/* A text is made when it is read from the start, and the rest of it read as
 * made then: a reader never sees two halves that do not fit. */
void look_read(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset,
	       struct fuse_file_info *info)
{
	struct server *server = server_of(request);
	struct handle *handle = handle_of_id(&server->mount, info->fh);

	if (!handle) {
		fuse_reply_err(request, EBADF);
	} else if (handle->hold == HOLD_BROKEN) {
		fuse_reply_err(request, ESTALE);
	} else if (handle->text && offset > 0) {
		reply_piece(request, handle, size, offset);
	} else {
		handle->changes_seen = handle->entry->changes;
		look_send(&(struct look){
			.server = server,
			.request = request,
			.entry = handle->entry,
			.answer = answer_read,
			.thorough = true,
			.handle = info->fh,
			.size = size,
			.offset = offset,
		});
	}
}
