/*
 * The mount, as drivers of the exclusion oracle.  For them the URL is the
 * mount point.
 *
 *	opener            to open for writing is to acquire, to close is to release
 *	opener-exclusive  the same, and no more than that
 *	flocker           opens to look, and calls flock(2)
 *
 * Both use whatever else a holder can do: read-opens, listings, extended
 * attributes, info.  What a holder sees must be itself, unless its hold was
 * broken: then fsync(2) says so.
 *
 * The others are the library's, which find the same locks in the store.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"

extern const struct oracle_driver driver_opener, driver_opener_exclusive, driver_flocker;

const struct oracle_driver *const oracle_drivers[] = {
	&driver_opener,           &driver_opener_exclusive, &driver_flocker,    &driver_relock,
	&driver_relock_exclusive, &driver_bare_ofd,         &driver_bare_flock, NULL,
};

struct handle {
	const char *mountpoint;
	const char *name; /* in `path` */
	int fd;           /* -1: not open */
	bool shared;
	unsigned turns; /* so that each way is taken in turn */
	char path[];
};

static int errno_or(int result)
{
	return result >= 0 ? 0 : errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

static void on_alarm(int signal)
{
}

static int mount_open(void **ret, const char *mountpoint)
{
	struct sigaction ends_waits = {.sa_handler = on_alarm};

	sigaction(SIGALRM, &ends_waits, NULL);
	*ret = strdup(mountpoint);
	return *ret ? 0 : -ENOMEM;
}

static void mount_close(void *mountpoint)
{
	free(mountpoint);
}

static int handle_open(void **ret, void *mountpoint, const char *name)
{
	size_t length = strlen(mountpoint);
	struct handle *handle = calloc(1, sizeof *handle + length + strlen(name) + 2);

	if (!handle)
		return -ENOMEM;
	handle->mountpoint = mountpoint;
	handle->fd = -1;
	sprintf(handle->path, "%s/%s", handle->mountpoint, name);
	handle->name = handle->path + length + 1;
	*ret = handle;
	return 0;
}

static void close_descriptor(struct handle *handle)
{
	if (handle->fd >= 0)
		close(handle->fd);
	handle->fd = -1;
}

static void handle_close(void *handle)
{
	close_descriptor(handle);
	free(handle);
}

/* What a child has inherited goes on, or ends with the child. */
static int leave(void *handle)
{
	close_descriptor(handle);
	return 0;
}

/* Waiting */

struct deadline {
	timer_t timer;
	bool set;
};

/* A signal for this thread when the time is over, and then again and again:
 * the first may come just before the call that it shall end. */
static void deadline_set(struct deadline *deadline, int64_t timeout)
{
	struct sigevent event = {
		.sigev_notify = SIGEV_THREAD_ID,
		.sigev_signo = SIGALRM,
		._sigev_un._tid = gettid(),
	};
	struct itimerspec span = {.it_value = {.tv_nsec = timeout},
				  .it_interval = {.tv_nsec = 5000000}};

	deadline->set = timeout > 0 && timer_create(CLOCK_MONOTONIC, &event, &deadline->timer) == 0;
	if (deadline->set)
		timer_settime(deadline->timer, 0, &span, NULL);
}

/* The result of the wait. */
static int deadline_end(struct deadline *deadline, int result)
{
	if (!deadline->set)
		return result;
	timer_delete(deadline->timer);
	return result == -EINTR ? -ETIMEDOUT : result;
}

/* Looking */

static _Thread_local char last_message[512];

static const char *message(void)
{
	return last_message;
}

/* Something is not as a holder must find it: its hold was broken. */
static int broken(const struct handle *handle, const char *what)
{
	int result = errno_or(fsync(handle->fd));

	if (result == 0)
		snprintf(last_message, sizeof last_message, "a holder sees %.480s", what);
	return result == 0 ? -EPROTO : result;
}

static int look(const struct handle *handle)
{
	char text[4096], pid[32];
	int fd = open(handle->path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return errno == ENOENT ? broken(handle, "no such lock") : -errno;
	ssize_t length = pread(fd, text, sizeof text - 1, 0);
	close(fd);
	if (length < 0)
		return -errno;
	text[length] = '\0';
	snprintf(pid, sizeof pid, "\npid: %d\n", (int)getpid());
	if (!strstr(text, "state: held\n") || (!handle->shared && !strstr(text, pid)))
		return broken(handle, text);
	return 0;
}

static int list(const struct handle *handle)
{
	DIR *directory = opendir(handle->mountpoint);
	unsigned count = 0;

	if (!directory)
		return -errno;
	for (struct dirent *entry; (entry = readdir(directory));)
		count += strcmp(entry->d_name, handle->name) == 0;
	closedir(directory);
	return count == 1 ? 0 : broken(handle, count ? "its name twice" : "its name not listed");
}

static int write_info(const struct handle *handle, uint64_t number)
{
	char info[64];
	int length = snprintf(info, sizeof info, "visit %llu\n", (unsigned long long)number);

	return errno_or((int)write(handle->fd, info, (size_t)length));
}

/* Between the look and the check it was ours, if the check says that it is
 * still. */
static int token(void *argument, uint64_t *ret)
{
	struct handle *handle = argument;
	char text[32];
	ssize_t length = fgetxattr(handle->fd, "user.relock.token", text, sizeof text - 1);

	if (length < 0)
		return errno == ENODATA ? broken(handle, "no token") : -errno;
	text[length] = '\0';
	*ret = strtoull(text, NULL, 10);
	return errno_or(fsync(handle->fd));
}

/* Holding */

static int convert(void *argument, bool shared, int64_t timeout)
{
	struct handle *handle = argument;
	int result = errno_or(flock(handle->fd, (shared ? LOCK_SH : LOCK_EX) | LOCK_NB));

	if (result == 0)
		handle->shared = shared;
	return result == -EAGAIN && timeout > 0 ? -ETIMEDOUT : result;
}

static bool upgrades_in_place(void *handle)
{
	return true;
}

static int break_lock(void *mountpoint, const char *name)
{
	char path[4096];

	snprintf(path, sizeof path, "%s/%s", (const char *)mountpoint, name);
	int result;

	/* The process that served it was killed over it: as rm's user would. */
	do
		result = errno_or(unlink(path));
	while (result == -EINTR);
	return result;
}

static int crash(const char *mountpoint)
{
	char text[32] = "", path[64], command[32] = "";

	if (getxattr(mountpoint, "user.relock.pid", text, sizeof text - 1) < 0)
		return -errno;
	pid_t pid = (pid_t)strtol(text, NULL, 10);
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (fd < 0)
		return -errno;
	/* It has this number for as long as nobody but the oracle ends it. */
	snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
	int comm = open(path, O_RDONLY | O_CLOEXEC);
	bool ours = comm >= 0 && read(comm, command, sizeof command - 1) > 0 &&
		    strncmp(command, "relockfs", 8) == 0;
	if (comm >= 0)
		close(comm);
	int result =
		ours ? errno_or((int)syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0)) : -EPERM;
	close(fd);
	return result;
}

/* opener */

static int opener_flags(struct handle *handle, int64_t timeout)
{
	unsigned turn = handle->turns++;
	int flags = O_CREAT | O_CLOEXEC | (turn % 2 ? O_RDWR : O_WRONLY);

	if (timeout == 0)
		flags |= turn % 4 < 2 ? O_NONBLOCK : O_EXCL;
	else if (turn % 8 == 7)
		flags |= O_TRUNC;
	return flags;
}

static int opener_try(struct handle *handle, const struct oracle_wish *wish)
{
	int flags = opener_flags(handle, wish->timeout), fd = -1;

	/* Without O_CREAT there is something to wait for, or ENOENT. */
	if (wish->timeout < 0 && handle->turns % 8 == 0)
		fd = open(handle->path, flags & ~O_CREAT);
	if (fd < 0)
		fd = open(handle->path, flags, 0666);
	handle->fd = fd;
	if (fd < 0)
		return errno == EEXIST ? -EAGAIN : errno_or(fd);
	handle->shared = wish->shared;
	return wish->shared ? errno_or(flock(fd, LOCK_SH)) : 0;
}

static int opener_acquire(void *argument, const struct oracle_wish *wish)
{
	struct handle *handle = argument;
	struct deadline deadline;
	int result;

	deadline_set(&deadline, wish->timeout);
	do {
		close_descriptor(handle);
		result = opener_try(handle, wish);
		/* Broken before it was shared: once more. */
	} while (result == -ESTALE && handle->fd >= 0);
	result = deadline_end(&deadline, result);
	if (result < 0)
		close_descriptor(handle);
	return result;
}

/* fsync(2) says if it was broken, and so does LOCK_UN. */
static int opener_release(void *argument)
{
	struct handle *handle = argument;
	int result = errno_or(handle->turns % 2 ? fsync(handle->fd) : flock(handle->fd, LOCK_UN));

	close_descriptor(handle);
	return result;
}

static int opener_touch(void *argument, uint64_t number)
{
	struct handle *handle = argument;

	switch (number % 8) {
	case 0:
		return list(handle);
	case 1:
	case 2:
		return errno_or(fsync(handle->fd));
	case 3:
	case 4:
		return look(handle);
	default:
		return write_info(handle, number);
	}
}

const struct oracle_driver driver_opener = {
	.name = "opener",
	.children_hold = true,
	.store_open = mount_open,
	.store_close = mount_close,
	.open = handle_open,
	.close = handle_close,
	.acquire = opener_acquire,
	.release = opener_release,
	.convert = convert,
	.upgrades_in_place = upgrades_in_place,
	.token = token,
	.touch = opener_touch,
	.leave = leave,
	.break_lock = break_lock,
	.crash = crash,
	.message = message,
};

/* Where the store has no shared locks. */
const struct oracle_driver driver_opener_exclusive = {
	.name = "opener-exclusive",
	.exclusive_only = true,
	.children_hold = true,
	.store_open = mount_open,
	.store_close = mount_close,
	.open = handle_open,
	.close = handle_close,
	.acquire = opener_acquire,
	.release = opener_release,
	.token = token,
	.touch = opener_touch,
	.leave = leave,
	.break_lock = break_lock,
	.crash = crash,
	.message = message,
};

/* flocker */

static int flocker_acquire(void *argument, const struct oracle_wish *wish)
{
	struct handle *handle = argument;
	int operation = (wish->shared ? LOCK_SH : LOCK_EX) | (wish->timeout == 0 ? LOCK_NB : 0);
	struct deadline deadline;

	if (handle->fd < 0)
		handle->fd = open(handle->path, O_RDONLY | O_CREAT | O_CLOEXEC, 0666);
	if (handle->fd < 0)
		return -errno;
	deadline_set(&deadline, wish->timeout);
	int result = deadline_end(&deadline, errno_or(flock(handle->fd, operation)));
	if (result == 0)
		handle->shared = wish->shared;
	return result;
}

static int flocker_release(void *argument)
{
	return errno_or(flock(((struct handle *)argument)->fd, LOCK_UN));
}

/* A descriptor whose hold was broken stays so until it is told to unlock. */
static int unlock_if_stale(const struct handle *handle, int result)
{
	if (result == -ESTALE)
		(void)flock(handle->fd, LOCK_UN);
	return result;
}

/* Waiting for it, now and then: flock(2) gives up the shared lock for that. */
static bool flocker_upgrades_in_place(void *argument)
{
	return ((struct handle *)argument)->turns++ % 4 != 0;
}

static int flocker_convert(void *argument, bool shared, int64_t timeout)
{
	struct handle *handle = argument;
	struct deadline deadline;

	if (shared || handle->turns % 4 != 1)
		return unlock_if_stale(handle, convert(handle, shared, timeout));
	deadline_set(&deadline, timeout > 0 ? timeout : 1000000);
	int result = deadline_end(&deadline, errno_or(flock(handle->fd, LOCK_EX)));
	handle->shared = false;
	/* Whatever has kept it from the exclusive lock, it has none now. */
	return unlock_if_stale(handle, result == -ETIMEDOUT || result == -EINTR ? -ESTALE : result);
}

static int flocker_touch(void *argument, uint64_t number)
{
	struct handle *handle = argument;
	int result;

	if (number % 8 == 0)
		result = list(handle);
	else
		result = number % 2 ? look(handle) : errno_or(fsync(handle->fd));
	return unlock_if_stale(handle, result);
}

const struct oracle_driver driver_flocker = {
	.name = "flocker",
	.children_hold = true,
	.store_open = mount_open,
	.store_close = mount_close,
	.open = handle_open,
	.close = handle_close,
	.acquire = flocker_acquire,
	.release = flocker_release,
	.convert = flocker_convert,
	.upgrades_in_place = flocker_upgrades_in_place,
	.token = token,
	.touch = flocker_touch,
	.leave = leave,
	.break_lock = break_lock,
	.crash = crash,
	.message = message,
};
