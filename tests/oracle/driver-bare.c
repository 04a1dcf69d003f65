/*
 * Locks by bare system calls on the files of a store: what flock(1) and
 * programs with open-file-description locks do, who know nothing of relock but
 * where the file is.  Mixed with librelock in one run they show that a store
 * works together with them.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "driver.h"

/* A store is its folder's descriptor, a handle a descriptor of the file. */
struct bare {
	int fd;
};

static int bare_make(void **ret, int fd)
{
	struct bare *bare = fd < 0 ? NULL : malloc(sizeof *bare);

	if (!bare)
		return fd < 0 ? -errno : -ENOMEM;
	bare->fd = fd;
	*ret = bare;
	return 0;
}

static void bare_close(void *argument)
{
	struct bare *bare = argument;

	if (!bare)
		return;
	close(bare->fd);
	free(bare);
}

static int store_open(void **ret, const char *url)
{
	const char *colon = strchr(url, ':');

	return bare_make(ret, open(colon ? colon + 1 : url, O_PATH | O_DIRECTORY | O_CLOEXEC));
}

static int open_handle(void **ret, void *store, const char *name)
{
	/* As relock's own open: see fs.protected_regular. */
	return bare_make(ret, openat(((struct bare *)store)->fd, name,
				     O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666));
}

static int errno_or(int result)
{
	return result == 0 ? 0 : errno == EACCES || errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

static int set_ofd(void *handle, short type, bool wait)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET};

	return errno_or(
		fcntl(((struct bare *)handle)->fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock));
}

/* A timeout is a try: nobody cancels a bare wait. */
static int acquire_ofd(void *handle, const struct oracle_wish *wish)
{
	int result = set_ofd(handle, wish->shared ? F_RDLCK : F_WRLCK, wish->timeout < 0);

	return result == -EAGAIN && wish->timeout > 0 ? -ETIMEDOUT : result;
}

static int release_ofd(void *handle)
{
	return set_ofd(handle, F_UNLCK, false);
}

static int acquire_flock(void *handle, const struct oracle_wish *wish)
{
	int operation = (wish->shared ? LOCK_SH : LOCK_EX) | (wish->timeout < 0 ? 0 : LOCK_NB);
	int result = errno_or(flock(((struct bare *)handle)->fd, operation));

	return result == -EAGAIN && wish->timeout > 0 ? -ETIMEDOUT : result;
}

static int release_flock(void *handle)
{
	return errno_or(flock(((struct bare *)handle)->fd, LOCK_UN));
}

const struct oracle_driver driver_bare_ofd = {
	.name = "bare-ofd",
	.store_open = store_open,
	.store_close = bare_close,
	.open = open_handle,
	.close = bare_close,
	.acquire = acquire_ofd,
	.release = release_ofd,
};

const struct oracle_driver driver_bare_flock = {
	.name = "bare-flock",
	.store_open = store_open,
	.store_close = bare_close,
	.open = open_handle,
	.close = bare_close,
	.acquire = acquire_flock,
	.release = release_flock,
};
