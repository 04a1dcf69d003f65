/*
 * librelock, made wrong in one way each: an oracle that has never failed has
 * proved nothing.  test-oracle.c runs each of them and expects its failure.
 *
 *	none    everybody is granted everything
 *	early   given back before the work inside has begun
 *	deaf    who has to wait for ever does, whatever is released
 *	keeps   a release now and then leaves the lock behind
 *	token   tokens do not grow
 *	fork    a child goes on holding what its parent holds
 *	denies  a holder that was broken is told that all is well
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver.h"
#include "relock.h"

static int store_open(void **ret, const char *url)
{
	return driver_relock.store_open(ret, url);
}

static void store_close(void *store)
{
	driver_relock.store_close(store);
}

static int open_handle(void **ret, void *store, const char *name)
{
	return driver_relock.open(ret, store, name);
}

static void close_handle(void *handle)
{
	driver_relock.close(handle);
}

static int acquire(void *handle, const struct oracle_wish *wish)
{
	return driver_relock.acquire(handle, wish);
}

static int release(void *handle)
{
	return driver_relock.release(handle);
}

static const char *message(void)
{
	return driver_relock.message();
}

#define AS_RELOCK                                                                                  \
	.store_open = store_open, .store_close = store_close, .open = open_handle,                 \
	.close = close_handle, .message = message

/* none */

static int acquire_nothing(void *handle, const struct oracle_wish *wish)
{
	return 0;
}

static int release_nothing(void *handle)
{
	return 0;
}

const struct oracle_driver driver_broken_none = {
	.name = "broken-none",
	AS_RELOCK,
	.acquire = acquire_nothing,
	.release = release_nothing,
};

/* early */

static int acquire_and_drop(void *handle, const struct oracle_wish *wish)
{
	int result = acquire(handle, wish);

	if (result == 0)
		release(handle);
	return result;
}

const struct oracle_driver driver_broken_early = {
	.name = "broken-early",
	AS_RELOCK,
	.acquire = acquire_and_drop,
	.release = release_nothing,
};

/* deaf */

static int acquire_or_never(void *handle, const struct oracle_wish *wish)
{
	struct oracle_wish at_once = *wish;

	if (wish->timeout >= 0)
		return acquire(handle, wish);
	at_once.timeout = 0;
	int result = acquire(handle, &at_once);
	while (result == -EAGAIN)
		pause();
	return result;
}

const struct oracle_driver driver_broken_deaf = {
	.name = "broken-deaf",
	AS_RELOCK,
	.acquire = acquire_or_never,
	.release = release,
};

/* keeps */

static int release_mostly(void *handle)
{
	static _Thread_local unsigned count;

	/* The second descriptor has the lock, too, and nobody will close it. */
	if (++count % 64 == 0)
		return dup(relock_lock_fd(handle)) < 0 ? -errno : driver_relock.leave(handle);
	return release(handle);
}

static int acquire_to_keep(void *handle, const struct oracle_wish *wish)
{
	struct oracle_wish inherit = *wish;

	inherit.inherit = true;
	return acquire(handle, &inherit);
}

const struct oracle_driver driver_broken_keeps = {
	.name = "broken-keeps",
	AS_RELOCK,
	.acquire = acquire_to_keep,
	.release = release_mostly,
};

/* token */

static int same_token(void *handle, uint64_t *ret)
{
	*ret = 1;
	return 0;
}

const struct oracle_driver driver_broken_token = {
	.name = "broken-token",
	AS_RELOCK,
	.acquire = acquire,
	.release = release,
	.token = same_token,
};

/* fork */

static int check(void *handle)
{
	return driver_relock.check(handle);
}

const struct oracle_driver driver_broken_fork = {
	.name = "broken-fork",
	AS_RELOCK,
	.acquire = acquire_to_keep,
	.release = release,
	.check = check,
};

/* denies */

static int release_denying(void *handle)
{
	int result = release(handle);

	return result == -ESTALE ? 0 : result;
}

static int break_lock(void *store, const char *name)
{
	return driver_relock.break_lock(store, name);
}

const struct oracle_driver driver_broken_denies = {
	.name = "broken-denies",
	AS_RELOCK,
	.acquire = acquire,
	.release = release_denying,
	.break_lock = break_lock,
};
