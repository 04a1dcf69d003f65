/*
 * lockf(3) on a range, by an open-file-description lock and within a timeout.
 *
 * When a wait is given up, the lock may have been granted a moment before, and
 * nobody can tell (see wait.c): the range is then set to what it was.  The
 * kernel does not tell a description its own locks by F_OFD_GETLK, but it
 * lists them in /proc/self/fdinfo/FD, so that is read before the wait; where
 * it cannot be, the lock is polled.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cancellation.h"
#include "cleanup.h"
#include "clock.h"
#include "lock-line.h"
#include "message.h"
#include "proc-locks.h"
#include "wait.h"

/* The range, and the locks that the description has had in it. */
struct region {
	off_t start, length;
	struct lock_line *before;
	size_t before_count;
};

static int set_type(int fd, short type, off_t start, off_t length, int wait)
{
	struct flock lock = {
		.l_type = type, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

	if (fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static int set(int fd, const void *how, int wait)
{
	const struct region *region = how;

	return set_type(fd, F_WRLCK, region->start, region->length, wait);
}

/* Whatever is locked in the range now is ours alone, so unlocking what was
 * unlocked and downgrading what was shared both succeed. */
static void restore(int fd, const void *argument)
{
	const struct region *region = argument;
	uint64_t at = (uint64_t)region->start;
	uint64_t end = region->length ? at + (uint64_t)region->length - 1 : INT64_MAX;

	/* The kernel lists them in order, and they do not overlap. */
	for (size_t i = 0; i < region->before_count; i++) {
		const struct lock_line *line = &region->before[i];
		if (line->end < at || line->start > end)
			continue;
		if (line->start > at)
			set_type(fd, F_UNLCK, (off_t)at, (off_t)(line->start - at), false);
		uint64_t from = line->start > at ? line->start : at;
		uint64_t to = line->end < end ? line->end : end;
		if (!line->exclusive)
			set_type(fd, F_RDLCK, (off_t)from,
				 to == INT64_MAX ? 0 : (off_t)(to - from + 1), false);
		if (to == INT64_MAX)
			return;
		at = to + 1;
	}
	if (at <= end)
		set_type(fd, F_UNLCK, (off_t)at, end == INT64_MAX ? 0 : (off_t)(end - at + 1),
			 false);
}

static int keep_own_lock(const char *text, size_t length, void *argument)
{
	struct region *region = argument;
	struct lock_line line;

	if (strncmp(text, "lock:", 5) != 0 || !lock_line_parse(text, length, &line) ||
	    line.type != LOCK_LINE_OFD)
		return 0;
	/* Doubled whenever the count is a power of two. */
	if ((region->before_count & (region->before_count - 1)) == 0) {
		size_t room = region->before_count ? region->before_count * 2 : 1;
		void *larger = reallocarray(region->before, room, sizeof line);
		if (!larger)
			return -ENOMEM;
		region->before = larger;
	}
	region->before[region->before_count++] = line;
	return 0;
}

static int read_own_locks(int fd, struct region *region)
{
	char path[48];

	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	return proc_each_line(path, keep_own_lock, region);
}

static const struct wait_operation operation = {.set = set, .restore = restore};

static void free_before(void *argument)
{
	free(((struct region *)argument)->before);
}

static int lock_region(int fd, off_t start, off_t length, int64_t timeout, int cancel_state)
{
	struct region region = {.start = start, .length = length};
	int result = set(fd, &region, false);

	if (result != -EAGAIN)
		return result;
	if (timeout == 0)
		return -EAGAIN;
	int64_t deadline = deadline_after(timeout);
	pthread_cleanup_push(free_before, &region);
	/* A try that fails has changed nothing; only a wait can leave it open
	 * whether it has, and is not begun if that could not be mended. */
	if (read_own_locks(fd, &region) < 0)
		result = wait_by_polling(&operation, fd, &region, deadline, cancel_state);
	else
		result = wait_for(&operation, fd, &region, &region, deadline, cancel_state);
	pthread_cleanup_pop(1);
	return result;
}

static int test_region(int fd, off_t start, off_t length)
{
	struct flock lock = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = start, .l_len = length};

	if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
		return -errno;
	return lock.l_type == F_UNLCK ? 0 : -EAGAIN;
}

/* As the kernel does: the bytes before `start`, from its side. */
static int straighten(off_t *start, off_t *length)
{
	if (*start < 0)
		return -EINVAL;
	if (*length < 0) {
		if (*length < -*start)
			return -EINVAL;
		*start += *length;
		*length = -*length;
	}
	off_t last;
	if (*length > 0 && __builtin_add_overflow(*start, *length - 1, &last))
		return -EOVERFLOW;
	return 0;
}

static int run(int fd, enum relock_region_operation operation_wanted, off_t start, off_t length,
	       int64_t timeout, int cancel_state)
{
	int result = straighten(&start, &length);

	if (result < 0)
		return result;
	switch (operation_wanted) {
	case RELOCK_REGION_LOCK:
		if (timeout < RELOCK_FOREVER)
			return failed(-EINVAL, "a timeout cannot be negative");
		return lock_region(fd, start, length, timeout, cancel_state);
	case RELOCK_REGION_TRY:
		return set_type(fd, F_WRLCK, start, length, false);
	case RELOCK_REGION_UNLOCK:
		return set_type(fd, F_UNLCK, start, length, false);
	case RELOCK_REGION_TEST:
		return test_region(fd, start, length);
	}
	return failed(-EINVAL, "unknown operation %d", (int)operation_wanted);
}

int relock_region(int fd, enum relock_region_operation operation_wanted, off_t start, off_t length,
		  int64_t timeout)
{
	WITHOUT_CANCELLATION;

	message_begin();
	return message_end(run(fd, operation_wanted, start, length, timeout, cancel_state),
			   "range");
}
