/*
 * /proc/thread-self/fd/N leads to the very file, however it is called by now
 * and even if it was deleted; opening that makes a second description.  (The
 * thread's own folder: that of a process is empty once its first thread has
 * ended.)
 *
 * The open is one that the program has not asked for, so:
 * - regular files only: opening a device or a FIFO again does things;
 * - O_NONBLOCK: not to wait for the end of a lease; O_NOCTTY goes without
 *   saying; O_APPEND as the program's, which an append-only file insists on;
 * - with the access that the program has, for execve(2) may hand it to another
 *   program, and on overlayfs an open for writing copies the file up.
 *
 * OFD locks cannot be moved from one description to another.  Read locks can
 * be on both for a moment; write locks cannot, but a description that has any
 * can write, and all that it can lack is reading, if another open wants a read
 * lock later.  So one for a program that may only write can read, too, where
 * that gives nothing away: where the file's mode lets anybody read.
 */
#include "description.h"

#include <errno.h>

#include "held.h"
#include "private-fd.h"
#include "raw.h"
#include "spans.h"
#include "text.h"

int shim_description_reopen(int fd, uint8_t access)
{
	char path[64];
	struct text text = TEXT(path);
	int flags = (int)raw_syscall(SYS_fcntl, fd, F_GETFL, 0, 0, 0, 0);

	if (flags < 0)
		return flags;
	flags = (flags & O_APPEND) | O_NONBLOCK | O_NOCTTY;
	flags |= access == (LOCKED_READABLE | LOCKED_WRITABLE) ? O_RDWR
		 : access == LOCKED_WRITABLE                   ? O_WRONLY
							       : O_RDONLY;
	text_add(&text, "/proc/thread-self/fd/");
	text_add_number(&text, fd);
	return shim_private_open(path, flags);
}

/* A placed one, of the very file. */
static int open_private(const struct locked_file *file, int fd, uint8_t access)
{
	struct stat stat;
	int opened = shim_description_reopen(fd, access);

	if (opened < 0)
		return opened;
	/* Another thread may have closed the program's descriptor, and its
	 * number be another file's; and layers of overlayfs may differ. */
	if (raw_fstat(opened, &stat) < 0 || !locked_file_is(file, &stat)) {
		raw_close(opened);
		return -ESTALE;
	}
	return shim_private_place(opened);
}

void shim_description_unlock(int fd, off_t first, off_t last)
{
	struct flock range = {
		.l_type = F_UNLCK,
		.l_whence = SEEK_SET,
		.l_start = first,
		.l_len = last == INT64_MAX ? 0 : last - first + 1,
	};

	raw_fcntl(fd, F_OFD_SETLK, &range);
}

/* A process that may only write, and write to a file that everybody may read. */
static bool may_read_as_well(int fd, uint8_t access)
{
	return access == LOCKED_WRITABLE && shim_description_may_anybody_read(fd);
}

bool shim_description_may_anybody_read(int fd)
{
	struct stat stat;

	return raw_fstat(fd, &stat) == 0 && stat.st_mode & S_IROTH;
}

int shim_description_open(struct locked_file *file, int fd, uint8_t access)
{
	int opened = -EACCES;

	if (may_read_as_well(fd, access))
		opened = open_private(file, fd, access | LOCKED_READABLE);
	if (opened >= 0)
		access |= LOCKED_READABLE;
	else
		opened = open_private(file, fd, access);
	if (opened < 0)
		return opened;
	file->access = access;
	atomic_store(&file->fd, opened);
	return 0;
}

/* The parts of first to last that belong to `open`. */
static int copy_range(const struct locked_file *file, int to, struct flock lock, uint32_t open)
{
	off_t first = lock.l_start, last = shim_held_last(&lock);

	if (open == LOCKED_BY_MANY || atomic_load(&file->sole) == open)
		return raw_fcntl(to, F_OFD_SETLK, &lock);
	for (uint32_t number = file->spans; number; number = span_at(number)->next) {
		const struct span *span = span_at(number);
		if (span->open != open || span->last < first || span->first > last)
			continue;
		lock.l_start = span->first > first ? span->first : first;
		off_t end = span->last < last ? span->last : last;
		lock.l_len = end == INT64_MAX ? 0 : end - lock.l_start + 1;
		int result = raw_fcntl(to, F_OFD_SETLK, &lock);
		if (result < 0)
			return result;
	}
	return 0;
}

struct copy {
	const struct locked_file *file;
	int to;
	uint32_t open;
	int result;
};

static bool copy_if_read_lock(void *argument, const struct flock *held)
{
	struct copy *copy = argument;

	if (held->l_type == F_RDLCK)
		copy->result = copy_range(copy->file, copy->to, *held, copy->open);
	return copy->result == 0;
}

int shim_description_copy_read_locks(const struct locked_file *file, int from, int to,
				     uint32_t open)
{
	struct copy copy = {file, to, open, 0};
	int result = shim_held_each(from, copy_if_read_lock, &copy);

	return result < 0 ? result : copy.result;
}

static bool look_for_write_lock(void *argument, const struct flock *held)
{
	bool *found = argument;

	*found = held->l_type == F_WRLCK;
	return !*found;
}

static bool may_have_write_locks(int fd)
{
	bool found = false;

	return shim_held_each(fd, look_for_write_lock, &found) < 0 || found;
}

static int open_wider(struct locked_file *file, int fd, uint8_t access)
{
	int old = atomic_load(&file->fd);

	if (may_have_write_locks(old))
		return -EBUSY;

	int new = open_private(file, fd, access);
	if (new < 0)
		return new;
	int result = shim_description_copy_read_locks(file, old, new, LOCKED_BY_MANY);
	if (result < 0) {
		shim_private_close(new);
		return result;
	}
	file->access = access;
	atomic_store(&file->fd, new);
	/* It stays, without a number, for threads that wait on it. */
	shim_description_unlock(old, 0, INT64_MAX);
	shim_private_close(old);
	return 0;
}

int shim_description_widen(struct locked_file *file, int fd, uint8_t access)
{
	/* While nobody is the only one, everybody comes through the gate, which
	 * is shut.  Who has locked on the old description without, and after
	 * the look at its locks, finds another number when it confirms, and
	 * begins anew. */
	uint32_t sole = atomic_exchange(&file->sole, LOCKED_BY_MANY);
	int result = open_wider(file, fd, access | file->access);

	atomic_store(&file->sole, sole);
	return result;
}
