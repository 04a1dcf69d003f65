/*
 * What state looks like: times in every zone, and texts of every length.
 */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* 2026-11-21 10:09:00.687 UTC */
static const int64_t moment = INT64_C(1795255740687000000);

static struct relock_status status_of(struct relock_holder *holder)
{
	return (struct relock_status){
		.name = (char *)"backup",
		.state = RELOCK_HELD,
		.mode = RELOCK_EXCLUSIVE,
		.now = moment + RELOCK_SECOND,
		.holder_count = 1,
		.holders = holder,
	};
}

static void assert_since(const char *zone, const char *expected)
{
	struct relock_holder holder = {.since = moment};
	struct relock_status status = status_of(&holder);
	char *text, line[64];

	setenv("TZ", zone, 1);
	tzset();
	snprintf(line, sizeof line, "\nsince: %s\n", expected);
	assert_int_equal(relock_status_text(&status, &text), 0);
	if (!strstr(text, line))
		fail_msg("no %s in:\n%s", expected, text);
	free(text);
}

static void times_have_their_zone(void **state)
{
	/* As POSIX writes them: what is west is positive. */
	assert_since("UTC0", "2026-11-21T10:09:00.687+00:00");
	assert_since("CET-1", "2026-11-21T11:09:00.687+01:00");
	assert_since("IST-5:30", "2026-11-21T15:39:00.687+05:30");
	assert_since("EST5", "2026-11-21T05:09:00.687-05:00");
	assert_since("NST3:30", "2026-11-21T06:39:00.687-03:30");
	assert_since("ABC0:30", "2026-11-21T09:39:00.687-00:30");
	assert_since("XYZ-14", "2026-11-22T00:09:00.687+14:00");
	assert_since("UTC0", "2026-11-21T10:09:00.687+00:00");
}

/* The text grows as it is made. */
static void texts_of_every_length(void **state)
{
	static const char before[] = "lock: backup\nstate: held\nmode: exclusive\ninfo: ";
	char info[RELOCK_INFO_MAX + 1];
	char *text;

	for (size_t length = 1; length <= RELOCK_INFO_MAX; length += length < 1200 ? 1 : 97) {
		struct relock_holder holder = {.info = info, .info_length = length};
		struct relock_status status = status_of(&holder);
		memset(info, 'x', length);
		info[length - 1] = '!';
		info[length] = '\0';
		assert_int_equal(relock_status_text(&status, &text), 0);
		assert_int_equal(strlen(text), strlen(before) + length + 1);
		assert_memory_equal(text, before, strlen(before));
		assert_memory_equal(text + strlen(before), info, length);
		assert_int_equal(text[strlen(text) - 1], '\n');
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(times_have_their_zone),
		cmocka_unit_test(texts_of_every_length),
	};

	return cmocka_run_group_tests_name("text", tests, NULL, NULL);
}
