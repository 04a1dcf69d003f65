/*
 * Locks as Core_unix's Lock_file.Nfs takes them, for tests that nfslock: works
 * together with it where there is no OCaml: the protocol as its documentation and
 * its source have it (github.com/janestreet/core_unix, lock_file_blocking), in both
 * versions.
 *
 *	create      makes NAME, links it to NAME.nfs_lock, then writes into it
 *	create_v2   writes NAME.DIGEST.lock-attempt, links that to NAME.nfs_lock,
 *	            and writes the same into NAME
 *
 * Either first looks whether NAME.nfs_lock names a process of this host that is
 * gone, and if so removes both names, under a flock(2) lock on the file.  A
 * waiter tries again after a random while; of up to 300 ms there, of less here.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "driver.h"

struct folder {
	int fd;
};

struct core_lock {
	int folder;
	bool first_version, held;
	char name[64], lock[80];
};

static int store_open(void **ret, const char *url)
{
	const char *colon = strchr(url, ':');
	struct folder *folder = malloc(sizeof *folder);

	if (!folder)
		return -ENOMEM;
	folder->fd = open(colon ? colon + 1 : url, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (folder->fd < 0) {
		free(folder);
		return -errno;
	}
	*ret = folder;
	return 0;
}

static void store_close(void *argument)
{
	struct folder *folder = argument;

	close(folder->fd);
	free(folder);
}

static int open_handle(void **ret, void *store, const char *name, bool first_version)
{
	struct core_lock *lock = malloc(sizeof *lock);

	if (!lock)
		return -ENOMEM;
	*lock = (struct core_lock){.folder = ((struct folder *)store)->fd,
				   .first_version = first_version};
	snprintf(lock->name, sizeof lock->name, "%s", name);
	snprintf(lock->lock, sizeof lock->lock, "%s.nfs_lock", lock->name);
	*ret = lock;
	return 0;
}

static int open_v1(void **ret, void *store, const char *name)
{
	return open_handle(ret, store, name, true);
}

static int open_v2(void **ret, void *store, const char *name)
{
	return open_handle(ret, store, name, false);
}

/* The text */

static long long start_ticks(pid_t pid)
{
	char path[48], text[1024] = "";

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
	if (fd >= 0)
		close(fd);
	const char *at = length > 0 ? strrchr(text, ')') : NULL;
	for (int field = 0; at && field < 20; field++)
		at = strchr(at + 1, ' ');
	return at ? strtoll(at + 1, NULL, 10) : -1;
}

static long long boot_time(void)
{
	FILE *file = fopen("/proc/stat", "re");
	char line[4096];
	long long boot = 0;

	while (file && fgets(line, sizeof line, file))
		if (sscanf(line, "btime %lld", &boot) == 1)
			break;
	if (file)
		fclose(file);
	return boot;
}

static void write_text(char *text, size_t size, bool for_people)
{
	long hertz = sysconf(_SC_CLK_TCK);
	long long ticks = start_ticks(getpid());
	time_t second = (time_t)(boot_time() + ticks / hertz);
	char host[80] = "", day[40];
	struct tm tm;

	gethostname(host, sizeof host - 1);
	gmtime_r(&second, &tm);
	strftime(day, sizeof day, "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(text, size,
		 for_people ? "((host %s) (pid %d) (message \"as Core_unix\")\n"
			      " (start_time (%s.%06lldZ)))\n"
			    : "((host %s)(pid %d)(message\"as Core_unix\")"
			      "(start_time(%s.%06lldZ)))",
		 host, (int)getpid(), day, ticks % hertz * (1000000 / hertz));
}

/* What it needs of it; false if it cannot be read. */
static bool read_text(const struct core_lock *lock, char text[6000], char host[80], int *ret_pid)
{
	int fd = openat(lock->folder, lock->lock, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	ssize_t length = fd < 0 ? -1 : read(fd, text, 5999);

	if (fd >= 0)
		close(fd);
	if (length <= 0)
		return false;
	text[length] = '\0';
	return sscanf(text, "((host %79[^)])%*[ ](pid %d)", host, ret_pid) == 2 ||
	       sscanf(text, "((host %79[^)])(pid %d)", host, ret_pid) == 2;
}

static bool is_mine(const struct core_lock *lock)
{
	char text[6000], host[80], own[80] = "";
	int pid;

	gethostname(own, sizeof own - 1);
	return read_text(lock, text, host, &pid) && strcmp(host, own) == 0 && pid == getpid();
}

/* Who died */

static void remove_both(const struct core_lock *lock)
{
	unlinkat(lock->folder, lock->name, 0);
	unlinkat(lock->folder, lock->lock, 0);
}

static bool says_still(const struct core_lock *lock, const char *text)
{
	char now[6000], host[80];
	int pid;

	return read_text(lock, now, host, &pid) && strcmp(now, text) == 0;
}

static void remove_if_dead(const struct core_lock *lock)
{
	char text[6000], host[80], own[80] = "";
	int pid;

	gethostname(own, sizeof own - 1);
	if (!read_text(lock, text, host, &pid) || strcmp(host, own) != 0 || kill(pid, 0) == 0 ||
	    errno != ESRCH || !says_still(lock, text))
		return;
	int fd = openat(lock->folder, lock->lock, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return;
	if (flock(fd, LOCK_EX) == 0 && says_still(lock, text))
		remove_both(lock);
	close(fd);
}

/* Taking and giving back */

static int write_file(int fd, const char *text)
{
	size_t length = strlen(text);

	return write(fd, text, length) == (ssize_t)length ? 0 : -EIO;
}

static int create_v1(const struct core_lock *lock)
{
	char text[256];

	int fd = openat(lock->folder, lock->name, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	int result = linkat(lock->folder, lock->name, lock->folder, lock->lock, 0);
	if (result < 0) {
		/* Somebody has it; or has just given it back, with that name. */
		result = errno == EEXIST || errno == ENOENT ? -EAGAIN : -errno;
		close(fd);
		return result;
	}
	write_text(text, sizeof text, true);
	if (ftruncate(fd, 0) < 0 || write_file(fd, text) < 0) {
		remove_both(lock);
		result = -EIO;
	}
	close(fd);
	return result;
}

/* There the name is a digest of the text, which is that of the process; here
 * threads take locks, too. */
static int create_v2(const struct core_lock *lock)
{
	static _Atomic unsigned attempts;
	char text[256], attempt[160];

	snprintf(attempt, sizeof attempt, "%s.%08x%08x%016x.lock-attempt", lock->name,
		 (unsigned)getpid(), attempts++, 0u);
	write_text(text, sizeof text, false);
	int fd = openat(lock->folder, attempt, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (fd < 0)
		return -errno;
	int result = write_file(fd, text);
	close(fd);
	if (result == 0 && linkat(lock->folder, attempt, lock->folder, lock->lock, 0) < 0)
		result = errno == EEXIST ? -EAGAIN : -errno;
	unlinkat(lock->folder, attempt, 0);
	if (result < 0)
		return result;
	fd = openat(lock->folder, lock->name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (fd >= 0) {
		(void)write_file(fd, text);
		close(fd);
	}
	return 0;
}

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static int take(const struct core_lock *lock, const struct oracle_wish *wish)
{
	static _Atomic unsigned rounds;
	int64_t deadline = wish->timeout < 0 ? INT64_MAX : now() + wish->timeout;

	for (;;) {
		remove_if_dead(lock);
		int result = lock->first_version ? create_v1(lock) : create_v2(lock);
		if (result != -EAGAIN || wish->timeout == 0)
			return result;
		if (now() > deadline)
			return -ETIMEDOUT;
		/* As Core_unix waits. */
		struct timespec pause = {.tv_nsec = 100000 + rounds++ % 29 * 100000};
		nanosleep(&pause, NULL);
	}
}

static int acquire(void *handle, const struct oracle_wish *wish)
{
	struct core_lock *lock = handle;
	int result = take(lock, wish);

	lock->held = result == 0;
	return result;
}

static int release(void *handle)
{
	struct core_lock *lock = handle;

	lock->held = false;
	if (!is_mine(lock))
		return -ESTALE;
	remove_both(lock);
	return 0;
}

static void close_handle(void *handle)
{
	struct core_lock *lock = handle;

	if (lock && lock->held)
		release(lock);
	free(handle);
}

const struct oracle_driver driver_core_unix_v1 = {
	.name = "core-unix-v1",
	.exclusive_only = true,
	.store_open = store_open,
	.store_close = store_close,
	.open = open_v1,
	.close = close_handle,
	.acquire = acquire,
	.release = release,
};

const struct oracle_driver driver_core_unix_v2 = {
	.name = "core-unix-v2",
	.exclusive_only = true,
	.store_open = store_open,
	.store_close = store_close,
	.open = open_v2,
	.close = close_handle,
	.acquire = acquire,
	.release = release,
};
