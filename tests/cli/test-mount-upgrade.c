/*
 * `relock mount --upgrade` with a program that cannot go on: whoever asks is told
 * at once and why, and the daemon goes on as it is, with its locks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "command.h"

enum { PATIENCE_MS = 20000, AT_ONCE_SECONDS = 20 };

static int held = -1;

static const char *folder(void)
{
	return test_path("locks");
}

/* The program that the mount was made with, and is upgraded to. */
static const char *program(void)
{
	return test_path("relockfs");
}

static void put_program(const char *from)
{
	char command[1024];

	snprintf(command, sizeof command, "cp '%s' '%s.new' && mv '%s.new' '%s'", from, program(),
		 program(), program());
	assert_int_equal(system(command), 0);
}

static void put_script(const char *text)
{
	assert_int_equal(rename(make_script("script", text), program()), 0);
}

static long number_of_mount(const char *key)
{
	char name[64], text[32] = "";

	snprintf(name, sizeof name, "user.relock.%s", key);
	assert_true(getxattr(folder(), name, text, sizeof text - 1) > 0);
	return atol(text);
}

static int setup(void **state)
{
	if (folder_setup(state) < 0 || mkdir(folder(), 0755) < 0)
		return -1;
	put_program(RELOCKFS);
	expect_code(RUN(program(), "--supervise", getenv("RELOCK_STORE"), folder()), 0, __FILE__,
		    __LINE__);
	held = open(test_path("locks/backup"), O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	assert_true(held >= 0);
	return 0;
}

static int teardown(void **state)
{
	if (held >= 0)
		close(held);
	held = -1;
	umount2(folder(), MNT_DETACH);
	return folder_teardown(state);
}

/* Refused with these words, before the 30 seconds of one that is awaited. */
static void expect_refusal(const char *words)
{
	long server = number_of_mount("pid"), starts = number_of_mount("starts");
	struct timespec before, after;

	clock_gettime(CLOCK_MONOTONIC, &before);
	const char *said = EXPECT(69, "mount", "--upgrade", folder())->err;
	clock_gettime(CLOCK_MONOTONIC, &after);
	EXPECT_IN(said, "not upgraded, the daemon goes on as it is");
	EXPECT_IN(said, words);
	assert_true(after.tv_sec - before.tv_sec < AT_ONCE_SECONDS);
	assert_int_equal(number_of_mount("pid"), server);
	assert_int_equal(number_of_mount("starts"), starts);
	assert_int_equal(fsync(held), 0);
}

static void another_layout_is_refused(void **state)
{
	put_script("#!/bin/sh\ntest \"$1\" = --ledger-layout && echo 4711\n");
	expect_refusal("its ledger has layout 4711");
	/* And asked again, again. */
	expect_refusal("unmount, and mount again");
}

static void a_missing_program_is_refused(void **state)
{
	assert_int_equal(unlink(program()), 0);
	expect_refusal("cannot be run: No such file or directory");
}

static void a_crashing_program_is_refused(void **state)
{
	put_script("#!/bin/sh\nkill -SEGV $$\n");
	expect_refusal("was ended by signal 11");
}

static void a_failing_program_is_refused(void **state)
{
	put_script("#!/bin/sh\nexit 127\n");
	expect_refusal("has ended with status 127");
}

static void another_program_is_refused(void **state)
{
	put_script("#!/bin/sh\necho usage: another-program [OPTION]...\n");
	expect_refusal("does not behave as relockfs does");
}

static void a_hanging_program_is_refused(void **state)
{
	put_script("#!/bin/sh\nexec sleep 1000\n");
	expect_refusal("does not answer");
}

/* A refusal is no end of it. */
static void a_good_program_is_taken_after_a_refusal(void **state)
{
	a_missing_program_is_refused(state);
	put_program(RELOCKFS);

	long server = number_of_mount("pid"), supervisor = number_of_mount("supervisor");

	EXPECT(0, "mount", "--upgrade", folder());
	assert_int_not_equal(number_of_mount("pid"), server);
	assert_int_equal(number_of_mount("supervisor"), supervisor);
	assert_int_equal(fsync(held), 0);
}

/* The server goes on by itself then, and not with what has another layout. */
static void a_killed_supervisor_is_not_followed_by_another_version(void **state)
{
	long starts = number_of_mount("starts");
	pid_t supervisor = (pid_t)number_of_mount("supervisor");

	put_script("#!/bin/sh\ntest \"$1\" = --ledger-layout && echo 4711\n");
	assert_int_equal(kill(supervisor, SIGKILL), 0);
	for (int i = 0; number_of_mount("starts") == starts && i < PATIENCE_MS; i++)
		assert_int_equal(poll(NULL, 0, 1), 0);
	assert_int_not_equal(number_of_mount("supervisor"), supervisor);
	assert_int_equal(fsync(held), 0);
	/* It is known by its name still, for who looks before a signal is sent. */
	expect_refusal("its ledger has layout 4711");
}

/* The last resort, if all of this was passed over. */
static void a_ledger_of_another_layout_is_left_alone(void **state)
{
	uint32_t layout = 4711, after = 0;
	int ledger = memfd_create("ledger", 0);
	char variable[64];

	assert_true(ledger >= 0);
	assert_int_equal(pwrite(ledger, &layout, sizeof layout, 0), sizeof layout);
	snprintf(variable, sizeof variable, "RELOCKFS_SUCCESSION=%d %d 1", ledger, ledger);
	EXPECT_IN(expect_code(RUN("env", variable, RELOCKFS, "--supervise", getenv("RELOCK_STORE"),
				  folder()),
			      70, __FILE__, __LINE__)
			  ->err,
		  "cannot be gone on with");
	assert_int_equal(pread(ledger, &after, sizeof after, 0), sizeof after);
	assert_int_equal(after, layout);
	close(ledger);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
		CASE(another_layout_is_refused),
		CASE(a_missing_program_is_refused),
		CASE(a_crashing_program_is_refused),
		CASE(a_failing_program_is_refused),
		CASE(another_program_is_refused),
		CASE(a_hanging_program_is_refused),
		CASE(a_good_program_is_taken_after_a_refusal),
		CASE(a_killed_supervisor_is_not_followed_by_another_version),
		CASE(a_ledger_of_another_layout_is_left_alone),
	};

	return cmocka_run_group_tests_name("relock mount --upgrade", tests, NULL, NULL);
}
