/*
 * The store "flock:DIR": a flock(2) lock on DIR/NAME, for working together
 * with flock(1) and with lockmgr.
 *
 * flock(1) opens the file once and waits for as long as it takes, and never
 * looks whether the name still leads there: so the file must not go away while
 * flock(1) may have it open, and it stays after a release.
 *
 * lockmgr tries once, closes the file, and waits with inotify for the file's
 * deletion (IN_DELETE_SELF), since its own release removes the file; a release
 * that leaves it there would wake it after its timeout only, 30 s.  So where a
 * release finds such a watch, and nobody who has the file open, it renames a
 * new file with the same record over the old one: the name never goes away,
 * history and token stay, and the old file's end wakes lockmgr.  To look for
 * the watch costs a walk through /proc, so it is done only if somebody has
 * opened the file during the hold, which a watch of our own tells.
 *
 * There is no test for a flock lock that does not take it for a moment, and
 * make somebody's try fail; /proc/locks has to tell.  Only where it cannot (it
 * is not mounted, or the record's holder is in another pid namespace) is the
 * lock tried.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/syscall.h>

#include "cleanup.h"
#include "lock-file.h"
#include "message.h"
#include "proc-locks.h"
#include "process.h"

struct flock_lock {
	struct file_lock file; /* first: the shared functions see only this */
	int watch;             /* inotify, for opens of the file; -1: none */
	ino_t watched;
};

static struct flock_lock *flock_lock_of(relock_lock *lock)
{
	return (struct flock_lock *)lock->private;
}

/* The kernel lock */

static int operation_of(enum hold_mode mode)
{
	return mode == HOLD_EXCLUSIVE ? LOCK_EX : mode == HOLD_SHARED ? LOCK_SH : LOCK_UN;
}

/* flock(2) is no cancellation point: while it waits, and only then, the thread
 * can be cancelled at any moment, as glibc does it for fcntl(2). */
static int flock_cancellable(int fd, int operation)
{
	int type;

	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
	long result = syscall(SYS_flock, fd, operation);
	pthread_setcanceltype(type, &type);
	return (int)result;
}

static int set(int fd, const void *how, int wait)
{
	const enum hold_mode *mode = how;
	int operation = operation_of(*mode);

	int result = wait ? flock_cancellable(fd, operation) : flock(fd, operation | LOCK_NB);
	if (result == 0)
		return 0;
	return errno == EWOULDBLOCK ? -EAGAIN : -errno;
}

static void restore(int fd, const void *before)
{
	set(fd, before, false);
}

static int test(int fd, enum hold_mode *ret_mode)
{
	return -ENOSYS;
}

static int guard_slots(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_SETLK, &lock) == 0 ? 0 : -EAGAIN;
}

static void leave_slots(int fd)
{
	struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	fcntl(fd, F_OFD_SETLK, &lock);
}

/* Waking lockmgr */

/* Has anybody opened the file since the last look?  If that cannot be known:
 * yes. */
static bool was_opened(struct flock_lock *lock)
{
	char events[4096];
	bool any = lock->watch < 0;

	while (lock->watch >= 0 && read(lock->watch, events, sizeof events) > 0)
		any = true;
	return any;
}

static void watch_opens(relock_lock *relock)
{
	struct flock_lock *lock = flock_lock_of(relock);
	char path[32];

	if (lock->watched == lock->file.inode) {
		was_opened(lock); /* before our time */
		return;
	}
	if (lock->watch >= 0)
		close(TAKE_FD(lock->watch));
	lock->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (lock->watch < 0)
		return;
	snprintf(path, sizeof path, "/proc/self/fd/%d", lock->file.fd);
	if (inotify_add_watch(lock->watch, path, IN_OPEN) < 0)
		close(TAKE_FD(lock->watch));
	lock->watched = lock->file.inode;
}

struct onlookers {
	const struct file_id *id;
	char path[PATH_MAX]; /* of the lock file, as /proc/PID/fd shows it */
	bool watched;        /* somebody waits for its deletion */
	bool open;           /* somebody else has it open */
};

/* "inotify wd:1 ino:9e7e sdev:800013 mask:400 ..."; the device is the kernel's
 * own number, major << 20 | minor */
static bool watches_deletion(const char *fdinfo, const struct file_id *id)
{
	for (const char *at = fdinfo; (at = strstr(at, "inotify wd:")); at++) {
		unsigned long inode;
		unsigned device, mask;
		if (sscanf(at, "inotify wd:%*x ino:%lx sdev:%x mask:%x", &inode, &device, &mask) ==
			    3 &&
		    inode == id->inode && device == (id->major << 20 | id->minor) &&
		    mask & IN_DELETE_SELF)
			return true;
	}
	return false;
}

static void look_at_descriptor(struct onlookers *onlookers, const char *pid, const char *fd)
{
	char path[64], target[PATH_MAX], fdinfo[4096];

	snprintf(path, sizeof path, "/proc/%.20s/fd/%.20s", pid, fd);
	ssize_t length = readlink(path, target, sizeof target - 1);
	if (length < 0)
		return;
	target[length] = '\0';
	if (strcmp(target, onlookers->path) == 0)
		onlookers->open = true;
	if (strcmp(target, "anon_inode:inotify") != 0)
		return;
	snprintf(path, sizeof path, "/proc/%.20s/fdinfo/%.20s", pid, fd);
	if (proc_read(path, fdinfo, sizeof fdinfo) > 0 && watches_deletion(fdinfo, onlookers->id))
		onlookers->watched = true;
}

static void look_at_process(struct onlookers *onlookers, const char *pid)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
	CLEANUP_CLOSEDIR DIR *dir = opendir(path);
	for (struct dirent *entry; dir && (entry = readdir(dir));)
		if (isdigit((unsigned char)*entry->d_name))
			look_at_descriptor(onlookers, pid, entry->d_name);
}

/* Our own descriptor does not count; that of another handle of this process
 * does. */
static bool only_a_watcher(const struct file_lock *file, const struct file_id *id)
{
	struct onlookers onlookers = {.id = id};
	char path[48];

	snprintf(path, sizeof path, "/proc/self/fd/%d", file->fd);
	ssize_t length = readlink(path, onlookers.path, sizeof onlookers.path - 1);
	CLEANUP_CLOSEDIR DIR *proc = opendir("/proc");
	if (!proc || length < 0)
		return false;
	for (struct dirent *entry; (entry = readdir(proc));)
		if (isdigit((unsigned char)*entry->d_name) &&
		    strtol(entry->d_name, NULL, 10) != process_self()->pid)
			look_at_process(&onlookers, entry->d_name);
	return onlookers.watched && !onlookers.open;
}

static int copy_record(int from, int to)
{
	CLEANUP_FREE struct slot *slot = malloc(sizeof *slot);

	if (!slot)
		return -ENOMEM;
	ssize_t length = pread(from, slot, sizeof *slot, 0);
	return length >= 0 && pwrite(to, slot, (size_t)length, 0) == length ? 0 : -EIO;
}

/*
 * The same record in a new file, in place of the old.  Somebody may open the
 * old one after the walk that found nobody: so the new one is locked until it
 * is sure that nobody has, and if somebody has, the old one gets its name back.
 * (Who has found the old file but not yet opened it cannot be seen: that window
 * is a few instructions of the kernel's.)
 */
static int replace_file(relock_lock *relock)
{
	const struct file_store *store = file_store_of(relock->store);
	struct flock_lock *lock = flock_lock_of(relock);
	CLEANUP_CLOSE int fd = -1;
	char other[48];

	snprintf(other, sizeof other, ".relock-%016llx", (unsigned long long)lock->file.next_hold);
	int result = lock_file_create(store, other, &fd);
	if (result < 0)
		return result;
	result = copy_record(lock->file.fd, fd);
	if (result == 0 && flock(fd, LOCK_EX | LOCK_NB) < 0)
		result = -errno;
	if (result == 0 &&
	    renameat2(store->dir_fd, other, store->dir_fd, relock->name, RENAME_EXCHANGE) < 0)
		result = -errno;
	if (result == 0 && was_opened(lock)) {
		(void)renameat2(store->dir_fd, other, store->dir_fd, relock->name, RENAME_EXCHANGE);
		result = -EBUSY;
	}
	unlinkat(store->dir_fd, other, 0);
	return result;
}

static bool wake_watchers(relock_lock *relock)
{
	struct flock_lock *lock = flock_lock_of(relock);
	struct file_id id;

	if (lock->file.mode != HOLD_EXCLUSIVE || !was_opened(lock) ||
	    file_id_of(lock->file.fd, &id) < 0 || !only_a_watcher(&lock->file, &id))
		return false;
	int result = replace_file(relock);
	debug("%s: somebody waits for the lock file's deletion: %s", relock->name,
	      result < 0 ? strerrorname_np(-result) : "replaced it");
	return result == 0;
}

static const struct lock_primitive primitive = {
	.line_type = LOCK_LINE_FLOCK,
	.writes = false,
	.wait = {.set = set, .restore = restore},
	.test = test,
	.guard_slots = guard_slots,
	.leave_slots = leave_slots,
	.granted = watch_opens,
	.before_release = wake_watchers,
};

/* The store */

static int open_store(relock_store *store, const char *rest, bool any_folder)
{
	return lock_file_store_open(store, rest, any_folder, &primitive);
}

static int open_lock(relock_lock *lock)
{
	flock_lock_of(lock)->watch = -1;
	return lock_file_lock_open(lock);
}

static void close_watch(relock_lock *relock)
{
	struct flock_lock *lock = flock_lock_of(relock);

	if (lock->watch >= 0)
		close(TAKE_FD(lock->watch));
	lock->watched = 0;
}

static void forget(relock_lock *lock)
{
	close_watch(lock);
	lock_file_forget(lock);
}

static void close_lock(relock_lock *lock)
{
	close_watch(lock);
	lock_file_lock_close(lock);
}

const struct store_operations store_flock = {
	.scheme = "flock",
	.open = open_store,
	.lock_size = sizeof(struct flock_lock),
	.lock_open = open_lock,
	.lock_close = close_lock,
	.forget = forget,
	LOCK_FILE_OPERATIONS,
};
