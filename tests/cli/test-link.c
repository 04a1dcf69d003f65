/*
 * The command on a store of claim files: its lifetimes, and that a command does not
 * outlive the lock it runs under.
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
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "peer.h"

static int setup(void **state)
{
	char url[300];

	if (folder_setup(state) != 0)
		return -1;
	snprintf(url, sizeof url, "link:%s", test_path("store"));
	return setenv("RELOCK_STORE", url, 1);
}

static time_t expiry_of(const char *name)
{
	struct stat status;

	assert_int_equal(stat(test_path(name), &status), 0);
	return status.st_mtime;
}

static void run_excludes_and_gives_back(void **state)
{
	struct program holder = start_holder("a", "-x");

	EXPECT_IN(EXPECT(1, "run", "-n", "a", "--", "true")->err, "held exclusively by pid");
	EXPECT_IN(EXPECT(0, "state", "a")->out, "expires: ");
	EXPECT_IN(EXPECT(0, "list")->out, "a");
	struct outcome outcome = finish(&holder);
	outcome_free(&outcome);
	EXPECT_IN(EXPECT(0, "state", "a")->out, "released: ");
	EXPECT(0, "run", "-n", "a", "--", "true");
}

static void lifetime_is_that_of_the_lock_file(void **state)
{
	struct program holder = START_RELOCK("run", "--lifetime", "500", "a", "--", "sh", "-c",
					     "echo held; read line");

	assert_string_equal(hear_line(&holder), "held");
	assert_in_range(expiry_of("store/a"), time(NULL) + 490, time(NULL) + 501);
	struct outcome outcome = finish(&holder);
	assert_int_equal(outcome.code, 1); /* of `read` at the end of its input */
	outcome_free(&outcome);
	EXPECT(0, "get", "--lifetime", "700", "b");
	assert_in_range(expiry_of("store/b"), time(NULL) + 690, time(NULL) + 701);
	EXPECT(0, "unget", "b");
	EXPECT_IN(EXPECT(64, "run", "--lifetime", "x", "a", "true")->err, "--lifetime 'x'");
	EXPECT_IN(EXPECT(64, "get", "--lifetime", "-1", "a")->err, "--lifetime '-1'");
}

static void run_f_needs_a_lifetime(void **state)
{
	EXPECT_IN(EXPECT(64, "run", "-F", "a", "--", "true")->err, "-F needs --lifetime");
	EXPECT_IN(EXPECT(0, "run", "-F", "--lifetime", "60", "a", "--", relock_path(), "state", "a")
			  ->out,
		  "state: held");
	/* Nobody has given it back, but its holder is gone. */
	EXPECT_IN(EXPECT(0, "state", "a")->out, "state: stale");
	EXPECT(0, "run", "-n", "a", "--", "true");
}

static void shared_is_refused(void **state)
{
	EXPECT_IN(EXPECT(69, "run", "-s", "a", "--", "true")->err, "exclusive locks only");
}

/* The command writes its pid, and waits for its input, which stays open here. */
static void a_command_does_not_outlive_its_lock(void **state)
{
	struct program holder =
		START_RELOCK("run", "a", "--", "sh", "-c", "echo $$; read line; echo survived");

	assert_true(atoi(hear_line(&holder)) > 0);
	kill(holder.pid, SIGKILL);
	/* The output ends: so the command has, too. */
	struct outcome outcome = {0};
	char byte;
	assert_int_equal(read(holder.out, &byte, 1), 0);
	outcome = finish(&holder);
	assert_int_equal(outcome.code, 128 + SIGKILL);
	outcome_free(&outcome);
	EXPECT(0, "run", "-n", "a", "--", "true");
}

static void a_file_that_is_no_lock_is_named(void **state)
{
	int fd = open(test_path("store/a"), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_int_not_equal(fd, -1);
	close(fd);
	EXPECT_IN(EXPECT(1, "run", "-n", "a", "--", "true")->err, test_path("store/a"));
	EXPECT_IN(EXPECT(0, "state", "a")->out, "look-at: ");
	EXPECT_IN(EXPECT(0, "state", "--json", "a")->out, "\"look-at\"");
	EXPECT(0, "unget", "--force", "a");
	EXPECT(0, "run", "-n", "a", "--", "true");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(run_excludes_and_gives_back, setup,
						folder_teardown),
		cmocka_unit_test_setup_teardown(lifetime_is_that_of_the_lock_file, setup,
						folder_teardown),
		cmocka_unit_test_setup_teardown(run_f_needs_a_lifetime, setup, folder_teardown),
		cmocka_unit_test_setup_teardown(shared_is_refused, setup, folder_teardown),
		cmocka_unit_test_setup_teardown(a_command_does_not_outlive_its_lock, setup,
						folder_teardown),
		cmocka_unit_test_setup_teardown(a_file_that_is_no_lock_is_named, setup,
						folder_teardown),
	};

	return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
