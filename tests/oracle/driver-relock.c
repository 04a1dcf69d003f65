/*
 * librelock, as any program uses it.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "driver.h"
#include "relock.h"

static int store_open(void **ret, const char *url)
{
	relock_store *store = NULL;
	int result = relock_store_open(&store, url);

	*ret = store;
	return result;
}

static void store_close(void *store)
{
	relock_store_close(store);
}

static int open_handle(void **ret, void *store, const char *name)
{
	relock_lock *lock = NULL;
	int result = relock_lock_open(&lock, store, name);

	*ret = lock;
	return result;
}

static void close_handle(void *handle)
{
	relock_lock_close(handle);
}

static int acquire(void *handle, const struct oracle_wish *wish)
{
	struct relock_request request = RELOCK_REQUEST_INIT;

	request.mode = wish->shared ? RELOCK_SHARED : RELOCK_EXCLUSIVE;
	request.flags = wish->inherit ? RELOCK_INHERIT : 0;
	request.timeout = wish->timeout;
	return relock_acquire(handle, &request);
}

static int release(void *handle)
{
	return relock_release(handle);
}

static int convert(void *handle, bool shared, int64_t timeout)
{
	return relock_convert(handle, shared ? RELOCK_SHARED : RELOCK_EXCLUSIVE, timeout);
}

/* flock(2) does not. */
static bool upgrades_in_place(void *handle)
{
	return strncmp(relock_store_url(relock_lock_store(handle)), "flock:", 6) != 0;
}

static int token(void *handle, uint64_t *ret)
{
	return relock_token(handle, ret);
}

static int touch(void *handle, uint64_t number)
{
	char info[64];

	if (number % 2 == 0)
		return relock_check(handle);
	int length = snprintf(info, sizeof info, "visit %" PRIu64, number);
	int result = relock_set_info(handle, info, (size_t)length);
	/* A shared hold may have no record, if the slots were busy. */
	return result == -ENODATA ? 0 : result;
}

static int check(void *handle)
{
	return relock_check(handle);
}

static int leave(void *handle)
{
	return relock_leave(handle);
}

static int break_lock(void *store, const char *name)
{
	return relock_break(store, name, NULL);
}

const struct oracle_driver driver_relock = {
	.name = "relock",
	.store_open = store_open,
	.store_close = store_close,
	.open = open_handle,
	.close = close_handle,
	.acquire = acquire,
	.release = release,
	.convert = convert,
	.upgrades_in_place = upgrades_in_place,
	.token = token,
	.touch = touch,
	.check = check,
	.leave = leave,
	.break_lock = break_lock,
	.message = relock_error_message,
};

/* Nothing is shared there, and nothing inherited. */
const struct oracle_driver driver_relock_exclusive = {
	.name = "relock-exclusive",
	.exclusive_only = true,
	.store_open = store_open,
	.store_close = store_close,
	.open = open_handle,
	.close = close_handle,
	.acquire = acquire,
	.release = release,
	.token = token,
	.touch = touch,
	.check = check,
	.break_lock = break_lock,
	.message = relock_error_message,
};
