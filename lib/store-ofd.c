/*
 * The store "ofd:DIR": an open-file-description lock on DIR/NAME, from its
 * first byte to the last that a file can have.
 *
 * It conflicts with every record lock on the file, legacy or not, so it works
 * together with whatever uses fcntl(2) or lockf(3) on it; it belongs to the
 * open file description, so threads exclude each other, other descriptors of
 * the file may come and go, and it ends with the last descriptor, however its
 * process ends.  It does not see flock(2) locks, of which one guards the slots.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>

#include "lock-file.h"

static short type_of(enum hold_mode mode)
{
	return mode == HOLD_EXCLUSIVE ? F_WRLCK : mode == HOLD_SHARED ? F_RDLCK : F_UNLCK;
}

static int set(int fd, const void *how, int wait)
{
	const enum hold_mode *mode = how;
	struct flock lock = {.l_type = type_of(*mode), .l_whence = SEEK_SET};

	if (fcntl(fd, wait ? F_OFD_SETLKW : F_OFD_SETLK, &lock) == 0)
		return 0;
	return errno == EACCES ? -EAGAIN : -errno;
}

static void restore(int fd, const void *before)
{
	set(fd, before, false);
}

static int test(int fd, enum hold_mode *ret_mode)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
		return -errno;
	if (lock.l_type == F_UNLCK)
		return 0;
	*ret_mode = lock.l_type == F_WRLCK ? HOLD_EXCLUSIVE : HOLD_SHARED;
	return 1;
}

static int guard_slots(int fd)
{
	return flock(fd, LOCK_EX | LOCK_NB) == 0 ? 0 : -EAGAIN;
}

static void leave_slots(int fd)
{
	flock(fd, LOCK_UN);
}

static const struct lock_primitive primitive = {
	.line_type = LOCK_LINE_OFD,
	.writes = true,
	.wait = {.set = set, .restore = restore},
	.test = test,
	.guard_slots = guard_slots,
	.leave_slots = leave_slots,
};

static int open_store(relock_store *store, const char *rest, bool any_folder)
{
	return lock_file_store_open(store, rest, any_folder, &primitive);
}

const struct store_operations store_ofd = {
	.scheme = "ofd",
	.open = open_store,
	.lock_size = sizeof(struct file_lock),
	.lock_open = lock_file_lock_open,
	.lock_close = lock_file_lock_close,
	.forget = lock_file_forget,
	LOCK_FILE_OPERATIONS,
};
