/*
 * Handles: what is the same for all stores.  Arguments are checked here, one
 * holder a handle is enforced, cancellation is kept out of everything but the
 * wait, and results get their message.
 *
 * The handle's mutex is held through an operation, except while it waits:
 * then `waiting` keeps the others out, and they get -EBUSY instead of waiting
 * for the waiter.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cancellation.h"
#include "cleanup.h"
#include "clock.h"
#include "fork.h"
#include "message.h"
#include "record.h"
#include "store.h"

static int open_in(relock_lock **ret, relock_store *store, bool owns_store, const char *name,
		   bool any_dot)
{
	int result = name_check(name, any_dot);
	if (result < 0)
		return result;
	relock_lock *lock = calloc(1, sizeof *lock + store->operations->lock_size);
	if (!lock)
		return -ENOMEM;
	lock->name = strdup(name);
	lock->store = store;
	pthread_mutex_init(&lock->mutex, NULL);
	result = lock->name ? store->operations->lock_open(lock) : -ENOMEM;
	if (result < 0) {
		free(lock->name);
		free(lock);
		return result;
	}
	lock->owns_store = owns_store;
	fork_enter(lock);
	*ret = lock;
	return 0;
}

int relock_lock_open(relock_lock **ret, relock_store *store, const char *name)
{
	WITHOUT_CANCELLATION;

	message_begin();
	return message_end(open_in(ret, store, false, name, false), name);
}

static bool is_path(const char *name)
{
	return *name == '/' || strncmp(name, "./", 2) == 0 || strncmp(name, "../", 3) == 0;
}

static int open_path(relock_lock **ret, const char *path)
{
	const char *name = strrchr(path, '/') + 1;
	CLEANUP_FREE char *url = NULL;
	relock_store *store = NULL;
	/* Of "/tmp/a" the folder is "/tmp"; of "/a" it is "/". */
	int length = (int)(name - 1 > path ? name - 1 - path : 1);

	if (asprintf(&url, "ofd:%.*s", length, path) < 0)
		return -ENOMEM;
	int result = name_check(name, true);
	if (result == 0)
		result = store_open(&store, url, true);
	if (result == 0)
		result = open_in(ret, store, true, name, true);
	if (result < 0)
		relock_store_close(store);
	return result;
}

static int open_default(relock_lock **ret, const char *name)
{
	relock_store *store = NULL;

	int result = store_open(&store, NULL, false);
	if (result == 0)
		result = open_in(ret, store, true, name, false);
	if (result < 0)
		relock_store_close(store);
	return result;
}

int relock_lock_open_path(relock_lock **ret, relock_store *store, const char *name)
{
	WITHOUT_CANCELLATION;
	int result;

	message_begin();
	if (is_path(name))
		result = open_path(ret, name);
	else if (store)
		result = open_in(ret, store, false, name, false);
	else
		result = open_default(ret, name);
	return message_end(result, name);
}

void relock_lock_close(relock_lock *lock)
{
	WITHOUT_CANCELLATION;

	if (!lock)
		return;
	const struct store_operations *operations = lock->store->operations;
	if (lock->held && lock->flags & RELOCK_INHERIT)
		operations->leave(lock);
	else if (lock->held)
		operations->release(lock);
	operations->lock_close(lock);
	fork_leave(lock);
	if (lock->owns_store)
		relock_store_close(lock->store);
	pthread_mutex_destroy(&lock->mutex);
	free(lock->name);
	free(lock);
}

const char *relock_lock_name(const relock_lock *lock)
{
	return lock->name;
}

relock_store *relock_lock_store(const relock_lock *lock)
{
	return lock->store;
}

/* Programs compiled before there were lifetimes have a smaller request. */
static int64_t lifetime_of(const struct relock_request *request)
{
	size_t end = offsetof(struct relock_request, lifetime) + sizeof request->lifetime;

	return request->size >= end ? request->lifetime : 0;
}

static int check_request(const struct relock_request *request)
{
	if (request->size < offsetof(struct relock_request, lifetime))
		return failed(-EINVAL, "a request without its size: use RELOCK_REQUEST_INIT");
	if (request->mode != RELOCK_EXCLUSIVE && request->mode != RELOCK_SHARED)
		return failed(-EINVAL, "unknown mode %d", (int)request->mode);
	if (request->flags & ~(RELOCK_INHERIT | RELOCK_SAME_HOLDER_OK | RELOCK_REFRESH))
		return failed(-EINVAL, "unknown flags %#x", request->flags);
	if (request->timeout < RELOCK_FOREVER)
		return failed(-EINVAL, "a timeout cannot be negative");
	if (lifetime_of(request) < 0)
		return failed(-EINVAL, "a lifetime cannot be negative");
	if (request->on_behalf && request->on_behalf->via != RELOCK_VIA_MOUNT &&
	    request->on_behalf->via != RELOCK_VIA_GET)
		return failed(-EINVAL, "unknown way %d to hold for somebody else",
			      (int)request->on_behalf->via);
	if (request->info_length > RELOCK_INFO_MAX)
		return failed(-EFBIG, "an info text has at most %d bytes, not %zu", RELOCK_INFO_MAX,
			      request->info_length);
	return 0;
}

static struct grant grant_of(const struct relock_request *request)
{
	return (struct grant){
		.mode = request->mode,
		.deadline = AT_ONCE,
		.cancel_state = PTHREAD_CANCEL_DISABLE,
		.flags = request->flags,
		.info = request->info,
		.info_length = request->info_length,
		.command = request->command,
		.on_behalf = request->on_behalf,
		.lifetime = lifetime_of(request),
	};
}

typedef int wait_step(relock_lock *lock, const struct grant *grant);

static void stop_waiting(void *argument)
{
	relock_lock *lock = argument;

	pthread_mutex_lock(&lock->mutex);
	lock->waiting = false;
	pthread_mutex_unlock(&lock->mutex);
}

/* With the mutex held on entry and on exit, but not in between. */
static int wait_with(relock_lock *lock, wait_step *step, struct grant *grant, int64_t timeout,
		     int cancel_state)
{
	int result;

	grant->deadline = deadline_after(timeout);
	grant->cancel_state = cancel_state;
	lock->waiting = true;
	pthread_mutex_unlock(&lock->mutex);
	pthread_cleanup_push(stop_waiting, lock);
	result = step(lock, grant);
	pthread_cleanup_pop(0);
	pthread_mutex_lock(&lock->mutex);
	lock->waiting = false;
	return result;
}

/* At once, or else with a wait: nothing is measured or made that an
 * uncontended lock can do without. */
static int take(relock_lock *lock, wait_step *step, struct grant *grant, int64_t timeout,
		int cancel_state)
{
	int result = step(lock, grant);

	if (result == -EAGAIN && timeout != 0)
		result = wait_with(lock, step, grant, timeout, cancel_state);
	return result;
}

static void hold_ended(relock_lock *lock)
{
	lock->held = false;
	lock->flags = 0;
}

static int acquire(relock_lock *lock, const struct relock_request *request, int cancel_state)
{
	const struct store_operations *operations = lock->store->operations;
	struct grant grant = grant_of(request);

	if (lock->waiting)
		return failed(-EBUSY, "%s: another thread waits with this handle", lock->name);
	if (lock->held) {
		int result = operations->check(lock);
		if (result == -ESTALE)
			hold_ended(lock);
		if (result < 0)
			return result;
		if (request->flags & RELOCK_SAME_HOLDER_OK && lock->mode == request->mode)
			return 0;
		return failed(-EALREADY, "%s: held already through this handle", lock->name);
	}
	int result = take(lock, operations->acquire, &grant, request->timeout, cancel_state);
	if (result < 0)
		return result;
	lock->held = true;
	lock->mode = request->mode;
	lock->flags = request->flags;
	return 0;
}

int relock_acquire(relock_lock *lock, const struct relock_request *request)
{
	WITHOUT_CANCELLATION;

	message_begin();
	int result = check_request(request);
	if (result < 0)
		return result;
	pthread_mutex_lock(&lock->mutex);
	result = acquire(lock, request, cancel_state);
	pthread_mutex_unlock(&lock->mutex);
	debug("%s: acquire %s: %s", lock->name,
	      request->mode == RELOCK_SHARED ? "shared" : "exclusive",
	      result < 0 ? strerrorname_np(-result) : "granted");
	return message_end(result, lock->name);
}

static int adopt(relock_lock *lock, int fd, const struct relock_request *request)
{
	struct grant grant = grant_of(request);
	int result = lock->waiting ? -EBUSY : lock->held ? -EALREADY : 0;

	if (result < 0) {
		close(fd);
		return failed(result, "%s: this handle is in use", lock->name);
	}
	result = lock->store->operations->adopt(lock, fd, &grant);
	if (result < 0)
		return result;
	lock->held = true;
	lock->mode = request->mode;
	lock->flags = request->flags;
	return 0;
}

int relock_adopt(relock_lock *lock, int fd, const struct relock_request *request)
{
	WITHOUT_CANCELLATION;

	message_begin();
	int result = check_request(request);
	if (result < 0) {
		close(fd);
		return result;
	}
	pthread_mutex_lock(&lock->mutex);
	result = adopt(lock, fd, request);
	pthread_mutex_unlock(&lock->mutex);
	debug("%s: adopt descriptor %d: %s", lock->name, fd,
	      result < 0 ? strerrorname_np(-result) : "held");
	return message_end(result, lock->name);
}

/* Why a handle that holds nothing cannot give it back. */
static int not_held(relock_lock *lock)
{
	int result = lock->waiting ? -EAGAIN : lock->store->operations->probe(lock);

	if (result == -EAGAIN)
		return failed(-EPERM, "%s: not held here, but by somebody else", lock->name);
	if (result < 0)
		return result;
	return failed(-ENOENT, "%s: not held", lock->name);
}

/* Runs an operation on the hold of a handle, under its mutex. */
static int on_hold(relock_lock *lock, int (*step)(relock_lock *lock, void *argument),
		   void *argument)
{
	WITHOUT_CANCELLATION;

	message_begin();
	pthread_mutex_lock(&lock->mutex);
	int result = lock->waiting && lock->held ? -EBUSY
		     : lock->held                ? step(lock, argument)
						 : not_held(lock);
	if (result == -ESTALE)
		hold_ended(lock);
	pthread_mutex_unlock(&lock->mutex);
	return message_end(result, lock->name);
}

static int release(relock_lock *lock, void *argument)
{
	int result = lock->store->operations->release(lock);

	hold_ended(lock);
	return result;
}

int relock_release(relock_lock *lock)
{
	WITHOUT_CANCELLATION;

	int result = on_hold(lock, release, NULL);

	debug("%s: release: %s", lock->name, result < 0 ? strerrorname_np(-result) : "done");
	return result;
}

static int leave(relock_lock *lock, void *argument)
{
	const struct store_operations *operations = lock->store->operations;
	bool inherited = lock->flags & RELOCK_INHERIT;
	int result = inherited ? operations->leave(lock) : operations->release(lock);

	hold_ended(lock);
	return result;
}

int relock_leave(relock_lock *lock)
{
	WITHOUT_CANCELLATION;

	int result = on_hold(lock, leave, NULL);

	debug("%s: leave: %s", lock->name, result < 0 ? strerrorname_np(-result) : "done");
	return result;
}

struct conversion {
	enum relock_mode mode;
	int64_t timeout;
	int cancel_state;
};

static int convert(relock_lock *lock, void *argument)
{
	const struct conversion *conversion = argument;
	struct grant grant = {.mode = conversion->mode,
			      .deadline = AT_ONCE,
			      .cancel_state = PTHREAD_CANCEL_DISABLE};

	int result = lock->store->operations->check(lock);
	if (result < 0 || lock->mode == conversion->mode)
		return result;
	result = take(lock, lock->store->operations->convert, &grant, conversion->timeout,
		      conversion->cancel_state);
	if (result == 0)
		lock->mode = conversion->mode;
	return result;
}

int relock_convert(relock_lock *lock, enum relock_mode mode, int64_t timeout)
{
	WITHOUT_CANCELLATION;
	struct conversion conversion = {mode, timeout, cancel_state};
	struct relock_request request = RELOCK_REQUEST_INIT;

	request.mode = mode;
	request.timeout = timeout;
	message_begin();
	int result = check_request(&request);
	return result < 0 ? result : on_hold(lock, convert, &conversion);
}

static int pass(relock_lock *lock, void *argument)
{
	const struct relock_request *request = *(const struct relock_request **)argument;
	struct grant grant = grant_of(request);

	if (request->mode != lock->mode)
		return failed(-EINVAL, "%s: a hold is passed on in its mode", lock->name);
	return lock->store->operations->pass(lock, &grant);
}

int relock_pass(relock_lock *lock, const struct relock_request *request)
{
	message_begin();
	int result = check_request(request);
	return result < 0 ? result : on_hold(lock, pass, &request);
}

static int check(relock_lock *lock, void *argument)
{
	return lock->store->operations->check(lock);
}

int relock_check(relock_lock *lock)
{
	message_begin();
	pthread_mutex_lock(&lock->mutex);
	bool held = lock->held;
	pthread_mutex_unlock(&lock->mutex);
	return held ? on_hold(lock, check, NULL) : message_end(-ENOENT, lock->name);
}

static int refresh(relock_lock *lock, void *argument)
{
	const struct store_operations *operations = lock->store->operations;
	const int64_t *lifetime = argument;

	return operations->refresh ? operations->refresh(lock, *lifetime) : operations->check(lock);
}

int relock_refresh(relock_lock *lock, int64_t lifetime)
{
	message_begin();
	if (lifetime < 0)
		return failed(-EINVAL, "a lifetime cannot be negative");
	int result = on_hold(lock, refresh, &lifetime);
	debug("%s: refresh: %s", lock->name, result < 0 ? strerrorname_np(-result) : "done");
	return result;
}

static int mark_broken(relock_lock *lock, void *argument)
{
	return lock->store->operations->mark_broken(lock, argument);
}

int relock_mark_broken(relock_lock *lock, pid_t pid, uid_t uid, const char *command)
{
	struct breaker by = {pid, uid, command};

	return on_hold(lock, mark_broken, &by);
}

struct text {
	const void *bytes;
	size_t length;
};

static int set_info(relock_lock *lock, void *argument)
{
	const struct text *text = argument;

	return lock->store->operations->set_info(lock, text->bytes, text->length);
}

int relock_set_info(relock_lock *lock, const void *info, size_t length)
{
	struct text text = {info, length};

	message_begin();
	if (length > RELOCK_INFO_MAX)
		return failed(-EFBIG, "%s: an info text has at most %d bytes, not %zu", lock->name,
			      RELOCK_INFO_MAX, length);
	return on_hold(lock, set_info, &text);
}

int relock_info(const relock_lock *lock, char **ret, size_t *ret_length)
{
	relock_lock *changeable = (relock_lock *)lock; /* its mutex is not the caller's business */

	message_begin();
	pthread_mutex_lock(&changeable->mutex);
	int result = lock->held ? lock->store->operations->info(lock, ret, ret_length) : -ENOENT;
	pthread_mutex_unlock(&changeable->mutex);
	return message_end(result, lock->name);
}

int relock_token(const relock_lock *lock, uint64_t *ret)
{
	relock_lock *changeable = (relock_lock *)lock; /* its mutex is not the caller's business */

	message_begin();
	pthread_mutex_lock(&changeable->mutex);
	int result = !lock->held                   ? -ENOENT
		     : lock->mode == RELOCK_SHARED ? -ENODATA
						   : lock->store->operations->token(lock, ret);
	pthread_mutex_unlock(&changeable->mutex);
	return message_end(result, lock->name);
}

int relock_lock_fd(const relock_lock *lock)
{
	return lock->store->operations->fd(lock);
}
