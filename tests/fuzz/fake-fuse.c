#include "fake-fuse.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>

#include "errand.h"
#include "grant.h"
#include "store-wait.h"
#include "wire.h"

struct fake fake = {
	.waiting = TAILQ_HEAD_INITIALIZER(fake.waiting),
	.answered = TAILQ_HEAD_INITIALIZER(fake.answered),
};

void fake_fail(const char *what, const char *file, int line)
{
	fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, what);
	abort();
}

/* libfuse: requests */

fuse_req_t fake_request(struct server *server, enum request_kind kind)
{
	static uint64_t last_number;
	fuse_req_t request = calloc(1, sizeof *request);

	EXPECT(request);
	request->server = server;
	request->number = server->request = ++last_number;
	request->kind = kind;
	TAILQ_INSERT_TAIL(&fake.waiting, request, in_list);
	fake.waiting_count++;
	return request;
}

void *fuse_req_userdata(fuse_req_t request)
{
	EXPECT(!request->answered && !request->parked);
	return request->server;
}

const struct fuse_ctx *fuse_req_ctx(fuse_req_t request)
{
	EXPECT(!request->answered && !request->parked);
	return &request->context;
}

int fuse_req_interrupted(fuse_req_t request)
{
	EXPECT(!request->answered && !request->parked);
	return request->interrupted;
}

void fake_interrupt(fuse_req_t request)
{
	bool was_parked = request->parked;

	request->interrupted = true;
	EXPECT(open_interrupt(request->server, request->number) == was_parked);
}

/* libfuse: answers */

static int answer(fuse_req_t request, int error)
{
	EXPECT(!request->answered);
	/* Beyond 511 are the kernel's own errors, with which the caller hangs. */
	EXPECT(error >= 0 && error < 512);
	EXPECT(error != ENOSYS);
	request->answered = true;
	request->error = request->gone ? ENOENT : error;
	TAILQ_REMOVE(&fake.waiting, request, in_list);
	TAILQ_INSERT_TAIL(&fake.answered, request, in_list);
	fake.waiting_count--;
	return request->gone ? -ENOENT : 0;
}

static const struct handle *holding(fuse_req_t request, uint64_t file)
{
	const struct handle *handle = handle_of_id(&request->server->mount, file);

	EXPECT(handle && handle->hold == HOLDS);
	return handle;
}

/* Who is told that it holds the lock does. */
static void check_flock(fuse_req_t request)
{
	const struct handle *handle;

	if (request->operation & LOCK_UN) {
		handle = handle_of_id(&request->server->mount, request->file);
		EXPECT(handle && handle->hold != HOLDS);
		return;
	}
	handle = holding(request, request->file);
	EXPECT(handle->mode == (request->operation & LOCK_SH ? RELOCK_SHARED : RELOCK_EXCLUSIVE));
}

static void check_open(fuse_req_t request, const struct fuse_file_info *info)
{
	EXPECT(info->direct_io && !info->keep_cache);
	if ((request->flags & O_ACCMODE) != O_RDONLY)
		EXPECT(holding(request, info->fh)->mode == RELOCK_EXCLUSIVE);
}

int fuse_reply_err(fuse_req_t request, int error)
{
	/* These have answers of their own. */
	EXPECT(error != 0 || request->kind >= REQUEST_FLOCK);
	if (request->kind == REQUEST_FLOCK && error == 0)
		check_flock(request);
	return answer(request, error);
}

void fuse_reply_none(fuse_req_t request)
{
	EXPECT(!request->answered && !request->parked);
	if (request->kind == REQUEST_OPEN || request->kind == REQUEST_FLOCK)
		request->parked = true;
	else
		(void)answer(request, 0);
}

int fuse_reply_entry(fuse_req_t request, const struct fuse_entry_param *entry)
{
	EXPECT(request->kind == REQUEST_LOOKUP);
	EXPECT(entry->ino > ROOT_ID && entry->entry_timeout == 0 && entry->attr_timeout == 0);
	request->node = entry->ino;
	return answer(request, 0);
}

int fuse_reply_create(fuse_req_t request, const struct fuse_entry_param *entry,
		      const struct fuse_file_info *info)
{
	EXPECT(request->kind == REQUEST_CREATE);
	EXPECT(entry->ino > ROOT_ID && entry->entry_timeout == 0 && entry->attr_timeout == 0);
	check_open(request, info);
	request->node = entry->ino;
	request->new_file = info->fh;
	return answer(request, 0);
}

int fuse_reply_open(fuse_req_t request, const struct fuse_file_info *info)
{
	EXPECT(request->kind == REQUEST_OPEN || request->kind == REQUEST_OPENDIR);
	if (request->kind == REQUEST_OPEN)
		check_open(request, info);
	request->new_file = info->fh;
	return answer(request, 0);
}

/* wire.h: to those that are parked */

int fuse_session_fd(struct fuse_session *session)
{
	return -1;
}

static fuse_req_t unpark(uint64_t number)
{
	fuse_req_t request;

	TAILQ_FOREACH(request, &fake.waiting, in_list)
	if (request->number == number)
		break;
	EXPECT(request && request->parked);
	request->parked = false;
	return request;
}

int wire_answer(int fd, uint64_t number, int error)
{
	return fuse_reply_err(unpark(number), -error) < 0 ? -ENOENT : 0;
}

int wire_answer_open(int fd, uint64_t number, uint64_t file, bool direct_io)
{
	struct fuse_file_info info = {.fh = file, .direct_io = direct_io};

	return fuse_reply_open(unpark(number), &info);
}

int fuse_reply_attr(fuse_req_t request, const struct stat *attributes, double timeout)
{
	EXPECT(timeout == 0 && attributes->st_mode != 0);
	return answer(request, 0);
}

int fuse_reply_write(fuse_req_t request, size_t count)
{
	return answer(request, 0);
}

int fuse_reply_buf(fuse_req_t request, const char *bytes, size_t size)
{
	/* All of it is there to be read. */
	char *copy = malloc(size + 1);

	EXPECT(copy);
	if (size)
		memcpy(copy, bytes, size);
	free(copy);
	return answer(request, 0);
}

int fuse_reply_xattr(fuse_req_t request, size_t count)
{
	return answer(request, 0);
}

int fuse_reply_lock(fuse_req_t request, const struct flock *lock)
{
	return answer(request, 0);
}

int fuse_reply_ioctl(fuse_req_t request, int result, const void *bytes, size_t size)
{
	return answer(request, 0);
}

int fuse_reply_poll(fuse_req_t request, unsigned events)
{
	return answer(request, 0);
}

size_t fuse_add_direntry(fuse_req_t request, char *buffer, size_t size, const char *name,
			 const struct stat *attributes, off_t next)
{
	size_t needed = (24 + strlen(name) + 7) / 8 * 8;

	EXPECT(!request->answered);
	if (needed <= size)
		memset(buffer, 0, needed);
	return needed;
}

/* libfuse: poll */

struct fuse_pollhandle {
	bool notified;
};

struct fuse_pollhandle *fake_pollhandle(void)
{
	struct fuse_pollhandle *handle = calloc(1, sizeof *handle);

	EXPECT(handle);
	fake.poll_count++;
	return handle;
}

int fuse_lowlevel_notify_poll(struct fuse_pollhandle *handle)
{
	handle->notified = true;
	return 0;
}

void fuse_pollhandle_destroy(struct fuse_pollhandle *handle)
{
	free(handle);
	fake.poll_count--;
}

/* As for nobody in particular: a group of its own, and no other. */
int fuse_req_getgroups(fuse_req_t request, int size, gid_t *list)
{
	if (size > 0)
		list[0] = request->context.gid;
	return 1;
}

/* errand.h */

static STAILQ_HEAD(errand_list, errand) errands = STAILQ_HEAD_INITIALIZER(errands);

void errands_add(struct errands *unused, struct errand *errand)
{
	errand->result = -ENODEV;
	STAILQ_INSERT_TAIL(&errands, errand, next);
	fake.errand_count += !errand->is_for_nobody;
}

bool fake_errand(void)
{
	struct errand *errand = STAILQ_FIRST(&errands);

	if (!errand)
		return false;
	STAILQ_REMOVE_HEAD(&errands, next);
	fake.errand_count -= !errand->is_for_nobody;
	/* The mount may end before it was done. */
	if (fake.coin())
		errand->run(errand);
	errand->finish(errand);
	return true;
}

/* store-wait.h */

struct store_wait {
	LIST_ENTRY(store_wait) in_list;
	struct entry *entry;
	relock_lock *lock;
	struct relock_request request;
	struct relock_on_behalf on_behalf;
	char command[32];
	bool has_it;
};

static LIST_HEAD(wait_list, store_wait) waits = LIST_HEAD_INITIALIZER(waits);

int store_wait_start(struct store_wait **ret, struct store_waits *unused, struct entry *entry,
		     relock_lock *lock, const struct relock_request *request)
{
	struct store_wait *wait = calloc(1, sizeof *wait);

	EXPECT(wait && request->on_behalf);
	wait->entry = entry;
	wait->lock = lock;
	wait->on_behalf = *request->on_behalf;
	snprintf(wait->command, sizeof wait->command, "%s",
		 wait->on_behalf.command ? wait->on_behalf.command : "");
	wait->on_behalf.command = wait->command;
	wait->request = *request;
	wait->request.timeout = 0;
	wait->request.on_behalf = &wait->on_behalf;
	LIST_INSERT_HEAD(&waits, wait, in_list);
	*ret = wait;
	return 0;
}

struct entry *store_wait_entry(const struct store_wait *wait)
{
	return wait->entry;
}

enum relock_mode store_wait_mode(const struct store_wait *wait)
{
	return wait->request.mode;
}

bool store_wait_is_queued(const struct store_wait *wait)
{
	return fake.coin();
}

static void try_wait(struct store_wait *wait)
{
	if (!wait->has_it)
		wait->has_it = relock_acquire(wait->lock, &wait->request) == 0;
}

struct store_wait *store_waits_next_done(struct store_waits *unused)
{
	struct store_wait *wait;

	LIST_FOREACH(wait, &waits, in_list)
	if (wait->has_it)
		return wait;
	return NULL;
}

int store_wait_end(struct store_wait *wait, relock_lock **ret_lock)
{
	/* It may have got it in the last moment. */
	if (fake.coin())
		try_wait(wait);
	int result = wait->has_it ? 0 : -ECANCELED;

	*ret_lock = wait->lock;
	LIST_REMOVE(wait, in_list);
	free(wait);
	return result;
}

bool fake_waits(struct mount *mount)
{
	struct store_wait *wait;

	LIST_FOREACH(wait, &waits, in_list)
	try_wait(wait);
	if (!store_waits_next_done(NULL))
		return false;
	grant_waits_done(mount);
	return true;
}
