/*
 * RELOCK_TRACE: what is written of a program's lock calls, as python's json
 * reads it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.h"

/*
 * Prints each line of a trace without what every line has, after a look at
 * that: a time between the file's birth and now, in order; the pid.
 */
static const char reader[] =
	"import datetime, json, os, re, sys\n"
	"path, program, pid = sys.argv[1:]\n"
	"moment = '1970'\n"
	"for line in open(path, encoding='utf-8', errors='strict'):\n"
	"    entry = json.loads(line)\n"
	"    before, moment = moment, entry.pop('time')\n"
	"    assert re.fullmatch(r'\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d\\.\\d{6}Z', moment), "
	"moment\n"
	"    assert before <= moment\n"
	"    then = datetime.datetime.fromisoformat(moment.replace('Z', '+00:00'))\n"
	"    now = datetime.datetime.now(datetime.timezone.utc)\n"
	"    assert datetime.timedelta(0) <= now - then < datetime.timedelta(seconds=60), moment\n"
	"    assert entry.pop('program') == program\n"
	"    assert entry.pop('pid') == int(pid)\n"
	"    if entry['tid'] == int(pid): del entry['tid']\n"
	"    else: entry['tid'] = 'another'\n"
	"    print(json.dumps(entry).replace(pid, 'PID'))\n";

static const char *trace_path(void)
{
	static char path[128];

	snprintf(path, sizeof path, "%s/trace", test_folder);
	return path;
}

static const char *read_trace(const char *program, pid_t pid)
{
	char number[16];

	snprintf(number, sizeof number, "%d", (int)pid);
	const char *said = program_says(&(struct program_start){
		.arguments = {getenv("RELOCK_TEST_PYTHON"), "-c", reader, trace_path(), program,
			      number},
		.settings = {"PYTHONIOENCODING=utf-8:surrogateescape"},
	});
	unlink(trace_path());
	return said;
}

static pid_t run_python(const char *script, const char *argument, const char *const settings[],
			struct program_output *ret)
{
	char setting[160];

	snprintf(setting, sizeof setting, "RELOCK_TRACE=%s", trace_path());
	struct program_start start = {
		.regime = SHIM,
		.arguments = {getenv("RELOCK_TEST_PYTHON"), "-S", "-c", script, argument},
		.settings = {setting, "RELOCK_SEMANTICS=ofd"},
	};
	for (int i = 0; settings && settings[i]; i++)
		start.settings[2 + i] = settings[i];
	struct program program = program_start(&start);
	pid_t pid = program.pid;
	program_finish(&program, ret);
	if (ret->status != 0)
		fail_msg("status %#x: %s", (unsigned)ret->status, ret->error);
	return pid;
}

/* `expected` has the file's path for each FILE. */
static void expect_trace(pid_t pid, const char *file, const char *expected)
{
	char text[PROGRAM_OUTPUT_SIZE] = "", *to = text;

	for (const char *at = expected; *at;)
		if (strncmp(at, "FILE", 4) == 0) {
			to = stpcpy(to, file);
			at += 4;
		} else {
			*to++ = *at++;
		}
	*to = '\0';
	assert_string_equal(read_trace("python3", pid), text);
}

static const char calls[] =
	"import fcntl, os, struct, sys\n"
	"f = open(sys.argv[1], 'r+')\n"
	"g = open(sys.argv[1], 'r+')\n"
	"def get(file, *range):\n"
	"    fcntl.fcntl(file, fcntl.F_GETLK, struct.pack('hhqqi4x', fcntl.F_WRLCK, *range, 0))\n"
	"fcntl.lockf(f, fcntl.LOCK_EX)\n"
	"fcntl.lockf(f, fcntl.LOCK_UN, 10, 5)\n"
	"f.seek(3)\n"
	"os.lockf(f.fileno(), os.F_LOCK, 4)\n"
	"os.lockf(f.fileno(), os.F_TEST, 4)\n"
	"get(g, 0, 2, 2)\n"
	"get(g, 0, 20, 0)\n"
	"get(f, 2, 2, 2)\n"
	"for call in (lambda: os.lockf(g.fileno(), os.F_TLOCK, 0),\n"
	"             lambda: fcntl.lockf(g, fcntl.LOCK_EX, 1, -5),\n"
	"             lambda: fcntl.fcntl(g, fcntl.F_SETLK, struct.pack('hhqqi4x', 7, 0, 0, 0, "
	"0)),\n"
	"             lambda: os.lockf(77, os.F_ULOCK, 0)):\n"
	"    try: call()\n"
	"    except OSError: pass\n";

static void every_kind_of_call(void **state)
{
	static const char expected[] =
		"{'fd': 3, 'path': 'FILE', 'call': 'fcntl(F_SETLKW)', 'type': 'write', "
		"'first': 0, 'last': null, 'result': 'ok', 'semantics': 'ofd'}\n"
		"{'fd': 3, 'path': 'FILE', 'call': 'fcntl(F_SETLKW)', 'type': 'unlock', "
		"'first': 5, 'last': 14, 'result': 'ok', 'semantics': 'ofd'}\n"
		"{'fd': 3, 'path': 'FILE', 'call': 'lockf(F_LOCK)', 'type': 'write', "
		"'first': 3, 'last': 6, 'result': 'ok', 'semantics': 'ofd'}\n"
		"{'fd': 3, 'path': 'FILE', 'call': 'lockf(F_TEST)', 'type': 'read', "
		"'first': 3, 'last': 6, 'result': 'ok', 'semantics': 'ofd'}\n"
		"{'fd': 4, 'path': 'FILE', 'call': 'fcntl(F_GETLK)', 'type': 'write', "
		"'first': 2, 'last': 3, 'result': 'ok', 'semantics': 'ofd', "
		"'held_type': 'write', 'held_first': 0, 'held_last': 6, 'held_by': PID}\n"
		"{'fd': 4, 'path': 'FILE', 'call': 'fcntl(F_GETLK)', 'type': 'write', "
		"'first': 20, 'last': null, 'result': 'ok', 'semantics': 'ofd', "
		"'held_type': 'write', 'held_first': 15, 'held_last': null, 'held_by': PID}\n"
		"{'fd': 3, 'path': 'FILE', 'call': 'fcntl(F_GETLK)', 'type': 'write', "
		"'first': 2, 'last': 3, 'result': 'ok', 'semantics': 'ofd', "
		"'held_type': null, 'held_first': null, 'held_last': null, 'held_by': null}\n"
		"{'fd': 4, 'path': 'FILE', 'call': 'lockf(F_TLOCK)', 'type': 'write', "
		"'first': 0, 'last': null, 'result': 'EAGAIN', 'semantics': 'ofd'}\n"
		"{'fd': 4, 'path': 'FILE', 'call': 'fcntl(F_SETLKW)', 'type': 'write', "
		"'first': null, 'last': null, 'whence': 0, 'start': -5, 'length': 1, "
		"'result': 'EINVAL', 'semantics': 'ofd'}\n"
		"{'fd': 4, 'path': 'FILE', 'call': 'fcntl(F_SETLK)', 'type': 7, "
		"'first': 0, 'last': null, 'result': 'EINVAL', 'semantics': 'ofd'}\n"
		"{'fd': 77, 'path': null, 'call': 'lockf(F_ULOCK)', 'type': 'unlock', "
		"'first': null, 'last': null, 'whence': 1, 'start': 0, 'length': 0, "
		"'result': 'EBADF', 'semantics': 'ofd'}";
	char text[sizeof expected];
	const char *file = fresh_file();
	struct program_output output;

	(void)state;
	for (size_t i = 0; i < sizeof text; i++)
		text[i] = (char)(expected[i] == '\'' ? '"' : expected[i]);
	pid_t pid = run_python(calls, file, NULL, &output);
	assert_string_equal(output.error, "");
	expect_trace(pid, file, text);
}

/* A lock is said to be of the kind that it is, wherever that was chosen; and a
 * question before the first lock of the kind that this would be. */
static void kinds_of_lock(void **state)
{
	static const char script[] = "import fcntl, os, sys\n"
				     "for name in 'a', 'b.ofd', 'c.off':\n"
				     "    path = os.path.join(sys.argv[1], name)\n"
				     "    f = open(path, 'w')\n"
				     "    os.lockf(f.fileno(), os.F_TEST, 0)\n"
				     "    fcntl.lockf(f, fcntl.LOCK_EX)\n"
				     "    fcntl.lockf(f, fcntl.LOCK_UN)\n"
				     "    os.unlink(path)\n"
				     "import json\n"
				     "print(*(json.loads(line)['semantics'] for line in "
				     "open(sys.argv[1] + '/trace')))\n";
	static const char *const settings[] = {
		"RELOCK_SEMANTICS=", "RELOCK_POLICY=*.ofd=ofd:*.off=off", NULL};
	struct program_output output;

	(void)state;
	run_python(script, test_folder, settings, &output);
	assert_string_equal(output.out, "process process process ofd ofd ofd legacy legacy legacy");
	unlink(trace_path());
}

static void another_thread(void **state)
{
	static const char script[] =
		"import fcntl, sys, threading\n"
		"f = open(sys.argv[1], 'r+')\n"
		"t = threading.Thread(target=lambda: fcntl.lockf(f, fcntl.LOCK_EX, 1))\n"
		"t.start(); t.join()\n";
	const char *file = fresh_file();
	struct program_output output;

	(void)state;
	pid_t pid = run_python(script, file, NULL, &output);
	expect_trace(pid, file,
		     "{\"tid\": \"another\", \"fd\": 3, \"path\": \"FILE\", "
		     "\"call\": \"fcntl(F_SETLKW)\", \"type\": \"write\", \"first\": 0, "
		     "\"last\": 0, \"result\": \"ok\", \"semantics\": \"ofd\"}");
}

#define NO_UTF8 "\\ufffd"

/* Not a byte of a name may end the line, the string, or the encoding. */
static void ugly_paths(void **state)
{
	static const char script[] =
		"import fcntl, os, sys\n"
		"os.chdir(sys.argv[1])\n"
		"for name in (b'\"\\\\\\n\\x1b\\x7f', '\\u00fc\\u2028\\U0001f512'.encode(),\n"
		"             b'\\xff\\xc3\\xed\\xa0\\x80\\xc0\\xaf\\xf4\\x90\\x80\\x80x'):\n"
		"    f = open(name, 'w+')\n"
		"    fcntl.lockf(f, fcntl.LOCK_EX, 1)\n"
		"    os.unlink(name)\n"
		"    fcntl.lockf(f, fcntl.LOCK_UN)\n";
	char expected[4096] = "";
	static const char *const names[] = {
		"/\\\"\\\\\\n\\u001b\\u007f",
		"/\\u00fc\\u2028\\ud83d\\udd12",
		/* None of its eleven bytes before the x is UTF-8. */
		"/" NO_UTF8 NO_UTF8 NO_UTF8 NO_UTF8 NO_UTF8 NO_UTF8 NO_UTF8 NO_UTF8 NO_UTF8 NO_UTF8
			NO_UTF8 "x",
	};
	struct program_output output;

	(void)state;
	pid_t pid = run_python(script, test_folder, NULL, &output);
	for (size_t i = 0; i < 2 * sizeof names / sizeof *names; i++) {
		bool locks = i % 2 == 0;
		size_t used = strlen(expected);
		snprintf(expected + used, sizeof expected - used,
			 "%s{\"fd\": %d, \"path\": \"FILE%s\", %s\"call\": \"fcntl(F_SETLKW)\", "
			 "\"type\": \"%s\", \"first\": 0, \"last\": %s, \"result\": \"ok\", "
			 "\"semantics\": \"ofd\"}",
			 i ? "\n" : "", i / 2 == 1 ? 4 : 3, names[i / 2],
			 locks ? "" : "\"deleted\": true, ", locks ? "write" : "unlock",
			 locks ? "0" : "null");
	}
	expect_trace(pid, test_folder, expected);
}

/* A line stays JSON, however long the path is. */
static void long_paths(void **state)
{
	static const char script[] =
		"import fcntl, json, os, sys\n"
		"os.chdir(sys.argv[1])\n"
		"for letter in 'd', '\\a':\n"
		"    names = [letter * 200] * 5\n"
		"    for name in names: os.mkdir(name); os.chdir(name)\n"
		"    f = open('a', 'w+')\n"
		"    os.unlink('a')\n"
		"    for name in names: os.chdir('..'); os.rmdir(name)\n"
		"    fcntl.lockf(f, fcntl.LOCK_EX)\n"
		"for line in open('trace'):\n"
		"    entry = json.loads(line)\n"
		"    whole = f'{sys.argv[1]}/' + '/'.join(names).replace('\\a', letter)\n"
		"    print(entry['path_cut'], 150 < len(entry['path']) < 1000, 'last' in entry)\n";
	struct program_output output;

	(void)state;
	run_python(script, test_folder, NULL, &output);
	assert_string_equal(output.out, "True True True\nTrue True True");
	unlink(trace_path());
}

static void bad_pointers(void **state)
{
	char setting[160];
	struct program_start start = {
		.regime = SHIM,
		.arguments = {"preload-subject", "bad_pointers", fresh_file(), "fcntl"},
		.settings = {setting, "RELOCK_SEMANTICS=ofd"},
	};
	struct program_output output;

	(void)state;
	snprintf(setting, sizeof setting, "RELOCK_TRACE=%s", trace_path());
	struct program program = program_start(&start);
	pid_t pid = program.pid;
	program_finish(&program, &output);

	const char *said = read_trace("preload-subject", pid);
	assert_non_null(strstr(said,
			       "\"call\": \"fcntl(F_SETLK)\", \"type\": null, \"first\": null, "
			       "\"last\": null, \"result\": \"EFAULT\""));
}

/* Both at once, each where it belongs. */
static void with_debug_lines(void **state)
{
	static const char script[] = "import fcntl, sys\n"
				     "fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX)\n";
	static const char *const settings[] = {"RELOCK_DEBUG=1", NULL};
	const char *file = fresh_file();
	struct program_output output;
	char expected[256];

	(void)state;
	pid_t pid = run_python(script, file, settings, &output);
	snprintf(expected, sizeof expected,
		 "relock: python3[%d] fd 3 %s: fcntl(F_SETLKW) write 0-EOF = ok (ofd)", (int)pid,
		 file);
	assert_string_equal(output.error, expected);
	expect_trace(pid, file,
		     "{\"fd\": 3, \"path\": \"FILE\", \"call\": \"fcntl(F_SETLKW)\", "
		     "\"type\": \"write\", \"first\": 0, \"last\": null, \"result\": \"ok\", "
		     "\"semantics\": \"ofd\"}");
}

/* A seccomp filter that knows no OFD locks is worth a note. */
static void notes(void **state)
{
	char subject[4096], setting[160];
	struct program_output output;

	(void)state;
	snprintf(subject, sizeof subject, "%s/preload-subject", getenv("RELOCK_TEST_PROGRAMS"));
	snprintf(setting, sizeof setting, "RELOCK_TRACE=%s", trace_path());
	struct program program = program_start(&(struct program_start){
		.regime = SHIM,
		.arguments = {"preload-sandbox", "ofd=EINVAL", "--", subject, "lock_and_unlock",
			      fresh_file(), "fcntl"},
		.settings = {setting, "RELOCK_SEMANTICS=ofd"},
	});
	pid_t pid = program.pid;
	program_finish(&program, &output);
	assert_int_equal(output.status, 0);
	assert_non_null(strstr(read_trace("preload-subject", pid),
			       "{\"note\": \"no OFD locks here: legacy record locks instead\"}"));
}

/* Relative to where the program was started, wherever it goes then. */
static void relative_file(void **state)
{
	char before[4096];
	struct program_output output;

	(void)state;
	assert_non_null(getcwd(before, sizeof before));
	assert_int_equal(chdir(test_folder), 0);
	struct program program = program_start(&(struct program_start){
		.regime = SHIM,
		.arguments = {getenv("RELOCK_TEST_PYTHON"), "-S", "-c",
			      "import fcntl, os, sys\n"
			      "os.chdir('/')\n"
			      "fcntl.lockf(open(sys.argv[1], 'r+'), fcntl.LOCK_EX)\n",
			      fresh_file()},
		.settings = {"RELOCK_TRACE=trace"},
	});
	pid_t pid = program.pid;
	assert_int_equal(chdir(before), 0);
	program_finish(&program, &output);
	assert_int_equal(output.status, 0);
	assert_non_null(strstr(read_trace("python3", pid), "fcntl(F_SETLKW)"));
}

static void file_that_cannot_be(void **state)
{
	struct program_output output;

	(void)state;
	program_run(
		&(struct program_start){
			.regime = SHIM,
			.arguments = {"preload-subject", "close_another_open", fresh_file(),
				      "fcntl"},
			.settings = {"RELOCK_TRACE=/no/such/folder/trace"},
		},
		&output);
	assert_string_equal(output.out, "held free");
	assert_string_equal(output.error,
			    "relock: cannot append to RELOCK_TRACE=/no/such/folder/trace; this "
			    "program's lock calls are not traced");
}

static void works_in_signal_handlers(void **state)
{
	char trace[160], debug[160];

	(void)state;
	/* On a small stack, with the debug lines and a policy besides. */
	snprintf(trace, sizeof trace, "RELOCK_TRACE=%s", trace_path());
	snprintf(debug, sizeof debug, "RELOCK_DEBUG=%s/lines", test_folder);
	assert_string_equal(program_says(&(struct program_start){
				    .regime = SHIM,
				    .arguments = {"preload-subject", "in_signal_handlers",
						  fresh_file(), "fcntl"},
				    .settings = {trace, debug, "RELOCK_POLICY=file=ofd:*=off"},
			    }),
			    "0 0");
	unlink(trace_path());
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(every_kind_of_call),
	cmocka_unit_test(kinds_of_lock),
	cmocka_unit_test(another_thread),
	cmocka_unit_test(ugly_paths),
	cmocka_unit_test(long_paths),
	cmocka_unit_test(bad_pointers),
	cmocka_unit_test(with_debug_lines),
	cmocka_unit_test(notes),
	cmocka_unit_test(relative_file),
	cmocka_unit_test(file_that_cannot_be),
	cmocka_unit_test(works_in_signal_handlers),
};

int main(void)
{
	return cmocka_run_group_tests_name("trace", tests, make_folder, remove_folder);
}
