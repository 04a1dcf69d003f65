/*
 * Who waits for a lock file's lock, in the kernel.
 *
 * Only /proc/locks tells, and to read it is dear: the kernel takes a lock that
 * keeps everybody on the machine from setting others, and waits for an RCU grace
 * period first (locks_start() in fs/locks.c, percpu_down_write()).  Measured on
 * Linux 6.18: 15 ms, or 0.1 ms for who reads it again and again.  A program that
 * is asked for the state of locks that it holds itself, as relockfs is, would do
 * little else.  So it may ask whether the last reading, made for a look at any lock
 * of the store, is young enough and saw nobody waiting for this one; then it need
 * not look.  If anybody was seen, or nothing is known, it has to look, and sees
 * what is.
 *
 * What is kept is the files that somebody waits for, which are few, and not
 * until somebody has asked for it.
 */
#include <errno.h>
#include <stdlib.h>

#include "clock.h"
#include "lock-file-look.h"

void kept_waits_init(struct kept_waits *kept)
{
	pthread_mutex_init(&kept->mutex, NULL);
}

void kept_waits_end(struct kept_waits *kept)
{
	free(kept->files);
	pthread_mutex_destroy(&kept->mutex);
}

static bool is_wait_of(const struct lock_line *line, enum lock_line_type type)
{
	return line->blocked && (line->type == LOCK_LINE_FLOCK) == (type == LOCK_LINE_FLOCK);
}

/* False without memory. */
static bool copy_waited_for(const struct snapshot *snapshot, enum lock_line_type type,
			    struct file_id **ret, size_t *ret_count)
{
	size_t count = 0;

	for (size_t i = 0; i < snapshot->line_count; i++)
		count += is_wait_of(&snapshot->lines[i], type);
	struct file_id *files = count ? calloc(count, sizeof *files) : NULL;
	if (count && !files)
		return false;
	*ret_count = count;
	*ret = files;
	for (size_t i = 0; i < snapshot->line_count; i++) {
		const struct lock_line *line = &snapshot->lines[i];
		if (is_wait_of(line, type))
			*files++ = (struct file_id){line->major, line->minor, line->inode};
	}
	return true;
}

/*
 * The mutex is never waited for: in the child of a fork(2) it may have been left
 * locked for good, by a thread that is not there.
 */
static void keep_waits(struct kept_waits *kept, enum lock_line_type type,
		       const struct file_look *look, const struct snapshot *snapshot)
{
	struct file_id *files;
	size_t count;

	if (!atomic_load(&kept->wanted) || !copy_waited_for(snapshot, type, &files, &count))
		return;
	if (pthread_mutex_trylock(&kept->mutex) != 0) {
		free(files);
		return;
	}
	if (snapshot->lines_read > kept->read) {
		struct file_id *older = kept->files;
		kept->files = files;
		kept->count = count;
		kept->read = snapshot->lines_read;
		kept->device = look->status.st_dev;
		kept->major = look->id.major;
		kept->minor = look->id.minor;
		files = older;
	}
	pthread_mutex_unlock(&kept->mutex);
	free(files);
}

static bool is_same_file(const struct file_id *a, const struct file_id *b)
{
	return a->inode == b->inode && a->major == b->major && a->minor == b->minor;
}

/* With the mutex. */
static bool knows_of_none(const struct kept_waits *kept, const struct file_lock *file)
{
	const struct file_id id = {kept->major, kept->minor, file->inode};

	if (kept->device != file->device)
		return false;
	for (size_t i = 0; i < kept->count; i++)
		if (is_same_file(&kept->files[i], &id))
			return false;
	return true;
}

int lock_file_nobody_waits(relock_lock *lock, int64_t age)
{
	struct kept_waits *kept = &file_store_of(lock->store)->waits;
	bool is_known = false;

	atomic_store(&kept->wanted, true);
	if (pthread_mutex_trylock(&kept->mutex) != 0)
		return -EAGAIN;
	if (kept->read != 0 && clock_now(CLOCK_MONOTONIC) - kept->read <= age)
		is_known = knows_of_none(kept, file_lock_of(lock));
	pthread_mutex_unlock(&kept->mutex);
	return is_known ? 0 : -EAGAIN;
}

/* Waiters stand below what blocks them, with its number.  An exclusive lock that
 * stands there twice was read twice, and its waiters with it. */
static size_t count_waiters(const struct file_look *look, enum lock_line_type type,
			    const struct snapshot *snapshot)
{
	uint64_t number = 0;
	size_t count = 0;

	for (size_t i = 0; i < snapshot->line_count; i++) {
		const struct lock_line *line = &snapshot->lines[i];
		if (!line_is_of(line, &look->id) ||
		    (line->type == LOCK_LINE_FLOCK) != (type == LOCK_LINE_FLOCK))
			continue;
		if (!line->blocked && number == 0)
			number = line->number;
		count += line->blocked && (look->mode == HOLD_SHARED || line->number == number);
	}
	return count;
}

int file_look_waiters(struct file_store *store, const struct file_look *look,
		      struct snapshot *snapshot, struct relock_status *status)
{
	enum lock_line_type type = store->primitive->line_type;

	if (snapshot_lines(snapshot) < 0)
		return 0;
	keep_waits(&store->waits, type, look, snapshot);
	status->waiter_count = count_waiters(look, type, snapshot);
	if (status->waiter_count == 0)
		return 0;
	int result = snapshot_waits(snapshot);
	if (result < 0)
		return result == -ENOSYS ? 0 : result;
	status->waiter_pids = calloc(snapshot->wait_count + 1, sizeof *status->waiter_pids);
	if (!status->waiter_pids)
		return -ENOMEM;
	for (size_t i = 0; i < snapshot->wait_count; i++) {
		const struct lock_wait *wait = &snapshot->waits[i];
		if (wait->inode == look->status.st_ino && wait->device == look->status.st_dev &&
		    (wait->type == LOCK_LINE_FLOCK) == (type == LOCK_LINE_FLOCK))
			status->waiter_pids[status->waiter_pid_count++] = wait->pid;
	}
	/* The two were not looked at in the same moment. */
	if (status->waiter_count < status->waiter_pid_count)
		status->waiter_count = status->waiter_pid_count;
	return 0;
}
