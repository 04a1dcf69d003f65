/*
 * The contract's table, row by row: the same program is run three times,
 * natively and under the shim in both semantics, through each function that a
 * program can make the call by, and must say in each case what the row says.
 * Where only one text is given, the row promises no difference.
 *
 * What a case does is in subject-*.c.  A lock map has a letter for each of the
 * bytes 0 to 9, and one for byte 1000.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "peer.h"
#include "program.h"
#include "rows.h"

/* Row 2: each of the two inside or outside of the shim. */

static struct program start_subject(enum regime regime, const char *subject_case, const char *file,
				    const char *entry)
{
	return program_start(&(struct program_start){
		.regime = regime,
		.arguments = {"preload-subject", subject_case, file, entry},
	});
}

static void check_pair(enum regime holders, enum regime waiters, const char *entry)
{
	const char *file = fresh_file();
	struct program_output output;
	struct program holder = start_subject(holders, "hold_lock", file, entry);

	assert_string_equal(program_words(&holder, 1), "ok");
	struct program trier = start_subject(waiters, "try_lock", file, entry);
	program_finish(&trier, &output);
	assert_string_equal(output.out, "EAGAIN");

	struct program waiter = start_subject(waiters, "wait_and_take_lock", file, entry);
	wait_until_blocked(waiter.pid, SYS_fcntl);
	program_finish(&holder, &output);
	program_finish(&waiter, &output);
	assert_string_equal(output.out, "ok");
}

static void row_02_conflict_inside_and_outside(void **state)
{
	static const enum regime inside[] = {PROCESS, OFD};

	(void)state;
	for (int i = 0; i < ENTRY_COUNT; i++) {
		for (size_t j = 0; j < sizeof inside / sizeof *inside; j++) {
			check_pair(NATIVE, inside[j], entry_names[i]);
			check_pair(inside[j], NATIVE, entry_names[i]);
			check_pair(inside[j], inside[j], entry_names[i]);
		}
		check_pair(PROCESS, OFD, entry_names[i]);
		check_pair(OFD, PROCESS, entry_names[i]);
	}
}

/* Row 12, across the border: the one thing that the shim cannot mend is what a
 * program outside it is told. */
static void row_12_holder_inside_and_outside(void **state)
{
	static const struct {
		enum regime holder, asker;
		bool is_named;
	} pairs[] = {
		{NATIVE, PROCESS, true},  {NATIVE, OFD, true},  {PROCESS, PROCESS, true},
		{PROCESS, OFD, true},     {OFD, PROCESS, true}, {OFD, OFD, true},
		{PROCESS, NATIVE, false}, {OFD, NATIVE, false},
	};
	struct program_output output;
	char expected[32];

	(void)state;
	for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
		const char *file = fresh_file();
		struct program holder = start_subject(pairs[i].holder, "hold_lock", file, "fcntl");
		program_words(&holder, 1);
		struct program asker = start_subject(pairs[i].asker, "ask_holder", file, "fcntl");
		program_finish(&asker, &output);
		snprintf(expected, sizeof expected, "ok %d", pairs[i].is_named ? holder.pid : -1);
		assert_string_equal(output.out, expected);
		program_finish(&holder, &output);
	}
}

/* The default. */
static void bare_preload_means_process(void **state)
{
	static const struct {
		const char *subject_case, *expected;
	} cases[] = {{"second_open", "ok"}, {"close_another_open", "held free"}};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
		assert_string_equal(program_says(&(struct program_start){
					    .regime = SHIM,
					    .arguments = {"preload-subject", cases[i].subject_case,
							  fresh_file(), "fcntl"}}),
				    cases[i].expected);
}

/* clang-format off */
static const struct CMUnitTest tests[] = {
	SAME("01", "ranges", ANY_FCNTL,
	     "ok wwwwwwwwww- ok wrrrrrrrrw- ok wrrwwrrrrw- ok wrrwwr-rrw- ok wrrwwrrrrw- "
	     "ok wrrw--rrrw- ok wrrw--rrww- ok ---w--rrww- ok ---w--rrwww ok -----------"),
	SAME("01", "ranges_by_lockf", ANY_LOCKF,
	     "ok ----www---- ok --wwwww---- ok --ww-ww---- ok --wwwwwwwww ok -----------"),
	cmocka_unit_test(bare_preload_means_process),
	cmocka_unit_test(row_02_conflict_inside_and_outside),
	ROW("03", "second_open", ANY, "ok", "ok", "EAGAIN"),
	ROW("03", "second_open_waits", ANY, "granted ok", "granted ok", "waits ok"),
	ROW("04", "close_another_open", ANY, "free free", "held free", "held free"),
	SAME("05", "close_last_duplicate", ANY, "free"),
	ROW("05", "close_while_mapped", ANY, "free free", "free free", "held free"),
	ROW("05", "close_while_inherited", ANY, "free free", "free free", "held free"),
	ROW("06", "close_one_duplicate", ANY, "free free", "held free", "held free"),
	ROW("07", "unlock_through_another", ANY, "ok free", "ok free", "ok held"),
	ROW("07", "change_through_another", ANY_FCNTL,
	    "ok wwwwwrrrrr- ok rrrrrwwwww-", "ok wwwwwrrrrr- ok rrrrrwwwww-",
	    "EAGAIN rrrrrrrrrr- EAGAIN wwwwwwwwww-"),
	ROW("08", "fork_child", ANY_FCNTL,
	    "parent's EAGAIN EAGAIN held", "parent's EAGAIN EAGAIN held", "free ok EAGAIN held"),
	ROW("08", "fork_child_locks", ANY_LOCKF,
	    "EAGAIN EAGAIN held", "EAGAIN EAGAIN held", "ok EAGAIN held"),
	ROW("08", "fork_child_unlocks", ANY, "held", "held", "free"),
	ROW("09", "holder_exits", ANY, "free free", "free free", "held free"),
	ROW("09", "holder_is_killed", ANY, "free free", "free free", "held free"),
	SAME("10", "exec_keeping", ANY, "held"),
	SAME("11", "exec_closing", ANY, "free"),
	SAME("12", "others_pid", ANY_FCNTL, "write 20 30 child write 20 0 child free"),
	SAME("12", "others_lock", ANY_LOCKF, "EACCES ok"),
	cmocka_unit_test(row_12_holder_inside_and_outside),
	ROW("13", "own_pid", ANY_FCNTL, "free free", "free free", "free write 0 10 self"),
	ROW("13", "own_lock", ANY_LOCKF, "ok ok", "ok ok", "ok EACCES"),
	ROW("14", "cycle", ANY, "returns EDEADLK", "returns EDEADLK", "waits ok"),
	SAME("15", "interrupted", ANY, "EINTR free"),
	SAME("15", "restarted", ANY, "waits-on ok held"),
	SAME("16", "cancelled", CANCELLABLE, "cancelled cleaned-up free"),
	SAME("16", "cancelled", SYSCALL, "ok no-clean-up held"),
	SAME("16", "cancelled_before", CANCELLABLE, "ok cancelled"),
	SAME("16", "cancelled_before", SYSCALL, "ok not-cancelled"),
	SAME("17", "left_in_pid", ANY_FCNTL,
	     "ok ok ok ok ok ok ok ok ok ok ok ok ok ok ok errno-kept"),
	/* F_SETLK, F_SETLKW, F_GETLK, each with l_pid 0 and with garbage there */
	SAME("18", "bad_arguments", ANY_FCNTL,
	     "descriptor: EBADF EBADF EBADF EBADF EBADF EBADF EBADF EBADF EBADF EBADF EBADF EBADF "
	     "mode: EBADF EBADF EBADF EBADF ok ok EBADF EBADF EBADF EBADF ok ok "
	     "EBADF EBADF EBADF EBADF EBADF EBADF "
	     "whence: EINVAL EINVAL EINVAL EINVAL EINVAL EINVAL "
	     "type: EINVAL EINVAL EINVAL EINVAL EINVAL EINVAL ok ok ok ok EINVAL EINVAL "
	     "before-start: EINVAL EINVAL EINVAL EINVAL EINVAL EINVAL "
	     "EINVAL EINVAL EINVAL EINVAL EINVAL EINVAL "
	     "overflow: EOVERFLOW EOVERFLOW EOVERFLOW EOVERFLOW EOVERFLOW EOVERFLOW "
	     "EOVERFLOW EOVERFLOW EOVERFLOW EOVERFLOW EOVERFLOW EOVERFLOW"),
	SAME("18", "bad_pointers", ANY_FCNTL,
	     "nowhere: EFAULT EFAULT EFAULT EFAULT EFAULT EFAULT EFAULT EFAULT EFAULT "
	     "EFAULT EFAULT EFAULT "
	     "half: EFAULT EFAULT EFAULT EFAULT EFAULT EFAULT at-end: ok ok ok ok ok ok "
	     "constant: ok ok EFAULT no-descriptor: EBADF EBADF EBADF"),
	SAME("18", "bad_lockf", ANY_LOCKF, "EINVAL EINVAL EBADF EBADF EBADF ok EINVAL EOVERFLOW"),
	SAME("19", "other_commands", FCNTL | SYSCALL,
	     "0 0 1 rdwr 0 append 100 200 0 0 owner owner 0 1 0 0 4 65536 EINVAL EFAULT 1 1 "
	     "mapped EINVAL pid ENOSYS"),
	SAME("20", "own_ofd_and_flock", FCNTL | SYSCALL, "EINVAL ok EAGAIN ok -1 ok free ok EAGAIN"),
	ROW("21", "closed_by_another_thread", ANY, "EBADF free", "EBADF free", "ok free"),
	SAME("22", "jumped_out", ANY, "jumped free ok"),
	SAME("23", "test_for_read_lock", ANY_LOCKF, "ok EACCES ok"),
};
/* clang-format on */

int main(void)
{
	return cmocka_run_group_tests_name("rows", tests, make_folder, remove_folder);
}
