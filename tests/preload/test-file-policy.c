/*
 * RELOCK_POLICY, file by file: which kind of lock a file gets for its path.
 *
 * What a case says of a lock is what /proc/self/fdinfo shows for it: POSIX is
 * legacy, OFDLCK is `ofd`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "program.h"

/* Locks the file that it is given, after it has done as it is told. */
static const char python[] = "import fcntl, os, sys\n"
			     "path = sys.argv[1]\n"
			     "f = open(path, 'w+')\n"
			     "exec(sys.argv[2])\n"
			     "fcntl.lockf(f, fcntl.LOCK_EX)\n"
			     "for line in open(f'/proc/self/fdinfo/{f.fileno()}'):\n"
			     "    if line.startswith('lock:'): print(line.split()[2])\n";

/* Of test_folder/NAME; `rules` has the folder for each %s. */
static const char *kind_of_lock(const char *rules, const char *name, const char *before)
{
	char setting[1024], path[256];

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	size_t used = (size_t)snprintf(setting, sizeof setting, "RELOCK_POLICY=");
	snprintf(setting + used, sizeof setting - used, rules, test_folder, test_folder);
#pragma GCC diagnostic pop
	snprintf(path, sizeof path, "%s/%s", test_folder, name);
	const char *said = program_says(&(struct program_start){
		.regime = SHIM,
		.arguments = {getenv("RELOCK_TEST_PYTHON"), "-S", "-c", python, path, before},
		.settings = {setting},
	});
	unlink(path);
	return said;
}

static void first_match_wins(void **state)
{
	static const char rules[] = "%s/*.lock=off:%s/**=ofd:*=off";

	(void)state;
	assert_string_equal(kind_of_lock(rules, "a.lock", ""), "POSIX");
	assert_string_equal(kind_of_lock(rules, "a.db", ""), "OFDLCK");
	assert_string_equal(kind_of_lock("a=ofd:?=off", "a", ""), "OFDLCK");
	assert_string_equal(kind_of_lock("?=off:a=ofd", "a", ""), "POSIX");
}

static void without_a_match_it_is_the_default(void **state)
{
	struct program_start start = {
		.regime = SHIM,
		.arguments = {"preload-subject", "close_another_open", fresh_file(), "fcntl"},
		.settings = {"RELOCK_POLICY=other=ofd", "RELOCK_SEMANTICS=off"},
	};

	(void)state;
	assert_string_equal(program_says(&start), "free free");
	start.settings[1] = "RELOCK_SEMANTICS=ofd";
	assert_string_equal(program_says(&start), "held free");
	start.settings[0] = "RELOCK_POLICY=other=off";
	start.settings[1] = NULL;
	assert_string_equal(program_says(&start), "held free");
	/* And `off` by default leaves a rule its say. */
	start.settings[0] = "RELOCK_POLICY=file=ofd";
	start.settings[1] = "RELOCK_SEMANTICS=off";
	assert_string_equal(program_says(&start), "held free");
}

static void path_is_that_of_the_file(void **state)
{
	(void)state;
	/* Not that of the symbolic link; and after a rename the new one. */
	assert_string_equal(kind_of_lock("link=off:real=ofd", "real",
					 "os.symlink(path, path[:-4] + 'link')\n"
					 "f = open(path[:-4] + 'link', 'r+')\n"
					 "os.unlink(path[:-4] + 'link')"),
			    "OFDLCK");
	assert_string_equal(kind_of_lock("old=off:new=ofd", "old",
					 "os.rename(path, path[:-3] + 'new')\n"
					 "import atexit\n"
					 "atexit.register(os.unlink, path[:-3] + 'new')"),
			    "OFDLCK");
}

static void deleted_file_keeps_its_path(void **state)
{
	static const char rules[] = "* (deleted)=off:a=ofd:*=off";

	(void)state;
	assert_string_equal(kind_of_lock(rules, "a", "os.unlink(path)"), "OFDLCK");
	/* One that has another name left; the link count is not 0. */
	assert_string_equal(kind_of_lock(rules, "a",
					 "other = path + '2'\n"
					 "os.link(path, other)\n"
					 "os.unlink(path)\n"
					 "import atexit\n"
					 "atexit.register(os.unlink, other)"),
			    "OFDLCK");
	/* One whose place another has taken. */
	assert_string_equal(kind_of_lock(rules, "a", "os.unlink(path); open(path, 'w').close()"),
			    "OFDLCK");
	/* One beside which another is called so. */
	assert_string_equal(kind_of_lock(rules, "a",
					 "other = path + ' (deleted)'\n"
					 "os.unlink(path)\n"
					 "open(other, 'w').close()\n"
					 "import atexit\n"
					 "atexit.register(os.unlink, other)"),
			    "OFDLCK");
	/* And one that is called so itself. */
	assert_string_equal(kind_of_lock("a=off:a (deleted)=ofd", "a (deleted)", ""), "OFDLCK");
	assert_string_equal(kind_of_lock("a=off:a (deleted)=ofd", "a (deleted)", "os.unlink(path)"),
			    "OFDLCK");
}

static void file_without_a_name(void **state)
{
	(void)state;
	assert_string_equal(kind_of_lock("/memfd\\:x=ofd:*=off", "a",
					 "f = os.fdopen(os.memfd_create('x'), 'w+')"),
			    "OFDLCK");
}

static void policy_is_kept_as_it_was(void **state)
{
	(void)state;
	/* The program writes over its environment, where the policy stood. */
	assert_string_equal(kind_of_lock("a=ofd:*=off", "a",
					 "import ctypes\n"
					 "libc = ctypes.CDLL(None)\n"
					 "libc.getenv.restype = ctypes.c_void_p\n"
					 "ctypes.memset(libc.getenv(b'RELOCK_POLICY'), 0x78, 5)\n"
					 "libc.clearenv()"),
			    "OFDLCK");
}

/* Nothing tells the path; only the rule for everything counts. */
static void path_is_too_long(void **state)
{
	static const char deep[] = "os.chdir(os.path.dirname(path))\n"
				   "names = ['d' * 200] * 6\n"
				   "for name in names: os.mkdir(name); os.chdir(name)\n"
				   "f = open('a', 'w+')\n"
				   "os.unlink('a')\n"
				   "for name in names: os.chdir('..'); os.rmdir(name)\n";

	(void)state;
	assert_string_equal(kind_of_lock("a=off:/**=off:*=ofd", "b", deep), "OFDLCK");
}

static void without_proc(void **state)
{
	char subject[4096];
	struct program_output output;

	(void)state;
	if (geteuid() != 0) {
		print_message("only root can mount\n");
		skip();
	}
	snprintf(subject, sizeof subject, "%s/preload-subject", getenv("RELOCK_TEST_PROGRAMS"));

	struct program_start start = {
		.regime = SHIM,
		.arguments = {"/usr/bin/unshare", "--mount", "sh", "-c",
			      "mount -t tmpfs none /proc && exec \"$0\" close_another_open \"$1\" "
			      "fcntl",
			      subject, fresh_file()},
		.settings = {"RELOCK_POLICY=file=ofd:/**=ofd:*=off"},
	};
	program_run(&start, &output);
	assert_int_equal(output.status, 0);
	assert_string_equal(output.out, "free free");
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(first_match_wins),
	cmocka_unit_test(without_a_match_it_is_the_default),
	cmocka_unit_test(path_is_that_of_the_file),
	cmocka_unit_test(deleted_file_keeps_its_path),
	cmocka_unit_test(file_without_a_name),
	cmocka_unit_test(policy_is_kept_as_it_was),
	cmocka_unit_test(path_is_too_long),
	cmocka_unit_test(without_proc),
};

int main(void)
{
	return cmocka_run_group_tests_name("file policy", tests, make_folder, remove_folder);
}
