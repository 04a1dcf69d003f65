/*
 * Breaking a lock, and asking for one: a process that holds a lock for
 * somebody else knows more about the hold than we do, and is asked.  The mount
 * is asked by ask-mount.h, the background holder of `relock get` by SIGTERM, through a pidfd, so
 * that no other process can be hit.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

#include "ask-mount.h"
#include "cancellation.h"
#include "cleanup.h"
#include "clock.h"
#include "message.h"
#include "proc-locks.h"
#include "process.h"
#include "status.h"
#include "store.h"

#define ASK_TIMEOUT (5 * RELOCK_SECOND)

/* By the name that it gives itself: a record that says so may be forged, to
 * have somebody's server ended by an innocent `relock unget`. */
static bool is_background_holder(pid_t pid)
{
	char path[48], name[32];

	snprintf(path, sizeof path, "/proc/%d/comm", (int)pid);
	return proc_read(path, name, sizeof name) < 0 || strcmp(name, "relock get\n") == 0;
}

static int ask_get(const char *name, const struct relock_holder *holder)
{
	CLEANUP_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, holder->via_pid, 0);

	if (pidfd < 0)
		return errno == ESRCH ? 0 : -errno; /* gone by itself */
	/* The pid may have been used again, but not since we have the pidfd. */
	if (!is_background_holder(holder->via_pid))
		return failed(-EPERM,
			      "%s: pid %d is said to be the holder of `relock get`, but is not",
			      name, (int)holder->via_pid);
	if (!process_is_alive(holder->via_pid,
			      holder->via_pid == holder->pid ? holder->start_time : 0))
		return 0;
	if (syscall(SYS_pidfd_send_signal, pidfd, SIGTERM, NULL, 0) < 0)
		return errno == EPERM
			       ? failed(-EPERM,
					"%s: its holder, pid %d, belongs to %s; ask them, or root",
					name, (int)holder->via_pid,
					holder->user ? holder->user : "another user")
			       : -errno;
	/* It gives the lock back, and ends. */
	struct pollfd ended = {.fd = pidfd, .events = POLLIN};
	if (poll(&ended, 1, (int)(ASK_TIMEOUT / RELOCK_MILLISECOND)) == 1)
		return 0;
	return failed(-ETIMEDOUT, "%s: its holder, pid %d, was asked but does not give it back",
		      name, (int)holder->via_pid);
}

/* The record is anybody's to write: what it calls a mount must be one of ours,
 * or we would remove somebody's file in its name. */
static int open_mount(const char *name, const struct relock_holder *holder, int *ret_fd)
{
	CLEANUP_CLOSE int fd = -1;
	char type[32] = "";

	if (holder->via_path)
		fd = open(holder->via_path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || mount_type_of(fd, type, sizeof type) < 0 ||
	    strcmp(type, "fuse.relockfs") != 0)
		return failed(
			-EPERM,
			"%s: held by a mount that is not to be seen from here: %s is no relockfs",
			name, holder->via_path ? holder->via_path : "?");
	*ret_fd = openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return *ret_fd < 0 ? -errno : 0;
}

static int ask_mount(const char *name, const struct relock_holder *holder)
{
	CLEANUP_CLOSE int fd = -1;
	struct mount_break what = {0};

	int result = open_mount(name, holder, &fd);
	if (result < 0)
		return result;
	snprintf(what.name, sizeof what.name, "%s", name);
	if (ioctl(fd, MOUNT_BREAK, &what) == 0 || errno == ENOENT)
		return 0;
	return failed(-errno, "%s: cannot break %s/%s: %s", name, holder->via_path, name,
		      strerrordesc_np(errno));
}

/* Who holds for somebody else can be asked if it runs here. */
static bool is_asked(const struct relock_status *status, const struct relock_holder *holder)
{
	return status->state != RELOCK_STALE && holder->via_pid > 0 &&
	       (holder->via_kind == RELOCK_VIA_MOUNT || holder->via_kind == RELOCK_VIA_GET);
}

static int break_held(relock_store *store, const char *name, const struct relock_status *status)
{
	if (status->state == RELOCK_FREE)
		return failed(-ENOENT, "%s: not held", name);
	for (size_t i = 0; i < status->holder_count; i++) {
		const struct relock_holder *holder = &status->holders[i];
		if (!is_asked(status, holder))
			continue;
		int result = holder->via_kind == RELOCK_VIA_MOUNT ? ask_mount(name, holder)
								  : ask_get(name, holder);
		if (result < 0)
			return result;
	}
	for (size_t i = 0; i < status->holder_count; i++)
		if (!is_asked(status, &status->holders[i]))
			return store->operations->break_hold(store, name);
	if (status->holder_count == 0)
		return store->operations->break_hold(store, name);
	return 0;
}

static int break_lock(relock_store *store, const char *name, struct relock_status **ret_broken)
{
	struct relock_status *status = NULL;

	int result = status_look(store, name, &status);
	if (result < 0)
		return message_end(result, name);
	result = break_held(store, name, status);
	debug("%s: break: %s", name, result < 0 ? strerrorname_np(-result) : "done");
	if (ret_broken)
		*ret_broken = status;
	else
		relock_status_free(status);
	return message_end(result, name);
}

int relock_break(relock_store *store, const char *name, struct relock_status **ret_broken)
{
	WITHOUT_CANCELLATION;

	message_begin();
	int result = name_check(name, false);
	return result < 0 ? result : break_lock(store, name, ret_broken);
}

int relock_lock_break(relock_lock *lock, struct relock_status **ret_broken)
{
	WITHOUT_CANCELLATION;

	message_begin();
	return break_lock(lock->store, lock->name, ret_broken);
}

static int unget(relock_store *store, const char *name, const struct relock_status *status)
{
	if (status->state == RELOCK_FREE)
		return failed(-ENOENT, "%s: not held", name);
	if (status->holder_count == 0)
		return failed(-EPERM, "%s: not held by `relock get`, but by somebody out of sight",
			      name);
	for (size_t i = 0; i < status->holder_count; i++) {
		const struct relock_holder *holder = &status->holders[i];
		if (holder->via_kind != RELOCK_VIA_GET)
			continue;
		/* What a dead one has left, where the kernel does not free it. */
		if (status->state == RELOCK_STALE)
			return store->operations->break_hold(store, name);
		if (holder->via_pid > 0)
			return ask_get(name, holder);
		return failed(-EPERM,
			      "%s: held by `relock get` on %s, not here; unget it there, or break "
			      "it with --force",
			      name, holder->host ? holder->host : "another host");
	}
	return failed(-EPERM, "%s: held by pid %d (%s), not by `relock get`; --force breaks it",
		      name, (int)status->holders[0].pid,
		      status->holders[0].command ? status->holders[0].command : "?");
}

int relock_unget(relock_lock *lock, struct relock_status **ret_holder)
{
	WITHOUT_CANCELLATION;
	struct relock_status *status = NULL;

	int result = relock_lock_status(lock, &status);
	if (result < 0)
		return result;
	message_begin();
	result = unget(lock->store, lock->name, status);
	if (ret_holder)
		*ret_holder = status;
	else
		relock_status_free(status);
	return message_end(result, lock->name);
}
