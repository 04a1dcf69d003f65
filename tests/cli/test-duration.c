/*
 * Seconds, as they are written on a command line.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "duration.h"
#include "relock.h"

static void expect_parsed(const char *text, int64_t expected)
{
	int64_t duration = -7;
	const char *fault = duration_parse(text, &duration);

	if (fault)
		fail_msg("'%s' %s", text, fault);
	assert_int_equal(duration, expected);
}

static void expect_refused(const char *text, const char *reason)
{
	int64_t duration = -7;
	const char *fault = duration_parse(text, &duration);

	if (!fault)
		fail_msg("'%s' was taken", text);
	assert_non_null(strstr(fault, reason));
	assert_int_equal(duration, -7);
}

static void duration_is_exact(void **state)
{
	expect_parsed("0", 0);
	expect_parsed("1", RELOCK_SECOND);
	expect_parsed("+1", RELOCK_SECOND);
	expect_parsed("0.5", RELOCK_SECOND / 2);
	expect_parsed(".5", RELOCK_SECOND / 2);
	expect_parsed("5.", 5 * RELOCK_SECOND);
	expect_parsed("0.1", 100000000);
	expect_parsed("0.000000001", 1);
	expect_parsed("0.0000000009", 0);
	expect_parsed("007.25", 7 * RELOCK_SECOND + RELOCK_SECOND / 4);
	expect_parsed("9223372036.854775807", INT64_MAX);
}

static void duration_refuses_negative(void **state)
{
	expect_refused("-1", "is negative");
	expect_refused("-0.5", "is negative");
	expect_refused("-inf", "is negative");
}

static void duration_refuses_what_is_no_number(void **state)
{
	expect_refused("nan", "is not a number");
	expect_refused("NaN", "is not a number");
	expect_refused("inf", "is infinite");
	expect_refused("Infinity", "is infinite");
	expect_refused("", "is empty");
	expect_refused(".", "is no number");
	expect_refused("5s", "is no number");
	expect_refused("1e3", "is no number");
	expect_refused("0x10", "is no number");
	expect_refused("1,5", "is no number");
	expect_refused(" 1", "is no number");
	expect_refused("1 ", "is no number");
	expect_refused("+-1", "is no number");
}

static void duration_refuses_too_large(void **state)
{
	expect_refused("9223372036.854775808", "is too large");
	expect_refused("9223372037", "is too large");
	expect_refused("99999999999999999999999999", "is too large");
}

static void expect_text(int64_t duration, const char *expected)
{
	char text[DURATION_TEXT_SIZE];

	assert_string_equal(duration_text(duration, text), expected);
}

static void duration_reads_well(void **state)
{
	expect_text(0, "0 s");
	expect_text(-5, "0 s");
	expect_text(RELOCK_SECOND / 2, "0.50 s");
	expect_text(5 * RELOCK_SECOND, "5 s");
	expect_text(59 * RELOCK_SECOND, "59 s");
	expect_text(184 * RELOCK_SECOND, "3 min 4 s");
	expect_text(18720 * RELOCK_SECOND, "5 h 12 min");
	expect_text(273600 * RELOCK_SECOND, "3 d 4 h");
	expect_text(INT64_MAX, "106751 d 23 h");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(duration_is_exact),
		cmocka_unit_test(duration_refuses_negative),
		cmocka_unit_test(duration_refuses_what_is_no_number),
		cmocka_unit_test(duration_refuses_too_large),
		cmocka_unit_test(duration_reads_well),
	};

	return cmocka_run_group_tests_name("durations", tests, NULL, NULL);
}
