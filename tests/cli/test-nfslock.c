/*
 * The commands and the mount on a store without a lock of the kernel's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"

static int setup(void **state)
{
	char url[512];

	if (folder_setup(state) != 0)
		return -1;
	snprintf(url, sizeof url, "nfslock:%s", test_path("store"));
	return setenv("RELOCK_STORE", url, 1);
}

static const char *lock_file(void)
{
	return test_path("store/demo.nfs_lock");
}

static void write_file(const char *text)
{
	FILE *file = fopen(lock_file(), "we");

	assert_non_null(file);
	fputs(text, file);
	fclose(file);
}

static void run_excludes_and_says_who(void **state)
{
	struct program holder = start_holder("demo", "-n");

	assert_int_equal(access(lock_file(), F_OK), 0);
	const struct outcome *refused = EXPECT(1, "run", "-n", "demo", "--", "true");
	EXPECT_IN(refused->err, "held exclusively by pid");
	EXPECT(1, "run", "-w", "0.05", "demo", "--", "true");
	struct outcome outcome = finish(&holder);
	outcome_free(&outcome);
	assert_int_not_equal(access(lock_file(), F_OK), 0);
	EXPECT(3, "run", "-n", "demo", "--", "sh", "-c", "exit 3");
	EXPECT_IN(EXPECT(0, "state", "demo")->out, "state: free");
}

static void a_killed_run_is_followed_at_once(void **state)
{
	struct program holder = start_holder("demo", "-n");

	kill(holder.pid, SIGKILL);
	struct outcome outcome = finish(&holder);
	outcome_free(&outcome);
	EXPECT_IN(EXPECT(0, "state", "demo")->out, "state: stale");
	EXPECT(0, "run", "-n", "demo", "--", "true");
}

static void shared_locks_are_refused(void **state)
{
	const struct outcome *outcome = RELOCK("run", "-s", "-n", "demo", "--", "true");

	assert_true(outcome->code >= 64);
	EXPECT_IN(outcome->err, "exclusive");
}

static void get_and_unget_work(void **state)
{
	EXPECT(0, "get", "-m", "toner change", "demo");
	const struct outcome *outcome = EXPECT(0, "state", "demo");
	assert_string_equal(state_value(outcome->out, "info"), "toner change");
	EXPECT_IN(EXPECT(0, "list")->out, "toner change");
	EXPECT_IN(EXPECT(0, "list", "--json")->out, "\"demo\"");
	EXPECT(1, "get", "-t", "0", "demo");
	EXPECT(0, "unget", "demo");
	EXPECT(1, "unget", "demo");
	outcome = EXPECT(0, "state", "demo");
	assert_string_equal(state_value(outcome->out, "last-info"), "toner change");
}

static void force_breaks(void **state)
{
	struct program holder = start_holder("demo", "-n");

	EXPECT(1, "unget", "demo");
	EXPECT(0, "unget", "--force", "demo");
	EXPECT(0, "run", "-n", "demo", "--", "true");
	struct outcome outcome = finish(&holder);
	EXPECT_IN(outcome.err, "broken");
	outcome_free(&outcome);
}

static void the_file_to_look_at_is_named(void **state)
{
	write_file("((host elsewhere.example) (pid 4711) (message \"nightly\"))\n");
	const struct outcome *outcome = EXPECT(1, "run", "-n", "demo", "--", "true");
	EXPECT_IN(outcome->err, lock_file());
	EXPECT_IN(outcome->err, "pid 4711 on host elsewhere.example");
	outcome = EXPECT(0, "state", "demo");
	assert_string_equal(state_value(outcome->out, "look-at"), lock_file());
	assert_string_equal(state_value(outcome->out, "info"), "nightly");
	EXPECT(0, "unget", "--force", "demo");
	EXPECT(0, "run", "-n", "demo", "--", "true");
}

/* The mount, from a shell, as README.md has it. */
static void the_mount_is_a_face_of_it(void **state)
{
	static const char script[] = "set -e; locks=$2; mkdir -p $locks\n"
				     "$1 $RELOCK_STORE $locks\n"
				     "trap 'umount $locks' EXIT\n"
				     "exec 9>$locks/demo; echo note >&9\n"
				     "grep -q 'info: note' $locks/demo\n"
				     "grep -q 'pid [0-9]*' $3\n"
				     "! (set -C; exec 8>$locks/demo) 2>/dev/null\n"
				     "! $4 run -n demo -- true 2>/dev/null\n"
				     "exec 9>&-\n"
				     "$4 run -w 10 demo -- true\n"
				     "flock -n $locks/demo true\n"
				     "! flock -n -s $locks/demo true 2>/dev/null\n"
				     "$4 run -n demo -- test -e $locks/demo\n"
				     "! test -e $locks/demo\n"
				     "grep -q released $locks/.history/demo\n";
	const struct outcome *outcome = RUN("sh", "-c", script, "sh", RELOCKFS, test_path("locks"),
					    lock_file(), relock_path());

	if (outcome->code != 0)
		fail_msg("%s", outcome->err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(run_excludes_and_says_who, setup, folder_teardown),
		cmocka_unit_test_setup_teardown(a_killed_run_is_followed_at_once, setup,
						folder_teardown),
		cmocka_unit_test_setup_teardown(shared_locks_are_refused, setup, folder_teardown),
		cmocka_unit_test_setup_teardown(get_and_unget_work, setup, folder_teardown),
		cmocka_unit_test_setup_teardown(force_breaks, setup, folder_teardown),
		cmocka_unit_test_setup_teardown(the_file_to_look_at_is_named, setup,
						folder_teardown),
		cmocka_unit_test_setup_teardown(the_mount_is_a_face_of_it, setup, folder_teardown),
	};

	return cmocka_run_group_tests_name("nfslock", tests, NULL, NULL);
}
