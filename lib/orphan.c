/*
 * Somebody removes or replaces a lock file while it is held, by hand or with a
 * cleaning script.  The holder goes on, with a lock on a file that has no name;
 * the next one would make another file, lock that, and be the second holder.
 *
 * So who finds a file without a record of ours looks for such a holder before
 * it believes its own grant: a lock of this kind on this device, whose
 * descriptor leads to "DIR/NAME (deleted)".  Then it waits for that one, too,
 * with a description of its own of the nameless file, which /proc/PID/fd gives
 * (a magic link opens the file itself).
 *
 * As far as one can see: another user's descriptors are shown to the
 * privileged only, and a file that was moved away has another name.  The
 * holder itself learns of it by relock_check().
 *
 * Where nothing else is locked on the device, this costs one reading of
 * /proc/locks, when a handle first opens such a file; else a walk through the
 * descriptors of all processes, milliseconds.  A program that makes new names
 * all the time would do nothing else: so after some walks in vain, there is none for
 * a hundred times as long as the last one took, and such a program spends one
 * hundredth of its time on them.
 */
#include "orphan.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "clock.h"
#include "message.h"
#include "proc-locks.h"

static bool is_candidate(const struct lock_line *line, enum lock_line_type type,
			 const struct file_id *id)
{
	return line->type == type && !line->blocked && line->major == id->major &&
	       line->minor == id->minor && line->inode != id->inode;
}

static bool any_candidate(const struct snapshot *snapshot, enum lock_line_type type,
			  const struct file_id *id)
{
	for (size_t i = 0; i < snapshot->line_count; i++)
		if (is_candidate(&snapshot->lines[i], type, id))
			return true;
	return false;
}

/* How /proc shows a file of this name once it is removed. */
static int deleted_path(const struct file_store *store, const char *name, char *path, size_t size)
{
	char link[48], folder[PATH_MAX];

	snprintf(link, sizeof link, "/proc/self/fd/%d", store->dir_fd);
	ssize_t length = readlink(link, folder, sizeof folder - 1);
	if (length < 0)
		return -errno;
	int printed = snprintf(path, size, "%.*s/%s (deleted)", (int)length, folder, name);
	return printed < 0 || (size_t)printed >= size ? -ENAMETOOLONG : 0;
}

static int open_if_deleted(const struct lock_hold *hold, const char *wanted, int *ret_fd)
{
	char link[64], target[PATH_MAX + 300];

	snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)hold->pid, hold->fd);
	ssize_t length = readlink(link, target, sizeof target - 1);
	if (length < 0)
		return -ENOENT;
	target[length] = '\0';
	if (strcmp(target, wanted) != 0)
		return -ENOENT;
	int fd = open(link, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0)
		return -ENOENT;
	*ret_fd = fd;
	return 0;
}

static int walk(const struct file_store *store, const char *name, enum lock_line_type type,
		const struct file_id *id, int *ret_fd)
{
	__attribute__((cleanup(snapshot_free))) struct snapshot snapshot = {0};
	char wanted[PATH_MAX + 300];

	if (deleted_path(store, name, wanted, sizeof wanted) < 0 || snapshot_holds(&snapshot) < 0)
		return -ENOENT;
	for (size_t i = 0; i < snapshot.hold_count; i++) {
		const struct lock_hold *hold = &snapshot.holds[i];
		if (!is_candidate(&hold->line, type, id) ||
		    open_if_deleted(hold, wanted, ret_fd) < 0)
			continue;
		debug("%s: pid %d holds a lock file of this name that was removed", name,
		      (int)hold->pid);
		return 0;
	}
	return -ENOENT;
}

int orphan_find(struct file_store *store, const char *name, const struct file_lock *file,
		int *ret_fd)
{
	enum { WALKS_IN_VAIN = 16 };
	__attribute__((cleanup(snapshot_free))) struct snapshot snapshot = {0};
	enum lock_line_type type = store->primitive->line_type;
	int64_t start = clock_now(CLOCK_MONOTONIC);
	struct file_id id;

	if (start < atomic_load(&store->no_walk_until) || snapshot_lines(&snapshot) < 0 ||
	    file_id_of(file->fd, &id) < 0 || !any_candidate(&snapshot, type, &id))
		return -ENOENT;
	int result = walk(store, name, type, &id, ret_fd);
	int64_t end = clock_now(CLOCK_MONOTONIC);
	if (result < 0 && atomic_fetch_add(&store->walks_in_vain, 1) >= WALKS_IN_VAIN)
		atomic_store(&store->no_walk_until, end + 100 * (end - start));
	return result;
}
