/*
 * `ofd` semantics: each record lock of the program is an open file description
 * lock on the descriptor that the program names.  So a lock stays when another
 * descriptor of the file is closed, two opens of one process exclude each
 * other, and a forked child shares what its parent holds.
 *
 * The kernel's rules that this stands on (fs/locks.c, fcntl_setlk()): the
 * struct is checked as for F_SETLK, with the same errors in the same order;
 * only then l_pid must be 0, else EINVAL, where F_SETLK does not look at it.
 * Programs leave anything in l_pid.  Where the struct is at hand, a look at it
 * tells whether it takes a copy with l_pid cleared.  Else the kernel gets the
 * program's own struct, and most programs leave 0 there; only upon EINVAL is
 * there a copy.  If that fails too, the legacy call has the last word.  Either
 * the request is wrong, and the kernel says so; or there are no OFD locks here
 * (an old gVisor, proot, a seccomp filter) and the program gets what it asked
 * for.
 *
 * There is nothing here for any lock to guard: no state but the note that has
 * been given.
 */
#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "caller-memory.h"
#include "debug.h"
#include "holder.h"
#include "range.h"
#include "raw.h"
#include "semantics.h"

/* EINVAL from a kernel that does not know the command, EPERM or ENOSYS from a
 * filter that does not let it through.  fcntl(2) has no other use for the
 * latter two on a lock. */
static bool may_be_unsupported(int result)
{
	return result == -EINVAL || result == -EPERM || result == -ENOSYS;
}

void shim_note_no_ofd_locks(void)
{
	static atomic_flag noted = ATOMIC_FLAG_INIT;

	if (!atomic_flag_test_and_set(&noted))
		shim_debug_note("no OFD locks here: legacy record locks instead");
}

/* A copy without pid, if there is a pid and it can be read. */
static bool clear_pid(struct flock *ret, const struct flock *request)
{
	if (shim_caller_read(ret, request) < 0 || ret->l_pid == 0)
		return false;
	ret->l_pid = 0;
	return true;
}

static int ofd_set(int fd, struct flock *request, enum shim_wait wait)
{
	int ofd_command = wait == SHIM_AT_ONCE ? F_OFD_SETLK : F_OFD_SETLKW;
	int legacy_command = wait == SHIM_AT_ONCE ? F_SETLK : F_SETLKW;
	struct flock copy;
	bool is_copied = shim_caller_is_at_hand(request) && clear_pid(&copy, request);

	int result = shim_kernel_lock(fd, ofd_command, is_copied ? &copy : request, wait);
	if (!may_be_unsupported(result))
		return result;
	if (!is_copied && clear_pid(&copy, request)) {
		result = shim_kernel_lock(fd, ofd_command, &copy, wait);
		if (!may_be_unsupported(result))
			return result;
	}
	int legacy_result = shim_kernel_lock(fd, legacy_command, request, wait);
	if (legacy_result != result)
		shim_note_no_ofd_locks();
	return legacy_result;
}

static int ofd_test(int fd, struct flock *request)
{
	int result = raw_fcntl(fd, F_OFD_GETLK, request);
	if (!may_be_unsupported(result))
		return result;
	int legacy_result = raw_fcntl(fd, F_GETLK, request);
	if (legacy_result != result)
		shim_note_no_ofd_locks();
	return legacy_result;
}

int shim_ofd_answer(int fd, int asked, struct flock *request)
{
	struct flock answer;

	/* What cannot succeed is for the kernel to refuse.  F_UNLCK is among it:
	 * F_GETLK refuses it, while F_OFD_GETLK since Linux 6.6 answers with
	 * the description's own locks. */
	if (shim_caller_read(&answer, request) < 0 ||
	    (answer.l_type != F_RDLCK && answer.l_type != F_WRLCK))
		return raw_fcntl(fd, F_GETLK, request);

	pid_t caller_pid = answer.l_pid;
	answer.l_pid = 0;
	int result = asked == fd ? 0 : shim_range_fix(fd, &answer);
	if (result == 0)
		result = ofd_test(asked, &answer);
	if (result < 0)
		return result;
	/* Of a free range F_GETLK changes l_type and nothing else. */
	if (answer.l_type == F_UNLCK) {
		int whether = shim_caller_read(&answer, request);
		answer.l_type = F_UNLCK;
		answer.l_pid = caller_pid;
		if (whether < 0)
			return whether;
	} else if (answer.l_pid == -1) {
		answer.l_pid = shim_holder_pid(asked, &answer);
	}
	return shim_caller_write(request, &answer);
}

static int ofd_get(int fd, struct flock *request)
{
	return shim_ofd_answer(fd, fd, request);
}

const struct shim_semantics shim_semantics_ofd = {
	.name = "ofd",
	.set = ofd_set,
	.get = ofd_get,
	.test = ofd_test,
};
