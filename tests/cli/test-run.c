/*
 * relock run: what flock(1) does, and what it does not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "peer.h"

static void run_passes_the_status_on(void **state)
{
	EXPECT(0, "run", "a", "--", "true");
	EXPECT(7, "run", "a", "--", "sh", "-c", "exit 7");
	EXPECT(7, "run", "a", "sh", "-c", "exit 7");
}

static void run_passes_a_killed_commands_signal_on(void **state)
{
	EXPECT(128 + SIGKILL, "run", "a", "--", "sh", "-c", "kill -9 $$");
}

static void run_leaves_the_commands_options_alone(void **state)
{
	EXPECT_IN(EXPECT(0, "run", "a", "echo", "-n", "--store", "x")->out, "--store x");
}

static void run_wants_its_own_options_before_the_name(void **state)
{
	EXPECT_IN(EXPECT(64, "run", "a", "-n", "true")->err, "options go before it");
	EXPECT_IN(EXPECT(127, "run", "a", "--", "-n")->err, "cannot run -n");
}

static void run_of_nothing_executable_is_126_or_127(void **state)
{
	EXPECT_IN(EXPECT(127, "run", "a", "--", "no-such-command")->err,
		  "cannot run no-such-command: No such file");
	EXPECT_IN(EXPECT(126, "run", "a", "--", "/etc/passwd")->err, "Permission denied");
	EXPECT(127, "run", "-F", "a", "--", "no-such-command");
	EXPECT(126, "run", "-F", "a", "--", "/etc/passwd");
}

static void run_c_is_a_shell_command(void **state)
{
	EXPECT(5, "run", "a", "-c", "exit 5");
	EXPECT(5, "run", "-c", "exit 5", "a");
	EXPECT(5, "run", "-F", "a", "--command", "exit 5");
	EXPECT(64, "run", "a", "-c", "exit", "5");
	EXPECT(64, "run", "a", "-c");
	EXPECT(64, "run", "-c", "exit 5", "a", "more");
}

static void run_runs_scripts_without_an_interpreter_line(void **state)
{
	EXPECT_IN(EXPECT(0, "run", "a", "--", make_script("script", "echo plain\n"))->out, "plain");
}

static void run_excludes_another_run(void **state)
{
	struct program holder = start_holder("a", NULL);
	struct program waiter = START_RELOCK("run", "a", "--", "echo", "second");

	wait_until_blocked(waiter.pid, SYS_fcntl);
	say_line(&holder, "end");

	struct outcome first = finish(&holder), second = finish(&waiter);

	assert_int_equal(first.code, 0);
	assert_int_equal(second.code, 0);
	assert_string_equal(second.out, "second\n");
	outcome_free(&first);
	outcome_free(&second);
}

static void run_shared_shares(void **state)
{
	struct program holder = start_holder("a", "-s");

	EXPECT(0, "run", "-n", "-s", "a", "--", "true");
	EXPECT(1, "run", "-n", "a", "--", "true");

	struct outcome outcome = finish(&holder);

	outcome_free(&outcome);
	EXPECT(0, "run", "-n", "a", "--", "true");
}

static void run_that_gives_up_names_holder_and_remedy(void **state)
{
	struct program holder = start_holder("a", NULL);
	char pid[32];

	snprintf(pid, sizeof pid, "by pid %d (sh -c echo held", (int)holder.pid);

	const struct outcome *outcome = EXPECT(1, "run", "-n", "a", "--", "true");

	EXPECT_IN(outcome->err, "relock: a: not to be had at once");
	EXPECT_IN(outcome->err, pid);
	EXPECT_IN(outcome->err, "to break it: relock unget --force a");
	EXPECT_IN(EXPECT(9, "run", "-w", "0.05", "-E", "9", "a", "--", "true")->err,
		  "not to be had within 0.05 s");

	struct outcome end = finish(&holder);

	outcome_free(&end);
}

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * INT64_C(1000000000) + time.tv_nsec;
}

static void run_w_waits_until_its_deadline(void **state)
{
	struct program holder = start_holder("a", NULL);
	int64_t begin = now();

	EXPECT(1, "run", "-w", "0.2", "a", "--", "true");
	/* How punctual it is, the library's tests tell; a loaded machine may take
	 * its time to start a process. */
	assert_true(now() - begin >= 200000000);

	struct outcome end = finish(&holder);

	outcome_free(&end);
}

static void run_w_0_is_n(void **state)
{
	struct program holder = start_holder("a", NULL);

	EXPECT_IN(EXPECT(1, "run", "-w", "0", "a", "--", "true")->err, "at once");

	struct outcome end = finish(&holder);

	outcome_free(&end);
}

/* Does a command run with these options have the lock file open? */
static bool command_has_lock_file(const char *option)
{
	const struct outcome *outcome =
		EXPECT(0, "run", option, "open-or-not", "--", "ls", "-l", "/proc/self/fd");

	return strstr(outcome->out, "store/open-or-not");
}

static void run_o_closes_the_descriptor(void **state)
{
	/* A new file has no name yet when it is opened. */
	EXPECT(0, "run", "open-or-not", "--", "true");
	assert_true(command_has_lock_file("-x"));
	assert_false(command_has_lock_file("-o"));
	EXPECT(64, "run", "-o", "-F", "a", "--", "true");
}

static void run_F_replaces_relock_and_keeps_the_lock(void **state)
{
	struct program holder =
		START_RELOCK("run", "-F", "a", "--", "sh", "-c", "echo $$; read line; exit 6");

	assert_int_equal(atoi(hear_line(&holder)), holder.pid);
	EXPECT(1, "run", "-n", "a", "--", "true");
	assert_int_equal(atoi(state_value(RELOCK("state", "a")->out, "pid")), holder.pid);

	struct outcome outcome = finish(&holder);

	assert_int_equal(outcome.code, 6);
	outcome_free(&outcome);
	EXPECT(0, "run", "-n", "a", "--", "true");
}

/* The command leaves a process behind that still has the descriptor; `option`
 * decides whether it still has the lock. */
static void leave_process_behind(const char *option, int expected)
{
	struct program holder =
		START_RELOCK("run", option, "a", "--", "sh", "-c",
			     "exec 8<&0; { echo $$; read line; } <&8 2>/dev/null >&2 & echo gone");

	assert_string_equal(hear_line(&holder), "gone");

	int status = 0;

	assert_int_equal(waitpid(holder.pid, &status, 0), holder.pid);
	EXPECT(expected, "run", "-n", "a", "--", "true");
	if (expected != 0)
		EXPECT_IN(RELOCK("state", "a")->out, "state: held");
	/* Its end: end-of-file. */
	close(holder.in);
	close(holder.out);
	close(holder.err);
	EXPECT(0, "run", "-w", "10", "a", "--", "true");
}

static void run_leaves_the_lock_to_a_process_left_behind(void **state)
{
	leave_process_behind("-x", 1);
}

static void run_o_leaves_nothing_to_a_process_left_behind(void **state)
{
	leave_process_behind("-o", 0);
}

static void run_killed_leaves_the_lock_to_the_command(void **state)
{
	struct program holder = start_holder("a", NULL);

	kill(holder.pid, SIGKILL);

	int status = 0;

	assert_int_equal(waitpid(holder.pid, &status, 0), holder.pid);
	EXPECT(1, "run", "-n", "a", "--", "true");
	close(holder.in);
	close(holder.out);
	close(holder.err);
	EXPECT(0, "run", "-w", "10", "a", "--", "true");
}

static void expect_forwarded(int number, const char *name)
{
	struct program program = START_RELOCK("run", "a", "--", SUBJECT_SIGNALS);

	assert_string_equal(hear_line(&program), "ready");
	kill(program.pid, number);

	struct outcome outcome = finish(&program);

	assert_string_equal(outcome.out, name);
	assert_int_equal(outcome.code, 40 + number);
	outcome_free(&outcome);
}

static void run_forwards_SIGTERM_SIGINT_and_SIGHUP(void **state)
{
	expect_forwarded(SIGTERM, "SIGTERM\n");
	expect_forwarded(SIGINT, "SIGINT\n");
	expect_forwarded(SIGHUP, "SIGHUP\n");
}

static void run_that_waits_ends_by_a_signal(void **state)
{
	struct program holder = start_holder("a", NULL);
	struct program waiter = START_RELOCK("run", "a", "--", "echo", "never");

	wait_until_blocked(waiter.pid, SYS_fcntl);
	kill(waiter.pid, SIGTERM);

	struct outcome outcome = finish(&waiter);

	assert_int_equal(outcome.code, 128 + SIGTERM);
	assert_string_equal(outcome.out, "");
	outcome_free(&outcome);
	outcome = finish(&holder);
	outcome_free(&outcome);
}

static void run_gets_the_status_though_SIGCHLD_is_ignored(void **state)
{
	signal(SIGCHLD, SIG_IGN);

	struct program program = START_RELOCK("run", "a", "--", "sh", "-c", "exit 7");

	signal(SIGCHLD, SIG_DFL);

	struct outcome outcome = finish(&program);

	assert_int_equal(outcome.code, 7);
	outcome_free(&outcome);
}

static void run_says_that_its_lock_was_broken(void **state)
{
	struct program holder = start_holder("a", NULL);

	EXPECT(0, "unget", "--force", "a");
	EXPECT(0, "run", "-n", "a", "--", "true");
	say_line(&holder, "end");

	struct outcome outcome = finish(&holder);

	assert_int_equal(outcome.code, 0);
	EXPECT_IN(outcome.err, "the lock was broken while the command ran");
	outcome_free(&outcome);
}

static void run_records_command_and_info(void **state)
{
	struct program holder = START_RELOCK("run", "-m", "nightly", "a", "--", "sh", "-c",
					     "echo held; read line", "and", "more");

	assert_string_equal(hear_line(&holder), "held");

	const char *text = EXPECT(0, "state", "a")->out;

	assert_string_equal(state_value(text, "command"), "sh -c echo held; read line and more");
	assert_string_equal(state_value(text, "info"), "nightly");

	struct outcome outcome = finish(&holder);

	outcome_free(&outcome);
}

static void run_takes_a_path_for_a_name(void **state)
{
	const char *path = test_path("foo.lock");

	EXPECT(0, "run", path, "--", "true");
	assert_int_equal(access(path, F_OK), 0);
	assert_string_equal(state_value(EXPECT(0, "state", path)->out, "state"), "free");
}

static void run_verbose_tells_how_long_it_took(void **state)
{
	EXPECT_IN(EXPECT(0, "run", "--verbose", "a", "--", "true")->err,
		  "getting the lock took 0.");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(function) cmocka_unit_test_setup_teardown(function, folder_setup, folder_teardown)
		CASE(run_passes_the_status_on),
		CASE(run_passes_a_killed_commands_signal_on),
		CASE(run_leaves_the_commands_options_alone),
		CASE(run_wants_its_own_options_before_the_name),
		CASE(run_of_nothing_executable_is_126_or_127),
		CASE(run_c_is_a_shell_command),
		CASE(run_runs_scripts_without_an_interpreter_line),
		CASE(run_excludes_another_run),
		CASE(run_shared_shares),
		CASE(run_that_gives_up_names_holder_and_remedy),
		CASE(run_w_waits_until_its_deadline),
		CASE(run_w_0_is_n),
		CASE(run_o_closes_the_descriptor),
		CASE(run_F_replaces_relock_and_keeps_the_lock),
		CASE(run_leaves_the_lock_to_a_process_left_behind),
		CASE(run_o_leaves_nothing_to_a_process_left_behind),
		CASE(run_killed_leaves_the_lock_to_the_command),
		CASE(run_forwards_SIGTERM_SIGINT_and_SIGHUP),
		CASE(run_that_waits_ends_by_a_signal),
		CASE(run_gets_the_status_though_SIGCHLD_is_ignored),
		CASE(run_says_that_its_lock_was_broken),
		CASE(run_records_command_and_info),
		CASE(run_takes_a_path_for_a_name),
		CASE(run_verbose_tells_how_long_it_took),
	};

	return cmocka_run_group_tests_name("relock run", tests, NULL, NULL);
}
