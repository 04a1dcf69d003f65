/*
 * relock on a store of POSIX semaphores: each subcommand of resourcelock, beside
 * programs that use the semaphore by themselves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "private-shm.h"
#include "semaphores.h"

static int setup(void **state)
{
	assert_int_equal(private_shm(), 0);
	folder_setup(state);
	setenv("RELOCK_STORE", "sem:", 1);
	return 0;
}

static int teardown(void **state)
{
	private_shm_clear();
	return folder_teardown(state);
}

static void get_and_unget(void **state)
{
	sem_t *semaphore = semaphore_of("a");

	EXPECT_IN(EXPECT(0, "get", "-m", "nightly", "a")->out, "a: granted, exclusive, held by");
	assert_int_equal(value_of_semaphore(semaphore), 0);
	EXPECT_IN(EXPECT(1, "get", "-t", "0.01", "a")->err, "nightly");
	const char *text = EXPECT(0, "state", "a")->out;
	assert_string_equal(state_value(text, "value"), "0");
	assert_string_equal(state_value(text, "info"), "nightly");
	EXPECT_IN(state_value(text, "via"), "relock get");
	EXPECT(0, "unget", "a");
	assert_int_equal(value_of_semaphore(semaphore), 1);
	EXPECT(1, "unget", "a");
	text = EXPECT(0, "state", "a")->out;
	assert_string_equal(state_value(text, "state"), "free");
	assert_string_equal(state_value(text, "last-info"), "nightly");
	sem_close(semaphore);
}

static void unget_forces_what_another_program_holds(void **state)
{
	sem_t *semaphore = semaphore_of("a");

	assert_int_equal(sem_wait(semaphore), 0);
	EXPECT_IN(EXPECT(1, "run", "-n", "a", "--", "true")->err, "a: not to be had at once");
	EXPECT_IN(EXPECT(0, "state", "a")->out, "relock unget --force");
	EXPECT(1, "unget", "a");
	assert_int_equal(value_of_semaphore(semaphore), 0);
	EXPECT(0, "unget", "--force", "a");
	assert_int_equal(value_of_semaphore(semaphore), 1);
	sem_close(semaphore);
}

static void run_gives_back(void **state)
{
	sem_t *semaphore = semaphore_of("a");
	struct program holder = start_holder("a", NULL);

	assert_int_equal(value_of_semaphore(semaphore), 0);
	EXPECT(1, "run", "-n", "a", "--", "true");
	EXPECT(1, "run", "-w", "0.01", "a", "--", "true");
	struct outcome outcome = finish(&holder);
	outcome_free(&outcome);
	assert_int_equal(value_of_semaphore(semaphore), 1);
	sem_close(semaphore);
}

static void a_killed_run_is_noticed(void **state)
{
	sem_t *semaphore = semaphore_of("a");

	/* Its command replaces it, and leaves nothing behind. */
	EXPECT(137, "run", "-F", "a", "--", "sh", "-c", "kill -9 $$");
	assert_int_equal(value_of_semaphore(semaphore), 0);
	EXPECT_IN(EXPECT(0, "state", "a")->out, "died: ");
	EXPECT(0, "run", "-n", "a", "--", "true");
	assert_int_equal(value_of_semaphore(semaphore), 1);
	sem_close(semaphore);
}

static void list_and_trace_show_it(void **state)
{
	struct program holder = start_holder("a", NULL);

	EXPECT_IN(EXPECT(0, "list")->out, "a ");
	struct json_object *all = json_tokener_parse(EXPECT(0, "list", "--json")->out);
	struct json_object *locks = NULL, *value = NULL;
	assert_non_null(all);
	assert_true(json_object_object_get_ex(all, "locks", &locks));
	assert_int_equal(json_object_array_length(locks), 1);
	assert_true(
		json_object_object_get_ex(json_object_array_get_idx(locks, 0), "value", &value));
	assert_int_equal(json_object_get_int(value), 0);
	json_object_put(all);
	struct program trace = START_RELOCK("trace", "-u", "0.05", "a");
	EXPECT_IN(hear_line(&trace), "a");
	kill(trace.pid, SIGINT);
	struct outcome outcome = finish(&trace);
	outcome_free(&outcome);
	outcome = finish(&holder);
	outcome_free(&outcome);
}

static void shared_says_why_not(void **state)
{
	EXPECT_IN(EXPECT(69, "run", "-s", "a", "--", "true")->err, "a semaphore has one holder");
}

static void nothing_follows_the_colon(void **state)
{
	EXPECT_IN(RELOCK("state", "--store", "sem:/dev/shm", "a")->err, "nothing follows");
}

#define test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test(get_and_unget),
		test(unget_forces_what_another_program_holds),
		test(run_gives_back),
		test(a_killed_run_is_noticed),
		test(list_and_trace_show_it),
		test(shared_says_why_not),
		test(nothing_follows_the_colon),
	};

	return cmocka_run_group_tests_name("relock on sem", tests, NULL, NULL);
}
