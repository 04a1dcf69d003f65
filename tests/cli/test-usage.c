/*
 * What a user can get wrong, and the rest of the command line: help, stores,
 * names, times, lock files, probe, mount, completion.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "command.h"

static const char *const subcommands[] = {
	"run", "get", "unget", "state", "trace", "list", "locks", "exec", "mount", "probe",
};

enum { SUBCOMMAND_COUNT = sizeof subcommands / sizeof subcommands[0] };

static void help_is_there_for_each_command(void **state)
{
	EXPECT_IN(EXPECT(0, "--help")->out, "Usage: relock");
	EXPECT_IN(EXPECT(0, "help")->out, "Usage: relock");
	EXPECT_IN(EXPECT(0, "-h")->out, "Usage: relock");
	EXPECT_IN(EXPECT(0, "--version")->out, "relock 0.");
	EXPECT_IN(EXPECT(0, "-V")->out, "relock 0.");
	for (size_t i = 0; i < SUBCOMMAND_COUNT; i++) {
		char usage[64];

		snprintf(usage, sizeof usage, "Usage: relock %s", subcommands[i]);
		EXPECT_IN(EXPECT(0, subcommands[i], "--help")->out, usage);
		EXPECT_IN(EXPECT(0, "help", subcommands[i])->out, usage);
		EXPECT_IN(EXPECT(0, "--help")->out, subcommands[i]);
	}
	EXPECT_IN(EXPECT(0, "list", "--help")->out, "TOKEN");
	EXPECT_IN(EXPECT(0, "locks", "--help")->out, "WAITERS");
}

static void help_fails_where_it_cannot_be_written(void **state)
{
	char command[512];

	snprintf(command, sizeof command, "'%s' --help >/dev/full", relock_path());
	assert_int_equal(RUN("sh", "-c", command)->code, 74);
}

static void usage_errors_are_64_and_point_to_help(void **state)
{
	EXPECT_IN(RUN(relock_path())->err, "relock --help");
	assert_int_equal(RUN(relock_path())->code, 64);
	EXPECT_IN(EXPECT(64, "frobnicate")->err, "no command 'frobnicate'");
	EXPECT(64, "--frobnicate");
	EXPECT(64, "help", "frobnicate");
	for (size_t i = 0; i < SUBCOMMAND_COUNT; i++)
		EXPECT_IN(EXPECT(64, subcommands[i], "--frobnicate")->err, "--help");
	EXPECT(64, "run");
	EXPECT(64, "run", "a");
	EXPECT(64, "run", "a", "--");
	EXPECT(64, "get");
	EXPECT(64, "get", "a", "b");
	EXPECT(64, "unget");
	EXPECT(64, "unget", "a", "b");
	EXPECT(64, "state");
	EXPECT(64, "state", "a", "b");
	EXPECT(64, "trace");
	EXPECT(64, "mount");
	EXPECT(64, "probe", "a", "b");
}

static void unknown_words_are_shown_escaped(void **state)
{
	EXPECT_IN(EXPECT(64, "a\x1b[2J")->err, "a\\x1b[2J");
	EXPECT_NOT_IN(EXPECT(64, "list", "-o", "\x1b[2J")->err, "\x1b");
	EXPECT_NOT_IN(EXPECT(64, "run", "-w", "\x1b[2J", "a", "true")->err, "\x1b");
}

static void names_are_checked(void **state)
{
	static char longest[257];
	const char *const bad[] = {"",     ".",     "..",   ".hidden", "a/b",
				   "a\nb", "a\x01", "\x7f", longest};

	memset(longest, 'n', 256);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		EXPECT(64, "run", bad[i], "--", "true");
		EXPECT(64, "get", bad[i]);
		EXPECT(64, "unget", bad[i]);
		EXPECT(64, "state", bad[i]);
		EXPECT_NOT_IN(EXPECT(64, "trace", bad[i])->err, "\x01");
	}
	longest[255] = '\0';
	EXPECT(0, "run", longest, "--", "true");
	EXPECT(0, "state", longest);
}

static void store_may_be_given_anywhere(void **state)
{
	char url[128], equals[160];

	assert_int_equal(mkdir(test_path("other"), 0755), 0);
	snprintf(url, sizeof url, "ofd:%s/other", test_folder());
	snprintf(equals, sizeof equals, "--store=%s", url);
	EXPECT(0, "run", "--store", url, "one", "--", "true");
	EXPECT(0, "--store", url, "run", "two", "--", "true");
	EXPECT(0, equals, "get", "three");
	EXPECT_IN(EXPECT(1, "get", equals, "-t", "0", "three")->err, "unget --store ofd:/");
	EXPECT(0, "unget", "three", "--store", url);
	assert_string_equal(EXPECT(0, "list", "-an", "-o", "NAME", "--store", url)->out,
			    "one\nthree\ntwo\n");
	assert_string_equal(EXPECT(0, "list", "-an", "-o", "NAME")->out, "");
}

static void expect_store(int code, const char *url, const char *message)
{
	EXPECT_IN(EXPECT(code, "run", "--store", url, "a", "--", "true")->err, message);
	EXPECT_IN(EXPECT(code, "list", "--store", url)->err, message);
	EXPECT(code, "get", "--store", url, "a");
	EXPECT(code, "state", "--store", url, "a");
}

static void stores_are_checked(void **state)
{
	char url[128];

	expect_store(69, "nonsense:/tmp", "nonsense");
	expect_store(64, "nonsense", "nonsense");
	expect_store(64, "ofd:", "ofd:");
	expect_store(66, "ofd:/no/such/folder", "no such folder");
	expect_store(66, "ofd:/etc/passwd", "not a folder");

	assert_int_equal(symlink("store", test_path("link")), 0);
	snprintf(url, sizeof url, "ofd:%s/link", test_folder());
	expect_store(66, url, "symbolic link");

	assert_int_equal(mkdir(test_path("loose"), 0777), 0);
	assert_int_equal(chmod(test_path("loose"), 0777), 0);
	snprintf(url, sizeof url, "ofd:%s/loose", test_folder());
	expect_store(66, url, "everybody");

	if (geteuid() != 0) {
		print_message("only root can give a folder to another user\n");
		skip();
	}
	assert_int_equal(chown(test_path("loose"), 65534, 0), 0);
	assert_int_equal(chmod(test_path("loose"), 0755), 0);
	expect_store(66, url, "belongs to");
}

/* A shell command line in a mount namespace of its own, with `relock`. */
static const struct outcome *in_namespace(const char *line)
{
	char command[1024];

	snprintf(command, sizeof command,
		 "cd '%s' && mkdir -p fs && relock='%s' && store=ofd:$PWD/fs && %s", test_folder(),
		 relock_path(), line);
	return RUN("unshare", "--mount", "sh", "-c", command);
}

static void file_systems_without_room_are_73(void **state)
{
	if (geteuid() != 0) {
		print_message("only root can mount\n");
		skip();
	}
	expect_code(in_namespace("mount -t tmpfs -o ro none fs && "
				 "$relock run --store $store a -- true"),
		    73, __FILE__, __LINE__);
	/* No inode is left: the folder has taken the only one. */
	expect_code(in_namespace("mount -t tmpfs -o nr_inodes=1 none fs && "
				 "$relock run --store $store a -- true"),
		    73, __FILE__, __LINE__);
}

static void lock_without_room_for_its_record_is_a_lock(void **state)
{
	if (geteuid() != 0) {
		print_message("only root can mount\n");
		skip();
	}
	expect_code(in_namespace("mount -t tmpfs -o nr_blocks=1 none fs && echo x >fs/full && "
				 "$relock run --store $store a -- "
				 "$relock run --store $store -n -E 42 a -- true"),
		    42, __FILE__, __LINE__);
}

static void no_descriptor_left_is_71(void **state)
{
	char command[512];

	/* Enough for the dynamic linker and the store, not for the lock file. */
	snprintf(command, sizeof command, "ulimit -n 4; exec '%s' run a -- true", relock_path());
	assert_int_equal(RUN("sh", "-c", command)->code, 71);
}

static void lock_files_that_are_none_are_66(void **state)
{
	assert_int_equal(mkdir(test_path("store/folder"), 0755), 0);
	assert_int_equal(mkfifo(test_path("store/fifo"), 0666), 0);
	assert_int_equal(symlink("elsewhere", test_path("store/link")), 0);
	EXPECT_IN(EXPECT(66, "run", "folder", "--", "true")->err, "folder");
	EXPECT_IN(EXPECT(66, "run", "fifo", "--", "true")->err, "fifo");
	EXPECT_IN(EXPECT(66, "run", "link", "--", "true")->err, "link");
}

static void lock_files_with_other_contents_are_locked_and_left_alone(void **state)
{
	const char *path = make_script("store/garbage", "precious\n");
	char text[32] = "";

	EXPECT(1, "run", "garbage", "--", relock_path(), "run", "-n", "garbage", "--", "true");
	EXPECT(0, "run", "garbage", "--", "true");

	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(read(fd, text, sizeof text), 9);
	close(fd);
	assert_string_equal(text, "precious\n");
}

static void times_are_checked(void **state)
{
	static const char *const bad[] = {"-0.5", "nan", "inf", "9223372037", "soon", "", "1e3"};

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		EXPECT_IN(EXPECT(64, "run", "-w", bad[i], "a", "--", "true")->err,
			  "relock: run: -w");
		EXPECT_IN(EXPECT(64, "get", "-t", bad[i], "a")->err, "relock: get: -t");
		EXPECT_IN(EXPECT(64, "get", "-a", bad[i], "a")->err, "relock: get: -a");
		EXPECT_IN(EXPECT(64, "trace", "-u", bad[i], "a")->err, "relock: trace: -u");
	}
	EXPECT(64, "get", "-t", "-2", "a");
	EXPECT(64, "get", "-a", "-1", "a");
	EXPECT(64, "trace", "-u", "0", "a");
	EXPECT(64, "run", "-E", "256", "a", "--", "true");
	EXPECT(64, "run", "-u", "a", "--", "true");
}

static void probe_tells_what_excludes_what(void **state)
{
	const struct outcome *outcome = EXPECT(0, "probe", test_path("store"));

	EXPECT_IN(outcome->out, "struct flock, ");
	EXPECT_IN(outcome->out, "RELOCK_STORE");
	EXPECT_IN(outcome->out, "F_OFD_SETLK  refused     refused     granted       refused");
	EXPECT_IN(outcome->out, "F_SETLK      refused     refused     granted       granted");

	struct json_object *json = json_tokener_parse(EXPECT(0, "probe", "--json")->out);
	struct json_object *flock_layout = NULL, *l_start = NULL, *offset = NULL, *size = NULL;

	assert_non_null(json);
	assert_true(json_object_object_get_ex(json, "struct-flock", &flock_layout));
	assert_true(json_object_object_get_ex(flock_layout, "l_start", &l_start));
	assert_true(json_object_object_get_ex(l_start, "offset", &offset));
	assert_true(json_object_object_get_ex(l_start, "size", &size));
	assert_int_equal(json_object_get_int(offset), offsetof(struct flock, l_start));
	assert_int_equal(json_object_get_int(size), sizeof(off_t));
	json_object_put(json);
	/* It leaves nothing behind. */
	assert_int_equal(rmdir(test_path("store")), 0);
	assert_int_equal(mkdir(test_path("store"), 0755), 0);
}

static void probe_says_where_it_cannot_try(void **state)
{
	EXPECT_IN(EXPECT(0, "probe", "/proc/version")->out, "no file can be made there");
}

/* A relockfs that shows its words. */
static void mount_passes_its_words_on(void **state)
{
	char path[256];

	assert_int_equal(mkdir(test_path("bin"), 0755), 0);
	make_script("bin/relockfs", "#!/bin/sh\necho \"$*\"\n");
	/* A copy of relock elsewhere finds it by $PATH. */
	assert_int_equal(RUN("cp", relock_path(), test_path("bin/relock"))->code, 0);
	snprintf(path, sizeof path, "PATH=%s:/usr/bin:/bin", test_path("bin"));

	const char *relock = test_path("bin/relock");

#define EXPECT_WORDS(expected, ...)                                                                \
	assert_string_equal(                                                                       \
		expect_code(RUN("env", path, relock, __VA_ARGS__), 0, __FILE__, __LINE__)->out,    \
		expected "\n")
	EXPECT_WORDS("/locks", "mount", "/locks");
	EXPECT_WORDS("-f -o x=y /locks", "mount", "-f", "-o", "x=y", "/locks");
	EXPECT_WORDS("-o a -o b /locks", "mount", "-oa", "/locks", "-o", "b");
	EXPECT_WORDS("ofd:/x /locks", "mount", "ofd:/x", "/locks");
	EXPECT_WORDS("ofd:/x /locks", "--store", "ofd:/x", "mount", "/locks");
	/* The store, options and the folder in each order. */
	EXPECT_WORDS("-f ofd:/x /locks", "mount", "--store", "ofd:/x", "-f", "/locks");
	EXPECT_WORDS("-f ofd:/x /locks", "mount", "--store", "ofd:/x", "/locks", "-f");
	EXPECT_WORDS("-f ofd:/x /locks", "mount", "-f", "--store", "ofd:/x", "/locks");
	EXPECT_WORDS("-f ofd:/x /locks", "mount", "-f", "/locks", "--store", "ofd:/x");
	EXPECT_WORDS("-f ofd:/x /locks", "mount", "/locks", "--store", "ofd:/x", "-f");
	EXPECT_WORDS("-f ofd:/x /locks", "mount", "/locks", "-f", "--store", "ofd:/x");
	EXPECT_WORDS("-f ofd:/x /locks", "mount", "/locks", "-f", "--store=ofd:/x");
	EXPECT_WORDS("-f ofd:/x /locks", "mount", "ofd:/x", "-f", "/locks");
	EXPECT_WORDS("-f ofd:/x /locks", "mount", "ofd:/x", "/locks", "-f");
	EXPECT_WORDS("-o x=y ofd:/x /locks", "mount", "/locks", "--store", "ofd:/x", "-o", "x=y");
	EXPECT_WORDS("--supervise -o x=y ofd:/x /locks", "mount", "/locks", "-ox=y", "--store",
		     "ofd:/x", "--supervise");
	/* Letters in one word, long options by their beginning, the last of two
	 * stores, and a value that looks like an option. */
	EXPECT_WORDS("-f -d -o x=y /locks", "mount", "-dfox=y", "/locks");
	EXPECT_WORDS("--supervise ofd:/x /locks", "mount", "/locks", "--sto", "ofd:/x", "--sup");
	EXPECT_WORDS("ofd:/x /locks", "mount", "--store", "ofd:/y", "/locks", "--store", "ofd:/x");
	EXPECT_WORDS("-o --status /locks", "mount", "-o", "--status", "/locks");
	EXPECT_WORDS("-o -h /locks", "mount", "-o", "-h", "/locks");
	/* What follows -- is no option. */
	EXPECT_WORDS("ofd:/x /locks", "mount", "--store", "ofd:/x", "--", "/locks");
	EXPECT_WORDS("-f -- ofd:/x --status", "mount", "--store", "ofd:/x", "-f", "--", "--status");
	EXPECT_WORDS("-V", "mount", "--version");
}

static void mount_checks_its_words(void **state)
{
	EXPECT_IN(EXPECT(64, "mount")->err, "the folder to mount on is missing");
	EXPECT_IN(EXPECT(64, "mount", "--store", "ofd:/x")->err, "folder to mount on is missing");
	EXPECT_IN(EXPECT(64, "mount", "/locks", "--store")->err, "requires an argument");
	EXPECT_IN(EXPECT(64, "mount", "/locks", "-o")->err, "requires an argument");
	EXPECT_IN(EXPECT(64, "mount", "a", "b", "c")->err, "only one folder");
	EXPECT_IN(EXPECT(64, "mount", "--store", "ofd:/x", "a", "b")->err, "given twice");
	EXPECT_IN(EXPECT(64, "mount", "/locks", "--json")->err, "only --status");
	EXPECT_IN(EXPECT(64, "mount", "--clear", "/locks", "-f")->err, "for mounting");
	EXPECT_IN(EXPECT(64, "mount", "--supervise", "--upgrade", "/locks")->err, "for mounting");
	EXPECT_IN(EXPECT(0, "mount", "/locks", "--store", "ofd:/x", "-h")->out, "Usage:");
}

static const char *complete(const char *words)
{
	char command[1024];

	snprintf(command, sizeof command,
		 "relock() { '%s' \"$@\"; }; . '%s'; COMP_WORDS=(relock %s); "
		 "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _relock; printf '%%s\\n' "
		 "\"${COMPREPLY[@]}\"",
		 relock_path(), BASH_COMPLETION, words);
	return RUN("bash", "-c", command)->out;
}

static void completion_knows_commands_options_and_names(void **state)
{
	EXPECT(0, "run", "backup", "--", "true");
	EXPECT(0, "run", "$(touch evil)", "--", "true");
	EXPECT(0, "get", "base");
	assert_string_equal(complete("st"), "state\n");
	assert_string_equal(complete("un"), "unget\n");
	assert_string_equal(complete("run --sh"), "--shared\n");
	assert_string_equal(complete("state ba"), "backup\nbase\n");
	assert_string_equal(complete("unget ba"), "base\n");
	assert_string_equal(complete("get -t 5 bac"), "backup\n");
	assert_string_equal(complete("--store x st"), "state\n");
	assert_string_equal(complete("exec --semantics ''"), "process\nofd\noff\n");
	assert_string_equal(complete("exec --po"), "--policy\n");
	assert_string_equal(complete("mount --up"), "--upgrade\n");
	assert_string_equal(complete("mount --status -o UP"), "UPTIME\n");
	assert_string_equal(complete("mount -o mo"), "mode=\n");
	assert_string_equal(complete("exec --trace /dev/zer"), "/dev/zero\n");
	EXPECT_IN(complete("exec --policy a=off trunc"), "truncate\n");
	/* A name is not run. */
	EXPECT_IN(complete("state ''"), "\\$\\(touch\\ evil\\)");
	assert_int_equal(access("evil", F_OK), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(function) cmocka_unit_test_setup_teardown(function, folder_setup, folder_teardown)
		CASE(help_is_there_for_each_command),
		CASE(help_fails_where_it_cannot_be_written),
		CASE(usage_errors_are_64_and_point_to_help),
		CASE(unknown_words_are_shown_escaped),
		CASE(names_are_checked),
		CASE(store_may_be_given_anywhere),
		CASE(stores_are_checked),
		CASE(file_systems_without_room_are_73),
		CASE(lock_without_room_for_its_record_is_a_lock),
		CASE(no_descriptor_left_is_71),
		CASE(lock_files_that_are_none_are_66),
		CASE(lock_files_with_other_contents_are_locked_and_left_alone),
		CASE(times_are_checked),
		CASE(probe_tells_what_excludes_what),
		CASE(probe_says_where_it_cannot_try),
		CASE(mount_passes_its_words_on),
		CASE(mount_checks_its_words),
		CASE(completion_knows_commands_options_and_names),
	};

	return cmocka_run_group_tests_name("relock's command line", tests, NULL, NULL);
}
