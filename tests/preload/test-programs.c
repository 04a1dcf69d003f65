/* Unmodified programs: they lose their locks natively, and keep them under the
 * shim. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "program.h"

/* Takes the lock, uses it, and reads the file through another descriptor: the
 * everyday accident. */
static const char lose_by_reading[] = "import os, sys\n"
				      "f = open(sys.argv[1], 'r+')\n"
				      "os.lockf(f.fileno(), os.F_LOCK, 0)\n"
				      "open(sys.argv[1]).read()\n"
				      "print('holds', end=' ', flush=True)\n"
				      "sys.stdin.read()\n";

static const char lose_by_reading_fcntl[] =
	"import fcntl, sys\n"
	"f = open(sys.argv[1], 'r+')\n"
	"fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB, 100, 10)\n"
	"open(sys.argv[1]).read()\n"
	"print('holds', end=' ', flush=True)\n"
	"sys.stdin.read()\n";

/* Two threads, each with an open of its own, in a critical section at once. */
static const char threads[] = "import os, sys, threading\n"
			      "inside, met = [], threading.Barrier(2)\n"
			      "def work():\n"
			      "    with open(sys.argv[1], 'r+') as f:\n"
			      "        try: os.lockf(f.fileno(), os.F_TLOCK, 0); inside.append(f)\n"
			      "        except OSError: pass\n"
			      "        met.wait()\n"
			      "pair = [threading.Thread(target=work) for _ in 'ab']\n"
			      "[t.start() for t in pair]; [t.join() for t in pair]\n"
			      "print(len(inside))\n";

static const char *try_natively(const char *file)
{
	return program_says(&(struct program_start){
		.regime = NATIVE, .arguments = {"preload-subject", "try_lock", file, "fcntl"}});
}

static void check_loses(const char *program_text, const char *native, const char *shim)
{
	static const enum regime regimes[] = {NATIVE, PROCESS, OFD};

	for (size_t i = 0; i < sizeof regimes / sizeof *regimes; i++) {
		const char *file = fresh_file();
		struct program_output output;
		struct program holder = program_start(&(struct program_start){
			.regime = regimes[i],
			.arguments = {getenv("RELOCK_TEST_PYTHON"), "-c", program_text, file},
		});
		assert_string_equal(program_words(&holder, 1), "holds");
		assert_string_equal(try_natively(file), regimes[i] == NATIVE ? native : shim);
		program_finish(&holder, &output);
		assert_string_equal(output.error, "");
		assert_string_equal(try_natively(file), "ok");
	}
}

static void python_os_lockf(void **state)
{
	(void)state;
	check_loses(lose_by_reading, "ok", "EAGAIN");
}

static void python_fcntl_lockf(void **state)
{
	(void)state;
	/* Bytes 10 to 109; the other one tries 5 to 14. */
	check_loses(lose_by_reading_fcntl, "ok", "EAGAIN");
}

static void python_threads(void **state)
{
	struct program_start start = {
		.arguments = {getenv("RELOCK_TEST_PYTHON"), "-c", threads, fresh_file()}};

	(void)state;
	assert_string_equal(program_says(&start), "2");
	start.regime = PROCESS;
	assert_string_equal(program_says(&start), "2");
	start.regime = OFD;
	assert_string_equal(program_says(&start), "1");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(python_os_lockf),
	cmocka_unit_test(python_fcntl_lockf),
	cmocka_unit_test(python_threads),
};

int main(void)
{
	return cmocka_run_group_tests_name("programs", tests, make_folder, remove_folder);
}
