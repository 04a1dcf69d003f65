/*
 * The text of Core_unix's lock files: what its printers can write is read, what
 * is written is read back, and nothing else is taken for one.
 */
#include "fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nfslock-info.h"
#include "sexp.h"

/* 2026-11-28 02:15:00.12 UTC */
#define STARTED INT64_C(1795832100120000000)

static int read_text(const char *text, struct nfslock_info *info)
{
	return nfslock_info_read(text, strlen(text), info);
}

static void expect_info(const char *text, const char *message, int64_t started)
{
	struct nfslock_info info = {0};

	assert_int_equal(read_text(text, &info), 0);
	assert_string_equal(info.host, "vm1");
	assert_int_equal(info.pid, 815);
	assert_string_equal(info.message, message);
	assert_int_equal(info.message_length, strlen(message));
	assert_int_equal(info.started, started);
	nfslock_info_free(&info);
}

static void expect_none(const char *text)
{
	struct nfslock_info info = {0};

	if (read_text(text, &info) != -EBADMSG)
		fail_msg("taken for a lock file: %s", text);
}

static void expect_file(const char *name, const char *message, int64_t started)
{
	struct nfslock_info info = {0};
	char path[400], text[1000];

	snprintf(path, sizeof path, "%s/%s", TEST_DATA, name);
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	size_t length = fread(text, 1, sizeof text, file);
	fclose(file);
	assert_int_equal(nfslock_info_read(text, length, &info), 0);
	assert_string_equal(info.host, "build7.example");
	assert_int_equal(info.pid, 24817);
	assert_string_equal(info.message, message);
	assert_int_equal(info.started, started);
	nfslock_info_free(&info);
}

static void files_of_both_versions_are_read(void **state)
{
	expect_file("core-unix-v1.nfs_lock", "nightly \"full\" backup", STARTED);
	expect_file("core-unix-v2.nfs_lock", "nightly \"full\" backup", STARTED);
	expect_file("core-unix-v1-no-start.nfs_lock", "", 0);
}

static void blanks_and_order_do_not_matter(void **state)
{
	expect_info("((host vm1)(pid 815)(message m))", "m", 0);
	expect_info(" \n\t( ( host\r\nvm1 )\f(pid 815) (message m)\n)\n\n", "m", 0);
	expect_info("((message m)(start_time(2026-11-28 02:15:00.120000Z))(pid 815)(host vm1))",
		    "m", STARTED);
}

static void quoted_atoms_are_read(void **state)
{
	expect_info("((\"host\"\"vm1\")(\"pid\"\"815\")(message\"\"))", "", 0);
	expect_info("((host vm1)(pid 815)(message\"a b(c)d;e\"))", "a b(c)d;e", 0);
	expect_info("((host vm1)(pid 815)(message\"\\n\\t\\r\\b\\\\\\\"\\'\\ x\"))",
		    "\n\t\r\b\\\"' x", 0);
	expect_info("((host vm1)(pid 815)(message\"\\195\\188ber\\x21 \\q\"))", "\303\274ber! \\q",
		    0);
	/* As the printer for people breaks a text of several lines. */
	expect_info("((host vm1) (pid 815)\n (message\n   \"one\\\n  \\ntwo\"))", "one\ntwo", 0);
	expect_info("((host vm1)(pid 815)(message\"a\\\r\n \tb\"))", "ab", 0);
}

static void comments_are_skipped(void **state)
{
	expect_info("; who\n((host vm1) ; here\n (pid 815)(message m)) ; end", "m", 0);
	expect_info("#| a #| b |# \"|#\" |#((host vm1)#|x|#(pid 815)(message m))", "m", 0);
	expect_info("(#;(pid 1)(host vm1)#;#;(x)(y)(pid 815)(message m))#;no", "m", 0);
	expect_info("((host vm1)(pid 815)(message a|b#c))", "a|b#c", 0);
}

static void fields_that_are_not_known_are_skipped(void **state)
{
	expect_info("((host vm1)(pid 815)(message m)(boot (a (b c) d)))", "m", 0);
}

static void numbers_may_have_underscores(void **state)
{
	expect_info("((host vm1)(pid 8_15)(message m))", "m", 0);
}

static void start_times_are_read(void **state)
{
	static const char *const same[] = {
		"(2026-11-28 02:15:00.120000Z)",
		"\"2026-11-28 02:15:00.12Z\"",
		"2026-11-28T02:15:00.120Z",
		"(2026-11-28 03:15:00.120000+01:00)",
		"(2026-11-27 21:15:00.120000 -05:00)",
		"(2026-11-28 02:15:00.120000000Z)",
	};
	static const char *const none[] = {
		"yesterday",
		"(2026-13-28 02:15:00Z)",
		"()",
		"(2026-11-28 02:15:00 Q)",
		"(2026-11-28)",
		"((2026-11-28) x)",
		"99999999999999999999",
	};
	char text[200];

	for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
		snprintf(text, sizeof text, "((host vm1)(pid 815)(message m)(start_time %s))",
			 same[i]);
		expect_info(text, "m", STARTED);
	}
	for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
		snprintf(text, sizeof text, "((host vm1)(pid 815)(message m)(start_time %s))",
			 none[i]);
		expect_info(text, "m", 0);
	}
}

static void what_is_no_lock_file_is_refused(void **state)
{
	static const char *const texts[] = {
		"",
		" ",
		"host",
		"()",
		"(())",
		"((host vm1))",
		"((host vm1)(pid 815))",
		"((host vm1)(pid 0)(message m))",
		"((host vm1)(pid -5)(message m))",
		"((host vm1)(pid 8x)(message m))",
		"((host vm1)(pid 99999999999)(message m))",
		"((host \"\")(pid 815)(message m))",
		"((host \"a\\000b\")(pid 815)(message m))",
		"((host (vm1))(pid 815)(message m))",
		"((host vm1)(pid 815)(message m)",
		"((host vm1)(pid 815)(message m)))",
		"((host vm1)(pid 815)(message m)) x",
		"((host vm1)(pid 815)(message \"m))",
		"((host vm1)(pid 815)(pid 816)(message m))",
		"((host vm1)(host vm2)(pid 815)(message m))",
		"((host vm1 vm2)(pid 815)(message m))",
		"(host vm1)",
		"((host vm1)(pid 815)(message m)#;)",
		"#| ((host vm1)(pid 815)(message m))",
		"((host vm1)(pid 815)(message a#|b|#c))",
		"((host vm1)(pid 815)(message \"\\300\"))",
		"((host vm1)(pid 815)(message \"\\xg0\"))",
	};

	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
		expect_none(texts[i]);
}

static void deep_nesting_is_no_recursion(void **state)
{
	enum { DEPTH = 100000 };
	char *text = malloc(2 * DEPTH);
	struct nfslock_info info;

	memset(text, '(', DEPTH);
	memset(text + DEPTH, ')', DEPTH);
	assert_int_equal(nfslock_info_read(text, 2 * DEPTH, &info), -EBADMSG);
	free(text);
}

static void what_is_written_is_read_back(void **state)
{
	char every[256], *text;
	struct nfslock_info back = {0}, info = {.host = (char *)"vm 1;",
						.pid = 815,
						.message = every,
						.message_length = sizeof every,
						.started = STARTED};

	for (size_t i = 0; i < sizeof every; i++)
		every[i] = (char)i;
	text = nfslock_info_write(&info);
	assert_int_equal(read_text(text, &back), 0);
	assert_string_equal(back.host, info.host);
	assert_int_equal(back.pid, info.pid);
	assert_int_equal(back.message_length, sizeof every);
	assert_memory_equal(back.message, every, sizeof every);
	assert_int_equal(back.started, STARTED);
	nfslock_info_free(&back);
	free(text);
}

/* Byte for byte what create_v2 writes. */
static void it_is_written_as_core_unix_does(void **state)
{
	struct nfslock_info info = {.host = (char *)"build7.example",
				    .pid = 24817,
				    .message = (char *)"nightly \"full\" backup",
				    .message_length = 21,
				    .started = STARTED};
	char *text = nfslock_info_write(&info);

	assert_string_equal(text, "((host build7.example)(pid 24817)(message\"nightly \\\"full\\\" "
				  "backup\")(start_time(2026-11-28 02:15:00.120000Z)))");
	free(text);
	info.started = 0;
	info.message_length = 0;
	text = nfslock_info_write(&info);
	assert_string_equal(text, "((host build7.example)(pid 24817)(message\"\"))");
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_of_both_versions_are_read),
		cmocka_unit_test(blanks_and_order_do_not_matter),
		cmocka_unit_test(quoted_atoms_are_read),
		cmocka_unit_test(comments_are_skipped),
		cmocka_unit_test(fields_that_are_not_known_are_skipped),
		cmocka_unit_test(numbers_may_have_underscores),
		cmocka_unit_test(start_times_are_read),
		cmocka_unit_test(what_is_no_lock_file_is_refused),
		cmocka_unit_test(deep_nesting_is_no_recursion),
		cmocka_unit_test(what_is_written_is_read_back),
		cmocka_unit_test(it_is_written_as_core_unix_does),
	};

	return cmocka_run_group_tests_name("nfslock-info", tests, NULL, NULL);
}
