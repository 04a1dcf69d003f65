/*
 * relock state, trace and list: what people and programs read.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <json-c/json.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "command.h"
#include "peer.h"

static struct json_object *parse(const char *text)
{
	struct json_object *json = json_tokener_parse(text);

	if (!json)
		print_error("not JSON: %s\n", text);
	assert_non_null(json);
	return json;
}

static struct json_object *member(struct json_object *object, const char *key,
				  enum json_type expected)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(object, key, &value))
		fail_msg("no key %s in %s", key, json_object_to_json_string(object));
	assert_int_equal(json_object_get_type(value), expected);
	return value;
}

static void state_of_a_name_never_used_is_free(void **state)
{
	const char *text = EXPECT(0, "state", "never")->out;

	assert_string_equal(text, "lock: never\nstate: free\n");
}

static void state_json_has_the_token_as_a_number_and_arrays(void **state)
{
	struct program holder = start_holder("a", NULL);
	struct program waiter = START_RELOCK("run", "a", "--", "true");

	wait_until_blocked(waiter.pid, SYS_fcntl);

	char text_token[32];

	snprintf(text_token, sizeof text_token, "%s",
		 state_value(EXPECT(0, "state", "a")->out, "token"));

	struct json_object *json = parse(EXPECT(0, "state", "--json", "a")->out);
	struct json_object *holders = member(json, "holders", json_type_array);
	struct json_object *waiters = member(json, "waiters", json_type_array);

	assert_string_equal(json_object_get_string(member(json, "lock", json_type_string)), "a");
	assert_string_equal(json_object_get_string(member(json, "state", json_type_string)),
			    "held");
	assert_int_equal(json_object_array_length(holders), 1);

	struct json_object *first = json_object_array_get_idx(holders, 0);

	assert_int_equal(json_object_get_int(member(first, "pid", json_type_int)), holder.pid);
	assert_int_equal(json_object_get_uint64(member(first, "token", json_type_int)),
			 strtoull(text_token, NULL, 10));
	assert_int_equal(json_object_array_length(waiters), 1);
	assert_int_equal(json_object_get_int(json_object_array_get_idx(waiters, 0)), waiter.pid);
	json_object_put(json);

	struct outcome end = finish(&holder);

	outcome_free(&end);
	end = finish(&waiter);
	outcome_free(&end);
}

static void state_shows_the_waiters(void **state)
{
	struct program holder = start_holder("a", NULL);
	struct program waiter = START_RELOCK("run", "a", "--", "true");

	wait_until_blocked(waiter.pid, SYS_fcntl);

	const char *waiters = state_value(EXPECT(0, "state", "a")->out, "waiters");

	assert_non_null(waiters);
	assert_int_equal(atoi(waiters), waiter.pid);

	struct outcome end = finish(&holder);

	outcome_free(&end);
	end = finish(&waiter);
	outcome_free(&end);
}

static void state_of_shared_holders_has_a_block_for_each(void **state)
{
	struct program one = start_holder("a", "-sF"), two = start_holder("a", "-sF");
	struct json_object *json = parse(EXPECT(0, "state", "-J", "a")->out);
	struct json_object *holders = member(json, "holders", json_type_array);
	int pids[2], found = 0;

	assert_int_equal(json_object_array_length(holders), 2);
	for (size_t i = 0; i < 2; i++) {
		pids[i] = json_object_get_int(
			member(json_object_array_get_idx(holders, i), "pid", json_type_int));
		found += pids[i] == one.pid || pids[i] == two.pid;
	}
	assert_int_equal(found, 2);
	assert_int_not_equal(pids[0], pids[1]);
	json_object_put(json);

	struct outcome end = finish(&one);

	outcome_free(&end);
	end = finish(&two);
	outcome_free(&end);
}

static void state_keeps_the_history(void **state)
{
	EXPECT(0, "run", "-m", "what for", "a", "--", "true");

	const char *text = EXPECT(0, "state", "a")->out;

	assert_string_equal(state_value(text, "state"), "free");
	assert_string_equal(state_value(text, "last-command"), "true");
	assert_string_equal(state_value(text, "last-info"), "what for");
	assert_non_null(state_value(text, "released"));

	struct json_object *json = parse(EXPECT(0, "state", "--json", "a")->out);

	member(json, "last-token", json_type_int);
	assert_int_equal(json_object_array_length(member(json, "holders", json_type_array)), 0);
	assert_int_equal(json_object_array_length(member(json, "waiters", json_type_array)), 0);
	json_object_put(json);
}

static void hear_until(struct program *program, const char *wanted)
{
	while (strcmp(hear_line(program), wanted) != 0)
		;
}

static void trace_prints_each_change(void **state)
{
	struct program trace = START_RELOCK("trace", "-u", "0.01", "a");

	hear_until(&trace, "state: free");

	struct program holder = start_holder("a", NULL);

	hear_until(&trace, "state: held");

	struct outcome end = finish(&holder);

	outcome_free(&end);
	hear_until(&trace, "state: free");
	kill(trace.pid, SIGINT);
	end = finish(&trace);
	assert_int_equal(end.code, 0);
	/* Nothing changed since. */
	EXPECT_NOT_IN(end.out, "state:");
	outcome_free(&end);
}

static void trace_json_is_one_line_for_each_change(void **state)
{
	struct program trace = START_RELOCK("trace", "--json", "-u", "0.01", "a");
	struct json_object *json = parse(hear_line(&trace));

	assert_string_equal(json_object_get_string(member(json, "state", json_type_string)),
			    "free");
	json_object_put(json);

	struct program holder = start_holder("a", NULL);

	/* It may have looked between the lock and its record. */
	json = parse(hear_line(&trace));
	assert_string_equal(json_object_get_string(member(json, "state", json_type_string)),
			    "held");
	json_object_put(json);

	struct outcome end = finish(&holder);

	outcome_free(&end);
	kill(trace.pid, SIGTERM);
	end = finish(&trace);
	assert_int_equal(end.code, 0);
	outcome_free(&end);
}

static void trace_ends_when_nobody_reads(void **state)
{
	struct program trace = START_RELOCK("trace", "-u", "0.01", "a");

	hear_until(&trace, "state: free");
	/* Closes the pipe, and leaves its number to what finish() may read. */
	assert_int_equal(dup2(trace.err, trace.out), trace.out);

	struct outcome end = finish(&trace);

	assert_int_equal(end.code, 0);
	outcome_free(&end);
}

static void trace_complains_once_where_it_cannot_write(void **state)
{
	char command[512];

	snprintf(command, sizeof command, "'%s' trace a >/dev/full", relock_path());

	const struct outcome *outcome = RUN("sh", "-c", command);
	const char *complaint = "relock: cannot write to standard output: No space left";

	expect_code(outcome, 74, __FILE__, __LINE__);
	EXPECT_IN(outcome->err, complaint);
	EXPECT_NOT_IN(outcome->err + 1, complaint);
}

static void list_shows_held_locks(void **state)
{
	struct program holder = start_holder("held", NULL);
	char pid[32];

	EXPECT(0, "run", "free", "--", "true");

	const struct outcome *outcome =
		EXPECT(0, "list", "--raw", "--noheadings", "-o", "NAME,MODE,PID");

	snprintf(pid, sizeof pid, "held exclusive %d\n", (int)holder.pid);
	assert_string_equal(outcome->out, pid);
	EXPECT_IN(EXPECT(0, "list")->out, "NAME");
	EXPECT_NOT_IN(EXPECT(0, "list")->out, "free");
	EXPECT_IN(EXPECT(0, "list", "-a")->out, "released");

	struct outcome end = finish(&holder);

	outcome_free(&end);
	assert_string_equal(EXPECT(0, "list", "-n")->out, "");
}

static void list_json_is_nested(void **state)
{
	struct program holder = start_holder("a", NULL);
	struct json_object *json = parse(EXPECT(0, "list", "--json")->out);
	struct json_object *locks = member(json, "locks", json_type_array);

	assert_int_equal(json_object_array_length(locks), 1);

	struct json_object *lock = json_object_array_get_idx(locks, 0);

	assert_string_equal(json_object_get_string(member(lock, "lock", json_type_string)), "a");
	assert_int_equal(json_object_array_length(member(lock, "holders", json_type_array)), 1);
	json_object_put(json);

	struct outcome end = finish(&holder);

	outcome_free(&end);
	json = parse(EXPECT(0, "list", "--json")->out);
	assert_int_equal(json_object_array_length(member(json, "locks", json_type_array)), 0);
	json_object_put(json);
}

static void list_json_o_has_the_columns(void **state)
{
	struct program one = start_holder("a", "-sF"), two = start_holder("a", "-sF");
	struct json_object *json = parse(EXPECT(0, "list", "--json", "-o", "NAME,PID,USER")->out);
	struct json_object *lock =
		json_object_array_get_idx(member(json, "locks", json_type_array), 0);
	struct json_object *pids = member(lock, "pid", json_type_array);

	assert_int_equal(json_object_array_length(pids), 2);
	assert_int_equal(json_object_get_type(json_object_array_get_idx(pids, 0)), json_type_int);
	json_object_put(json);

	struct outcome end = finish(&one);

	outcome_free(&end);
	end = finish(&two);
	outcome_free(&end);
}

/* Null and nothing are told apart as in the nested form. */
static void list_json_o_has_the_types_of_the_nested_form(void **state)
{
	struct program holder = start_holder("a", NULL);
	struct program waiter = START_RELOCK("run", "a", "--", "true");

	EXPECT(0, "run", "b", "--", "true");
	wait_until_blocked(waiter.pid, SYS_fcntl);

	struct json_object *json =
		parse(EXPECT(0, "list", "-aJ", "-o", "NAME,PID,TOKEN,WAITERS,VIA,COMMAND")->out);
	struct json_object *locks = member(json, "locks", json_type_array);
	struct json_object *held = json_object_array_get_idx(locks, 0);
	struct json_object *waiters = member(held, "waiters", json_type_array);

	member(held, "token", json_type_int);
	assert_int_equal(json_object_array_length(waiters), 1);
	assert_int_equal(json_object_get_type(json_object_array_get_idx(waiters, 0)),
			 json_type_int);
	assert_int_equal(json_object_get_int(json_object_array_get_idx(waiters, 0)), waiter.pid);
	/* One holder, and nobody holds it on its behalf. */
	assert_int_equal(json_object_array_length(member(held, "via", json_type_array)), 1);
	assert_null(json_object_array_get_idx(member(held, "via", json_type_array), 0));

	struct json_object *free = json_object_array_get_idx(locks, 1);

	assert_int_equal(json_object_array_length(member(free, "pid", json_type_array)), 0);
	assert_int_equal(json_object_array_length(member(free, "waiters", json_type_array)), 0);
	member(free, "token", json_type_null);
	json_object_put(json);

	struct outcome end = finish(&holder);

	outcome_free(&end);
	end = finish(&waiter);
	outcome_free(&end);
}

/* On a terminal of 80 columns, which script(1) makes. */
static const char *list_on_a_terminal(void)
{
	char command[512];

	snprintf(command, sizeof command, "stty cols 80; '%s' list", relock_path());
	return RUN("script", "-qec", command, "/dev/null")->out;
}

static void list_fits_the_terminal_and_nothing_else(void **state)
{
	char command[300], info[151] = "", script[256];

	memset(info, 'i', sizeof info - 1);
	snprintf(script, sizeof script, "echo held; read line; : %.100s", info);

	struct program holder =
		START_RELOCK("run", "-s", "-m", info, "a", "--", "sh", "-c", script);

	assert_string_equal(hear_line(&holder), "held");
	EXPECT(0, "get", "-s", "-m", "short", "a");
	snprintf(command, sizeof command, "sh -c %s", script);

	size_t lines = 0;

	for (const char *line = list_on_a_terminal(); *line; lines++) {
		size_t length = strcspn(line, "\r\n");

		if (length > 80)
			fail_msg("%zu columns: %.*s", length, (int)length, line);
		line += length + strspn(line + length, "\r\n");
	}
	assert_int_equal(lines, 3);
	EXPECT_IN(list_on_a_terminal(), "iii...");
	EXPECT_IN(list_on_a_terminal(), "sh -c echo");
	EXPECT_IN(EXPECT(0, "list")->out, info);
	EXPECT_IN(EXPECT(0, "list")->out, command);
	EXPECT_IN(EXPECT(0, "list", "--raw", "-o", "INFO")->out, info);

	struct outcome end = finish(&holder);

	outcome_free(&end);
}

static void list_knows_its_columns(void **state)
{
	EXPECT_IN(EXPECT(64, "list", "-o", "NAME,NOPE")->err, "no column 'NOPE'; there are NAME");
	EXPECT(64, "list", "-o", "");
	EXPECT(0, "get", "a");
	EXPECT_IN(EXPECT(0, "list", "-o", "+token")->out, "TOKEN");
	EXPECT(64, "list", "--raw", "--json");
	EXPECT(64, "list", "name");
}

static void info_is_shown_escaped(void **state)
{
	struct program holder = START_RELOCK("run", "-m", "a\nb\x1b[31m\xff\\", "a", "--", "sh",
					     "-c", "echo held; read line");
	const char *shown = "a\\nb\\x1b[31m\\xff\\\\";

	assert_string_equal(hear_line(&holder), "held");
	assert_string_equal(state_value(EXPECT(0, "state", "a")->out, "info"), shown);
	EXPECT_IN(EXPECT(1, "run", "-n", "a", "--", "true")->err, shown);
	EXPECT_IN(EXPECT(1, "unget", "a")->err, shown);
	EXPECT_IN(EXPECT(0, "list")->out, shown);

	const char *commands[][3] = {
		{"state", "a", NULL}, {"list", "-a", NULL}, {"list", "-J", NULL}};

	for (size_t i = 0; i < 3; i++) {
		const struct outcome *outcome = RELOCK(commands[i][0], commands[i][1]);

		EXPECT_NOT_IN(outcome->out, "\x1b");
		EXPECT_NOT_IN(outcome->out, "\xff");
	}

	struct json_object *json = parse(EXPECT(0, "state", "--json", "a")->out);

	json_object_put(json);

	struct outcome end = finish(&holder);

	outcome_free(&end);
}

static void info_has_at_most_4096_bytes(void **state)
{
	static char info[4098];

	memset(info, 'x', 4097);
	EXPECT(64, "run", "-m", info, "a", "--", "true");
	EXPECT(64, "get", "-m", info, "a");
	info[4096] = '\0';
	EXPECT(0, "run", "-m", info, "a", "--", "true");
	EXPECT_IN(EXPECT(0, "state", "a")->out, info);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(function) cmocka_unit_test_setup_teardown(function, folder_setup, folder_teardown)
		CASE(state_of_a_name_never_used_is_free),
		CASE(state_json_has_the_token_as_a_number_and_arrays),
		CASE(state_shows_the_waiters),
		CASE(state_of_shared_holders_has_a_block_for_each),
		CASE(state_keeps_the_history),
		CASE(trace_prints_each_change),
		CASE(trace_json_is_one_line_for_each_change),
		CASE(trace_ends_when_nobody_reads),
		CASE(trace_complains_once_where_it_cannot_write),
		CASE(list_shows_held_locks),
		CASE(list_json_is_nested),
		CASE(list_json_o_has_the_columns),
		CASE(list_json_o_has_the_types_of_the_nested_form),
		CASE(list_fits_the_terminal_and_nothing_else),
		CASE(list_knows_its_columns),
		CASE(info_is_shown_escaped),
		CASE(info_has_at_most_4096_bytes),
	};

	return cmocka_run_group_tests_name("relock state, trace, list", tests, NULL, NULL);
}
