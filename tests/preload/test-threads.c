/*
 * Lock calls that meet: threads at once, signal handlers in the middle of
 * another call, jumps out of it, forks while others are inside; and row 21.
 *
 * Each says how often a call failed, whether a lock was gone before its time,
 * and what is left locked at the end.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "rows.h"

#define HANDLER(of, native)                                                                        \
	ROW_OF("04", "handler_locks_and_closes", of, FCNTL, "0 0 " native " free",                 \
	       "0 0 kept free", NULL)

/*
 * Not in `ofd`, where they look whether a lock has gone with the last close: the
 * kernel drops an OFD lock when the last one who uses the description is done,
 * and whoever reads /proc/PID/fdinfo just then is one, as is every search for a
 * holder on this machine.
 */
/* clang-format off */
static const struct CMUnitTest tests[] = {
	HANDLER("same_descriptor", "lost"),
	HANDLER("another_open", "lost"),
	HANDLER("another_file", "kept"),
	SAME("22", "jump_out_of_anything", FCNTL | LOCKF, "ok ok free ok ok held free"),
	/* In `ofd`, what the other open holds is not unlocked. */
	ROW("22", "jump_out_of_waits", FCNTL | LOCKF, "0 free ok ok free", "0 free ok ok free",
	    "0 free ok ok held"),
	ROW("04", "threads_in_one_file", FCNTL, "0 lost free", "0 kept free", NULL),
	ROW("04", "threads_in_own_files", FCNTL, "0 kept", "0 kept", NULL),
	ROW("06", "threads_with_one_open", FCNTL, "0 lost free ok free", "0 kept free ok free",
	    "0 kept free ok free"),
	SAME("02", "threads_against_process", FCNTL, "0 kept 0 free"),
	SAME("08", "fork_amid_locks", FCNTL, "0 free"),
	ROW("21", "closed_by_two_threads", ANY, "EBADF free", "EBADF free", "ok free"),
	ROW("21", "closed_but_for_a_duplicate", FCNTL, "EBADF free ok free", "EBADF free ok free",
	    "ok held ok free"),
	ROW("21", "replace_amid_locks", FCNTL, "0 free free", "0 free free", NULL),
	ROW("21", "replaced_during_wait", FCNTL, "EBADF free ok held", "EBADF free ok held",
	    "ok free ok held"),
};
/* clang-format on */

int main(void)
{
	return cmocka_run_group_tests_name("threads", tests, make_folder, remove_folder);
}
