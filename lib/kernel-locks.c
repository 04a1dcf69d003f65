/*
 * Every lock the kernel knows, with its true holders and waiters: the lines of
 * /proc/locks, joined with the descriptors and the waiting threads that are in
 * sight.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "cancellation.h"
#include "cleanup.h"
#include "message.h"
#include "proc-locks.h"
#include "process.h"
#include "relock.h"

static bool same_lock(const struct lock_line *a, const struct lock_line *b)
{
	return a->type == b->type && a->exclusive == b->exclusive && a->inode == b->inode &&
	       a->major == b->major && a->minor == b->minor && a->start == b->start &&
	       a->end == b->end;
}

/* /proc/locks has nothing else to tell two shared locks of the same range
 * apart; where it names a process, that one has it, or had it when it forked. */
static bool is_holder(const struct lock_line *line, const struct lock_hold *hold)
{
	return same_lock(line, &hold->line) &&
	       (line->type != LOCK_LINE_POSIX || line->pid == hold->pid);
}

static bool add_process(struct relock_kernel_process **list, size_t *count, pid_t pid, int fd)
{
	char command[160];

	for (size_t i = 0; i < *count; i++)
		if ((*list)[i].pid == pid)
			return true;
	struct relock_kernel_process *larger = reallocarray(*list, *count + 1, sizeof *larger);
	if (!larger)
		return false;
	*list = larger;
	struct relock_kernel_process *process = &larger[(*count)++];
	*process = (struct relock_kernel_process){.pid = pid, .fd = fd, .uid = (uid_t)-1};
	process_uid(pid, &process->uid);
	if (process_command(pid, command, sizeof command) == 0)
		process->command = strdup(command);
	return true;
}

static bool waits_for(const struct relock_kernel_lock *lock, const struct lock_wait *wait)
{
	bool by_flock = wait->type == LOCK_LINE_FLOCK;

	if (wait->inode != lock->inode || by_flock != (lock->type == RELOCK_KERNEL_FLOCK))
		return false;
	/* On file systems without a device of their own, stat(2) has another
	 * number for it; the inode has to do. */
	return (major(wait->device) == lock->major && minor(wait->device) == lock->minor) ||
	       major(wait->device) == 0;
}

static char *path_of(pid_t pid, int fd)
{
	char link[64], target[PATH_MAX];

	snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)pid, fd);
	ssize_t length = readlink(link, target, sizeof target - 1);
	return length < 0 ? NULL : strndup(target, (size_t)length);
}

/* Two lines that look the same are two descriptions that share a lock: the
 * holders are shown with the first, and `taken` tells who has been. */
static int find_holders(struct relock_kernel_lock *lock, const struct lock_line *line,
			const struct snapshot *snapshot)
{
	for (size_t i = 0; i < snapshot->hold_count; i++) {
		const struct lock_hold *hold = &snapshot->holds[i];
		if (!is_holder(line, hold))
			continue;
		if (!add_process(&lock->holders, &lock->holder_count, hold->pid, hold->fd))
			return -ENOMEM;
		if (!lock->path)
			lock->path = path_of(hold->pid, hold->fd);
	}
	/* Out of sight, but the kernel tells the owner's pid. */
	if (lock->holder_count == 0 && line->pid > 0 && line->type != LOCK_LINE_OFD &&
	    !add_process(&lock->holders, &lock->holder_count, line->pid, -1))
		return -ENOMEM;
	return 0;
}

static int find_waiters(struct relock_kernel_lock *lock, uint64_t number,
			const struct snapshot *snapshot)
{
	for (size_t i = 0; i < snapshot->line_count; i++)
		lock->waiter_count +=
			snapshot->lines[i].blocked && snapshot->lines[i].number == number;
	if (lock->waiter_count == 0)
		return 0;
	for (size_t i = 0; i < snapshot->wait_count; i++)
		if (waits_for(lock, &snapshot->waits[i]) &&
		    !add_process(&lock->waiters, &lock->waiter_pid_count, snapshot->waits[i].pid,
				 -1))
			return -ENOMEM;
	return 0;
}

/* Shared locks of one range by several descriptions are one row with all its
 * holders, but each legacy lock is its process's own.  An exclusive lock that
 * stands there twice was read twice. */
static bool shown_already(const struct snapshot *snapshot, size_t index)
{
	const struct lock_line *line = &snapshot->lines[index];

	for (size_t i = 0; i < index; i++) {
		const struct lock_line *other = &snapshot->lines[i];
		if (!other->blocked && same_lock(other, line) &&
		    (line->type != LOCK_LINE_POSIX || other->pid == line->pid))
			return true;
	}
	return false;
}

static int collect(const struct snapshot *snapshot, const struct file_id *only,
		   struct relock_kernel_lock **ret, size_t *ret_count)
{
	struct relock_kernel_lock *locks = calloc(snapshot->line_count + 1, sizeof *locks);
	size_t count = 0;
	int result = 0;

	if (!locks)
		return -ENOMEM;
	for (size_t i = 0; i < snapshot->line_count && result == 0; i++) {
		const struct lock_line *line = &snapshot->lines[i];
		if (line->blocked || (only && !line_is_of(line, only)) ||
		    shown_already(snapshot, i))
			continue;
		struct relock_kernel_lock *lock = &locks[count++];
		lock->type = (enum relock_kernel_type)line->type;
		lock->mode = line->exclusive ? RELOCK_EXCLUSIVE : RELOCK_SHARED;
		lock->start = line->start;
		lock->end = line->end;
		lock->major = line->major;
		lock->minor = line->minor;
		lock->inode = line->inode;
		result = find_holders(lock, line, snapshot);
		if (result == 0)
			result = find_waiters(lock, line->number, snapshot);
	}
	if (result < 0) {
		relock_kernel_locks_free(locks, count);
		return result;
	}
	*ret = locks;
	*ret_count = count;
	return 0;
}

static int kernel_locks(const char *path, struct relock_kernel_lock **ret, size_t *ret_count)
{
	__attribute__((cleanup(snapshot_free))) struct snapshot snapshot = {0};
	struct file_id only;
	int result;

	if (path) {
		CLEANUP_CLOSE int fd = open(path, O_PATH | O_CLOEXEC);
		if (fd < 0)
			return failed(-errno, "%s: %s", path, strerrordesc_np(errno));
		result = file_id_of(fd, &only);
		if (result < 0)
			return result;
	}
	result = snapshot_lines(&snapshot);
	if (result == -ENOSYS)
		return failed(-ENOSYS, "/proc is not mounted: the kernel's locks cannot be listed");
	if (result == 0 && snapshot.line_count > 0)
		result = snapshot_holds(&snapshot);
	bool any_blocked = false;
	for (size_t i = 0; i < snapshot.line_count; i++)
		any_blocked |= snapshot.lines[i].blocked;
	if (result == 0 && any_blocked)
		result = snapshot_waits(&snapshot);
	if (result < 0)
		return result;
	return collect(&snapshot, path ? &only : NULL, ret, ret_count);
}

int relock_kernel_locks(const char *path, struct relock_kernel_lock **ret, size_t *ret_count)
{
	WITHOUT_CANCELLATION;

	message_begin();
	return message_end(kernel_locks(path, ret, ret_count), "/proc/locks");
}

static void free_processes(struct relock_kernel_process *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i].command);
	free(list);
}

void relock_kernel_locks_free(struct relock_kernel_lock *locks, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free_processes(locks[i].holders, locks[i].holder_count);
		free_processes(locks[i].waiters, locks[i].waiter_pid_count);
		free(locks[i].path);
	}
	free(locks);
}
