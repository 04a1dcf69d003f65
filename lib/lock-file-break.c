/*
 * Taking a lock from processes that live.
 *
 * A lock that belongs to an open file description is given back by an unlock
 * through any descriptor of it, and pidfd_getfd(2) gives us one: that of the
 * holder, which neither notices nor must be stopped.  The order matters:
 *
 *	pidfd_open      then look whether it is still the process we mean
 *	pidfd_getfd     then look whether the descriptor still has the lock
 *	O_APPEND        from now on the holder's own writes cannot hit the
 *	                next holder's record, and it knows; see lock-file.c
 *	                then look once more, see mark()
 *	the end         of its record: broken, and by whom
 *	unlock
 *
 * Only descriptions that librelock has opened get O_APPEND: to other programs
 * it would change what their writes do.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/syscall.h>

#include "cleanup.h"
#include "clock.h"
#include "lock-file-look.h"
#include "lock-file-record.h"
#include "message.h"
#include "process.h"

static int descriptor_of(const struct file_holder *holder, int *ret_fd)
{
	CLEANUP_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, holder->pid, 0);

	if (pidfd < 0)
		return -errno;
	const struct record *record = holder->slot ? &holder->slot->record : NULL;
	if (record && !process_is_alive(holder->pid, record->via_pid ? record->via_start_time
								     : record->start_time))
		return -ESRCH;
	int fd = (int)syscall(SYS_pidfd_getfd, pidfd, holder->fd, 0);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* Opened with the flags of lock_file_open_existing(), which hardly anybody else
 * combines for a regular file. */
static bool is_librelocks(int flags)
{
	const int ours = O_NONBLOCK | O_NOFOLLOW;

	return (flags & ours) == ours;
}

/*
 * Marks a description of ours as broken: 1 if there is still a lock on it to
 * be broken, else 0.  A holder looks for the mark after its own unlock: so if
 * the lock is still there once the mark is, the holder will see it; and if not,
 * the holder may have looked already, and the mark must go, or its next hold
 * would be taken for broken.
 */
static int mark(int fd, const struct file_holder *holder, enum lock_line_type type,
		const struct file_id *id)
{
	int flags = fcntl(fd, F_GETFL);
	struct lock_line line;

	if (flags < 0)
		return -errno;
	/* Its record may be about to be written. */
	if (!holder->slot && !is_librelocks(flags))
		return 1;
	if (fcntl(fd, F_SETFL, flags | O_APPEND) < 0)
		return -errno;
	if (descriptor_holds(getpid(), fd, type, id, &line) != 0)
		return 1;
	fcntl(fd, F_SETFL, flags);
	return 0;
}

/* A holder without a record of its own, on a description of librelock's, has
 * inherited it: the record is that of the process which left it behind. */
static void record_break(const struct file_look *look, const struct file_holder *holder, int fd,
			 const struct breaker *by)
{
	CLEANUP_FREE struct slot *last = NULL;
	const struct slot *slot = holder->slot;

	if (!slot && look->mode == HOLD_EXCLUSIVE && is_librelocks(fcntl(fd, F_GETFL))) {
		last = malloc(sizeof *last);
		if (last && slot_read(look->fd, 0, last) && last->end.how == RELOCK_END_NONE)
			slot = last;
	}
	if (slot && look->writable)
		lock_record_end(look->fd, holder->slot_number, slot->record.hold, by);
}

static int break_holder(const struct file_store *store, const char *name,
			const struct file_look *look, const struct file_holder *holder,
			const struct breaker *by)
{
	const enum hold_mode none = HOLD_NONE;
	CLEANUP_CLOSE int fd = -1;
	struct lock_line line;

	if (holder->pid == 0)
		return failed(-ESRCH, "%s: its holder is in another pid namespace; break it there",
			      name);
	int result = descriptor_of(holder, &fd);
	if (result == -EPERM || result == -EACCES)
		return failed(-EPERM,
			      "%s: held by pid %d, which you have no rights over (see ptrace(2)); "
			      "ask its owner, or root",
			      name, (int)holder->pid);
	if (result == -ENOSYS)
		return failed(-ENOSYS, "%s: this kernel cannot break a lock (no pidfd_getfd)",
			      name);
	if (result < 0) /* gone by itself */
		return result == -ESRCH || result == -EBADF ? 0 : result;
	if (descriptor_holds(getpid(), fd, store->primitive->line_type, &look->id, &line) == 0) {
		struct lock_line posix = {0};
		/* A legacy record lock belongs to the process: nobody else can
		 * give it back. */
		if (descriptor_holds(holder->pid, holder->fd, LOCK_LINE_POSIX, &look->id, &posix) ==
		    1)
			return failed(
				-EOPNOTSUPP,
				"%s: held by pid %d with a legacy record lock, which only the "
				"process itself can give back; run it under `relock exec`, or "
				"end it",
				name, (int)holder->pid);
		return 0; /* it has given it back by itself */
	}
	result = mark(fd, holder, store->primitive->line_type, &look->id);
	if (result <= 0)
		return result;
	record_break(look, holder, fd, by);
	return store->primitive->wait.set(fd, &none, false);
}

/* Two that break the same lock would take each other's marks back.  If
 * somebody else keeps a lock of the guard's kind on the file, we do without. */
static bool keep_out_others(const struct lock_primitive *primitive, int fd)
{
	int64_t deadline = deadline_after(100 * RELOCK_MILLISECOND);

	do {
		if (primitive->guard_slots(fd) == 0)
			return true;
		sched_yield();
	} while (clock_now(CLOCK_MONOTONIC) < deadline);
	return false;
}

int lock_file_break(relock_store *store, const char *name, const struct breaker *by)
{
	const struct file_store *file_store = file_store_of(store);
	__attribute__((cleanup(snapshot_free))) struct snapshot snapshot = {0};
	__attribute__((cleanup(file_look_end))) struct file_look look = {.fd = -1};

	int result = file_look(file_store, name, &snapshot, &look);
	if (result < 0)
		return result;
	if (!look.held)
		return -ENOENT;
	if (look.holder_count == 0)
		return failed(-ESRCH,
			      "%s: its holder cannot be seen from here; look as root, and in the "
			      "first pid namespace",
			      name);
	bool guarded = keep_out_others(file_store->primitive, look.fd);
	for (size_t i = 0; i < look.holder_count && result >= 0; i++)
		result = break_holder(file_store, name, &look, &look.holders[i], by);
	if (guarded)
		file_store->primitive->leave_slots(look.fd);
	return result;
}
