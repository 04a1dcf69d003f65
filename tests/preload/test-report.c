/*
 * The lines of RELOCK_DEBUG and RELOCK_TRACE by themselves: moments that no
 * test can wait for, and the largest of everything.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <json-c/json.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "report.h"

static const char *time_of_note(int64_t second, long nanosecond)
{
	static char line[REPORT_JSON_SIZE];
	struct text text = TEXT(line);

	shim_report_json_note(&text, &(struct shim_speaker){.time = {second, nanosecond}}, "");
	line[strlen("{\"time\":\"2000-01-01T00:00:00.000000Z")] = '\0';
	return line + strlen("{\"time\":\"");
}

static void json_time(void **state)
{
	enum { DAY = 24 * 60 * 60, DAYS = (2262 - 1970) * 365 };
	char expected[64];

	(void)state;
	assert_string_equal(time_of_note(0, 0), "1970-01-01T00:00:00.000000Z");
	assert_string_equal(time_of_note(951782399, 999999999), "2000-02-28T23:59:59.999999Z");
	assert_string_equal(time_of_note(951782400, 1000), "2000-02-29T00:00:00.000001Z");
	assert_string_equal(time_of_note(4107542400, 120999), "2100-03-01T00:00:00.000120Z");
	/* Each day until the kernel's clock ends, at another time of it. */
	for (int64_t day = 0; day < DAYS; day++) {
		time_t moment = day * DAY + day * 7919 % DAY;
		struct tm tm;
		strftime(expected, sizeof expected, "%FT%T.000042Z", gmtime_r(&moment, &tm));
		assert_string_equal(time_of_note(moment, 42345), expected);
	}
}

/* Everything as long as it can be. */
static struct shim_report largest_report(char path[static REPORT_PATH_SIZE],
					 char program[static 5000])
{
	static const struct shim_report_range unresolved = {
		.request = {.l_type = SHRT_MIN,
			    .l_whence = SHRT_MIN,
			    .l_start = INT64_MIN,
			    .l_len = INT64_MIN},
	};
	static const struct shim_report_range resolved = {
		.is_resolved = true,
		.first = INT64_MIN,
		.last = INT64_MIN,
		.request = {.l_type = SHRT_MIN, .l_pid = INT_MIN},
	};

	/* Each takes six bytes. */
	memset(path, '\a', REPORT_PATH_SIZE);
	memset(program, '\xff', 4999);
	program[4999] = '\0';
	return (struct shim_report){
		.speaker = {program, INT_MIN, INT_MIN, {INT64_C(9223372036), 999999999}},
		.fd = INT_MIN,
		.path = path,
		.path_length = REPORT_PATH_SIZE,
		.is_path_cut = true,
		.is_deleted = true,
		.call = "syscall(F_SETLKW)",
		.is_readable = true,
		.range = unresolved,
		.result = -INT_MAX,
		.semantics = "process",
		.has_answer = true,
		.held = resolved,
	};
}

static void json_line_is_never_cut(void **state)
{
	char path[REPORT_PATH_SIZE], program[5000], line[REPORT_JSON_SIZE];
	struct shim_report report = largest_report(path, program);
	struct text text = TEXT(line);

	(void)state;
	shim_report_json(&text, &report);
	assert_false(text.is_cut);
	struct json_object *object = json_tokener_parse(line), *value;
	assert_non_null(object);
	assert_true(json_object_object_get_ex(object, "path", &value));
	assert_in_range(json_object_get_string_len(value), 150, REPORT_JSON_PATH_MAX / 6);
	assert_true(json_object_object_get_ex(object, "path_cut", &value));
	assert_true(json_object_object_get_ex(object, "held_by", &value));
	assert_int_equal(json_object_get_int(value), INT_MIN);
	json_object_put(object);
}

static void json_note_is_never_cut(void **state)
{
	char path[REPORT_PATH_SIZE], program[5000], line[REPORT_JSON_SIZE];
	struct shim_report report = largest_report(path, program);
	struct text text = TEXT(line);

	(void)state;
	shim_report_json_note(&text, &report.speaker, program);
	assert_false(text.is_cut);
	struct json_object *object = json_tokener_parse(line);
	assert_non_null(object);
	json_object_put(object);
}

/* A line for people is, and shows it. */
static void text_line_is_cut(void **state)
{
	char path[REPORT_PATH_SIZE], program[5000], line[REPORT_TEXT_SIZE];
	struct shim_report report = largest_report(path, program);
	struct text text = TEXT(line);

	(void)state;
	shim_report_text(&text, &report);
	assert_true(text.is_cut);
	assert_string_equal(line + text.length - 3, "...");
}

static void before_libc_knows_the_program(void **state)
{
	char line[REPORT_JSON_SIZE];
	struct text text = TEXT(line);

	(void)state;
	shim_report_json_note(&text, &(struct shim_speaker){.pid = 1, .tid = 1}, "x");
	assert_string_equal(line, "{\"time\":\"1970-01-01T00:00:00.000000Z\",\"program\":null,"
				  "\"pid\":1,\"tid\":1,\"note\":\"x\"}");
	text = TEXT(line);
	shim_report_text_note(&text, &(struct shim_speaker){.pid = 1, .tid = 1}, "x");
	assert_string_equal(line, "relock: [1] x");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(json_time),
		cmocka_unit_test(json_line_is_never_cut),
		cmocka_unit_test(json_note_is_never_cut),
		cmocka_unit_test(text_line_is_cut),
		cmocka_unit_test(before_libc_knows_the_program),
	};

	return cmocka_run_group_tests_name("report", tests, NULL, NULL);
}
