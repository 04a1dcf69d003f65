/* RELOCK_SEMANTICS, RELOCK_POLICY and RELOCK_DEBUG: what is done, and what is
 * said.  (RELOCK_TRACE has a file of its own.) */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "program.h"

static void run_with_two(const char *setting, const char *other, const char *subject_case,
			 struct program_output *ret)
{
	program_run(
		&(struct program_start){
			.regime = SHIM,
			.arguments = {"preload-subject", subject_case, fresh_file(), "fcntl"},
			.settings = {setting, other},
		},
		ret);
	assert_int_equal(ret->status, 0);
}

static void run_with(const char *setting, const char *subject_case, struct program_output *ret)
{
	run_with_two(setting, NULL, subject_case, ret);
}

static void ofd_is_asked_for(void **state)
{
	struct program_output output;

	(void)state;
	run_with("RELOCK_SEMANTICS=ofd", "close_another_open", &output);
	assert_string_equal(output.out, "held free");
	assert_string_equal(output.error, "");
}

static void nothing_is_asked_for(void **state)
{
	struct program_output output;

	(void)state;
	run_with("RELOCK_SEMANTICS=", "close_another_open", &output);
	assert_string_equal(output.out, "held free");
	assert_string_equal(output.error, "");
	run_with("UNRELATED=1", "close_another_open", &output);
	assert_string_equal(output.out, "held free");
	assert_string_equal(output.error, "");
}

static void process_is_asked_for(void **state)
{
	struct program_output output;

	(void)state;
	run_with("RELOCK_SEMANTICS=process", "close_another_open", &output);
	assert_string_equal(output.out, "held free");
	assert_string_equal(output.error, "");
}

static void off_is_asked_for(void **state)
{
	struct program_output output;

	(void)state;
	run_with("RELOCK_SEMANTICS=off", "close_another_open", &output);
	assert_string_equal(output.out, "free free");
	assert_string_equal(output.error, "");
}

static void nonsense_is_asked_for(void **state)
{
	struct program_output output;

	(void)state;
	run_with("RELOCK_SEMANTICS=of\nd", "close_another_open", &output);
	assert_string_equal(output.out, "free free");
	assert_string_equal(output.error,
			    "relock: RELOCK_SEMANTICS=of\\x0ad is unknown (there are process, ofd "
			    "and off); this program keeps its legacy record locks");
	/* All of the legacy calls. */
	run_with("RELOCK_SEMANTICS=x", "bad_pointers", &output);
	assert_string_equal(output.out, program_says(&(struct program_start){
						.arguments = {"preload-subject", "bad_pointers",
							      fresh_file(), "fcntl"}}));
}

/* Even then F_GETLK names the holder of an OFD lock, where the kernel says -1. */
static void nonsense_is_asked_for_and_the_holder_named(void **state)
{
	const char *file = fresh_file();
	struct program_output output;
	char expected[32];

	(void)state;
	struct program holder = program_start(&(struct program_start){
		.regime = SHIM, .arguments = {"preload-subject", "hold_lock", file, "fcntl"}});
	program_words(&holder, 1);
	program_run(
		&(struct program_start){
			.regime = SHIM,
			.arguments = {"preload-subject", "ask_holder", file, "fcntl"},
			.settings = {"RELOCK_SEMANTICS=x"},
		},
		&output);
	snprintf(expected, sizeof expected, "ok %d", (int)holder.pid);
	assert_string_equal(output.out, expected);
	program_finish(&holder, &output);
}

/* Policies */

static void expect_bad_policy(const char *setting, const char *said)
{
	struct program_output output;

	run_with(setting, "close_another_open", &output);
	assert_string_equal(output.out, "free free");
	assert_string_equal(output.error, said);
}

/* One line, and the legacy behaviour. */
static void policy_that_is_bad(void **state)
{
	char setting[4096 + 64], said[512], shown[101];

	(void)state;
	expect_bad_policy("RELOCK_POLICY=/a/*=off:*=odf:/b=off",
			  "relock: RELOCK_POLICY: the rule '*=odf' names unknown semantics (there "
			  "are process, ofd and off); this program keeps its legacy record locks");
	expect_bad_policy("RELOCK_POLICY=a\nb",
			  "relock: RELOCK_POLICY: the rule 'a\\x0ab' has no =; this program keeps "
			  "its legacy record locks");

	/* However long it is, the whole of the reason is there. */
	memset(shown, 'x', sizeof shown - 1);
	shown[sizeof shown - 1] = '\0';
	memset(setting, 'x', sizeof setting);
	memcpy(setting, "RELOCK_POLICY=", strlen("RELOCK_POLICY="));
	strcpy(setting + sizeof setting - 5, "=off");
	snprintf(said, sizeof said,
		 "relock: RELOCK_POLICY: the rule '%s...' has a glob of more than 1023 bytes; this "
		 "program keeps its legacy record locks",
		 shown);
	expect_bad_policy(setting, said);
}

/* Nonsense in one of the two is nonsense: none of the rules counts. */
static void policy_with_nonsense(void **state)
{
	struct program_output output;

	(void)state;
	run_with_two("RELOCK_POLICY=*=ofd", "RELOCK_SEMANTICS=x", "close_another_open", &output);
	assert_string_equal(output.out, "free free");
	assert_non_null(strstr(output.error, "RELOCK_SEMANTICS=x is unknown"));
}

/* Debug lines */

static const char python[] =
	"import fcntl, os, struct, sys\n"
	"f = open(sys.argv[1], 'r+')\n"
	"g = open(sys.argv[1], 'r+')\n"
	"def get(file, *range):\n"
	"    fcntl.fcntl(file, fcntl.F_GETLK, struct.pack('hhqqi4x', fcntl.F_WRLCK, *range, 0))\n"
	"os.chdir('/')\n"
	"fcntl.lockf(f, fcntl.LOCK_EX)\n"
	"fcntl.lockf(f, fcntl.LOCK_UN, 10, 5)\n"
	"f.seek(3)\n"
	"os.lockf(f.fileno(), os.F_LOCK, 4)\n"
	"os.lockf(f.fileno(), os.F_TEST, 4)\n"
	"os.lockf(f.fileno(), os.F_TLOCK, -2)\n"
	"get(g, 0, 2, 2)\n"
	"get(f, 2, 2, 2)\n"
	"for call in (lambda: os.lockf(g.fileno(), os.F_TLOCK, 0),\n"
	"             lambda: fcntl.lockf(g, fcntl.LOCK_EX, 1, -5),\n"
	"             lambda: os.lockf(77, os.F_ULOCK, 0)):\n"
	"    try: call()\n"
	"    except OSError: pass\n";

static void check_python_lines(const char *said, pid_t pid, const char *file)
{
	static const char *const calls[] = {
		"fd 3 %s: fcntl(F_SETLKW) write 0-EOF = ok (ofd)",
		"fd 3 %s: fcntl(F_SETLKW) unlock 5-14 = ok (ofd)",
		"fd 3 %s: lockf(F_LOCK) write 3-6 = ok (ofd)",
		"fd 3 %s: lockf(F_TEST) read 3-6 = ok (ofd)",
		"fd 3 %s: lockf(F_TLOCK) write 1-2 = ok (ofd)",
		"fd 4 %s: fcntl(F_GETLK) write 2-3 = held: write 0-6 by PID (ofd)",
		"fd 3 %s: fcntl(F_GETLK) write 2-3 = free (ofd)",
		"fd 4 %s: lockf(F_TLOCK) write 0-EOF = EAGAIN (ofd)",
		"fd 4 %s: fcntl(F_SETLKW) write whence 0 start -5 length 1 = EINVAL (ofd)",
		"fd 77 ?: lockf(F_ULOCK) unlock whence 1 start 0 length 0 = EBADF (ofd)",
	};
	char expected[PROGRAM_OUTPUT_SIZE] = "", call[512], holder[32];

	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
		snprintf(call, sizeof call, calls[i], file);
#pragma GCC diagnostic pop
		char *place = strstr(call, "PID");
		if (place) {
			snprintf(holder, sizeof holder, "%d (ofd)", (int)pid);
			strcpy(place, holder);
		}
		size_t used = strlen(expected);
		snprintf(expected + used, sizeof expected - used, "%srelock: python3[%d] %s",
			 i ? "\n" : "", (int)pid, call);
	}
	assert_string_equal(said, expected);
}

static struct program_start python_start(const char *file, const char *setting)
{
	return (struct program_start){
		.regime = SHIM,
		.arguments = {getenv("RELOCK_TEST_PYTHON"), "-S", "-c", python, file},
		.settings = {setting, "RELOCK_SEMANTICS=ofd"},
	};
}

static void debug_lines_on_standard_error(void **state)
{
	const char *file = fresh_file();
	struct program_start start = python_start(file, "RELOCK_DEBUG=1");
	struct program_output output;

	(void)state;
	struct program program = program_start(&start);
	pid_t pid = program.pid;
	program_finish(&program, &output);
	assert_int_equal(output.status, 0);
	check_python_lines(output.error, pid, file);
}

static void no_debug_lines(void **state)
{
	static const char *const settings[] = {"RELOCK_DEBUG=", "RELOCK_DEBUG=0", "UNRELATED=1"};
	struct program_output output;

	(void)state;
	for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
		run_with(settings[i], "second_open", &output);
		assert_string_equal(output.error, "");
	}
}

static void read_file(const char *path, char text[static PROGRAM_OUTPUT_SIZE])
{
	FILE *file = fopen(path, "re");

	assert_non_null(file);
	size_t length = fread(text, 1, PROGRAM_OUTPUT_SIZE - 1, file);
	fclose(file);
	while (length && text[length - 1] == '\n')
		length--;
	text[length] = '\0';
}

/* Relative to where the program was started, wherever it goes then; and after
 * what is in the file already. */
static void debug_lines_in_a_file(void **state)
{
	const char *file = fresh_file();
	struct program_start start = python_start(file, "RELOCK_DEBUG=lines");
	char before[4096], path[128], text[PROGRAM_OUTPUT_SIZE];
	struct program_output output;

	(void)state;
	assert_non_null(getcwd(before, sizeof before));
	assert_int_equal(chdir(test_folder), 0);
	struct program program = program_start(&start);
	assert_int_equal(chdir(before), 0);
	pid_t pid = program.pid;
	program_finish(&program, &output);
	assert_int_equal(output.status, 0);
	assert_string_equal(output.error, "");
	snprintf(path, sizeof path, "%s/lines", test_folder);
	read_file(path, text);
	check_python_lines(text, pid, file);

	char setting[160];
	snprintf(setting, sizeof setting, "RELOCK_DEBUG=%s", path);
	size_t length = strlen(text);
	run_with(setting, "second_open", &output);
	read_file(path, text);
	assert_true(strlen(text) > length);
}

static void debug_file_that_cannot_be(void **state)
{
	struct program_output output;

	(void)state;
	run_with_two("RELOCK_DEBUG=/no/such/folder/lines", "RELOCK_SEMANTICS=ofd", "second_open",
		     &output);
	assert_string_equal(output.out, "EAGAIN");
	assert_string_equal(output.error,
			    "relock: cannot append to RELOCK_DEBUG=/no/such/folder/lines; this "
			    "program's lock calls are not logged");
}

static void debug_line_of_an_ugly_path(void **state)
{
	struct program_output output;
	char plain[128], ugly[160], link[192];

	(void)state;
	snprintf(plain, sizeof plain, "%s", fresh_file());
	snprintf(ugly, sizeof ugly, "%s\n\033[1m\177\303\274", plain);
	snprintf(link, sizeof link, "%s\\x0a\\x1b[1m\\x7f\\xc3\\xbc", plain);
	assert_int_equal(rename(plain, ugly), 0);
	program_run(
		&(struct program_start){
			.regime = SHIM,
			.arguments = {"preload-subject", "close_last_duplicate", ugly, "fcntl"},
			.settings = {"RELOCK_DEBUG=1"},
		},
		&output);
	unlink(ugly);
	assert_non_null(strstr(output.error, link));
	assert_null(strchr(output.error, '\n'));
}

static void debug_line_of_a_bad_pointer(void **state)
{
	struct program_output output;

	(void)state;
	run_with_two("RELOCK_DEBUG=1", "RELOCK_SEMANTICS=ofd", "bad_pointers", &output);
	assert_non_null(strstr(output.error, "fcntl(F_SETLK) bad address = EFAULT (ofd)\n"));
	assert_non_null(strstr(output.error, "fcntl(F_GETLK) bad address = EFAULT (ofd)\n"));
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(ofd_is_asked_for),
	cmocka_unit_test(nothing_is_asked_for),
	cmocka_unit_test(process_is_asked_for),
	cmocka_unit_test(off_is_asked_for),
	cmocka_unit_test(nonsense_is_asked_for),
	cmocka_unit_test(nonsense_is_asked_for_and_the_holder_named),
	cmocka_unit_test(policy_that_is_bad),
	cmocka_unit_test(policy_with_nonsense),
	cmocka_unit_test(debug_lines_on_standard_error),
	cmocka_unit_test(no_debug_lines),
	cmocka_unit_test(debug_lines_in_a_file),
	cmocka_unit_test(debug_file_that_cannot_be),
	cmocka_unit_test(debug_line_of_an_ugly_path),
	cmocka_unit_test(debug_line_of_a_bad_pointer),
};

int main(void)
{
	return cmocka_run_group_tests_name("settings", tests, make_folder, remove_folder);
}
