/*
 * Legacy record locks, as drivers of the exclusion oracle: all locks are ranges
 * of one file, and the process is the holder.
 *
 *	legacy     a program that knows the rules: it opens the file once, and
 *	           closes it at its end
 *	careless   one that does not: each handle has an open of its own, and
 *	           now and then the file is opened and closed once more, by
 *	           somebody who knows nothing of the locks
 *
 * Natively `careless` loses its locks with the first close (row 4), and the
 * oracle must say so.  Under the shim it must come to no harm.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "driver.h"

enum { RANGE_LENGTH = 10 };

const struct oracle_driver driver_legacy, driver_careless;
const struct oracle_driver *const oracle_drivers[] = {&driver_legacy, &driver_careless, NULL};

struct file {
	char *path;
	int fd; /* of `legacy` */
};

struct handle {
	const struct file *file;
	int fd;
	int duplicate; /* of `careless`, or -1 */
	off_t start;
	unsigned turns; /* so that each way is taken in turn */
};

static int errno_or(int result)
{
	return result == 0 ? 0 : errno == EACCES ? -EAGAIN : -errno;
}

static void file_close(void *store)
{
	struct file *file = store;

	if (!file)
		return;
	if (file->fd >= 0)
		close(file->fd);
	free(file->path);
	free(file);
}

static int file_make(struct file **ret, const char *url)
{
	const char *colon = strchr(url, ':');
	struct file *file = malloc(sizeof *file);

	if (!file)
		return -ENOMEM;
	file->fd = -1;
	if (asprintf(&file->path, "%s/legacy", colon ? colon + 1 : url) < 0) {
		free(file);
		return -ENOMEM;
	}
	*ret = file;
	return 0;
}

static int file_open(const struct file *file)
{
	int fd = open(file->path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

	return fd < 0 ? -errno : fd;
}

static int handle_make(struct handle **ret, const struct file *file, const char *name)
{
	struct handle *handle = malloc(sizeof *handle);

	if (!handle)
		return -ENOMEM;
	*handle = (struct handle){
		.file = file,
		.fd = file->fd,
		.duplicate = -1,
		.start = strtol(strrchr(name, '-') + 1, NULL, 10) * RANGE_LENGTH,
	};
	*ret = handle;
	return 0;
}

static int set(const struct handle *handle, int fd, short type, bool wait)
{
	struct flock lock = {.l_type = type, .l_start = handle->start, .l_len = RANGE_LENGTH};

	return errno_or(fcntl(fd, wait ? F_SETLKW : F_SETLK, &lock));
}

static int set_by_lockf(const struct handle *handle, int command)
{
	if (lseek(handle->fd, handle->start, SEEK_SET) < 0)
		return -errno;
	return errno_or(lockf(handle->fd, command, RANGE_LENGTH));
}

/* A timeout is a try: nobody cancels a bare wait. */
static int try_result(int result, int64_t timeout)
{
	return result == -EAGAIN && timeout > 0 ? -ETIMEDOUT : result;
}

static int acquire(void *argument, const struct oracle_wish *wish)
{
	struct handle *handle = argument;
	bool wait = wish->timeout < 0;
	int result;

	if (!wish->shared && handle->turns++ % 4 == 0)
		result = set_by_lockf(handle, wait ? F_LOCK : F_TLOCK);
	else
		result = set(handle, handle->fd, wish->shared ? F_RDLCK : F_WRLCK, wait);
	return try_result(result, wish->timeout);
}

static int release(void *argument)
{
	struct handle *handle = argument;

	return handle->turns++ % 4 == 0 ? set_by_lockf(handle, F_ULOCK)
					: set(handle, handle->fd, F_UNLCK, false);
}

static int convert(void *argument, bool shared, int64_t timeout)
{
	struct handle *handle = argument;

	return try_result(set(handle, handle->fd, shared ? F_RDLCK : F_WRLCK, false), timeout);
}

static bool upgrades_in_place(void *argument)
{
	return true;
}

/* In a child that has inherited the descriptor, and none of the locks: giving
 * back what it has not got must change nothing.  If it does, the next one
 * comes in while the parent is inside. */
static int check(void *argument)
{
	struct handle *handle = argument;
	int result = set(handle, handle->fd, F_UNLCK, false);

	close(dup(handle->fd));
	return result == 0 ? -ENOENT : result;
}

/* legacy */

static int legacy_store_open(void **ret, const char *url)
{
	struct file *file = NULL;
	int result = file_make(&file, url);

	if (result < 0)
		return result;
	file->fd = file_open(file);
	if (file->fd < 0) {
		result = file->fd;
		file_close(file);
		return result;
	}
	*ret = file;
	return 0;
}

static int legacy_open(void **ret, void *store, const char *name)
{
	struct handle *handle = NULL;
	int result = handle_make(&handle, store, name);

	*ret = handle;
	return result;
}

static void legacy_close(void *argument)
{
	struct handle *handle = argument;

	set(handle, handle->fd, F_UNLCK, false);
	free(handle);
}

const struct oracle_driver driver_legacy = {
	.name = "legacy",
	.holds_by_process = true,
	.store_open = legacy_store_open,
	.store_close = file_close,
	.open = legacy_open,
	.close = legacy_close,
	.acquire = acquire,
	.release = release,
	.convert = convert,
	.upgrades_in_place = upgrades_in_place,
	.check = check,
};

/* careless */

static int careless_store_open(void **ret, const char *url)
{
	struct file *file = NULL;
	int result = file_make(&file, url);

	*ret = file;
	return result;
}

static int careless_open(void **ret, void *store, const char *name)
{
	struct handle *handle = NULL;
	int result = handle_make(&handle, store, name);

	if (result < 0)
		return result;
	handle->fd = file_open(handle->file);
	if (handle->fd < 0) {
		result = handle->fd;
		free(handle);
		return result;
	}
	*ret = handle;
	return 0;
}

/* Gives the lock back by that, row 5. */
static void careless_close(void *argument)
{
	struct handle *handle = argument;

	if (handle->duplicate >= 0)
		close(handle->duplicate);
	close(handle->fd);
	free(handle);
}

/* Through whichever descriptor is at hand, row 7. */
static int careless_release(void *argument)
{
	struct handle *handle = argument;

	if (handle->turns++ % 2 == 0)
		return release(handle);
	int fd = file_open(handle->file);
	if (fd < 0)
		return fd;
	int result = set(handle, fd, F_UNLCK, false);
	close(fd);
	return result;
}

/* Closes a descriptor of the file, rows 4 and 6. */
static int careless_touch(void *argument, uint64_t number)
{
	struct handle *handle = argument;
	FILE *stream;
	int fd;

	switch (number % 4) {
	case 0:
		fd = file_open(handle->file);
		return fd < 0 ? fd : errno_or(close(fd));
	case 1:
		stream = fopen(handle->file->path, "re");
		return stream ? errno_or(fclose(stream)) : -errno;
	case 2:
		return errno_or(close(dup(handle->fd)));
	default:
		/* The duplicate before goes, and what it had locked stays. */
		fd = fcntl(handle->fd, F_DUPFD_CLOEXEC, 0);
		if (fd < 0)
			return -errno;
		if (handle->duplicate >= 0)
			close(handle->duplicate);
		handle->duplicate = handle->fd;
		handle->fd = fd;
		return 0;
	}
}

const struct oracle_driver driver_careless = {
	.name = "careless",
	.holds_by_process = true,
	.store_open = careless_store_open,
	.store_close = file_close,
	.open = careless_open,
	.close = careless_close,
	.acquire = acquire,
	.release = careless_release,
	.convert = convert,
	.upgrades_in_place = upgrades_in_place,
	.touch = careless_touch,
	.check = check,
};
