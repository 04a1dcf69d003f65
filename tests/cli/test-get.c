/*
 * relock get and unget: a lock that outlives its command.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "peer.h"

static pid_t holder_pid(const char *name)
{
	const char *pid = state_value(EXPECT(0, "state", name)->out, "pid");

	assert_non_null(pid);
	return atoi(pid);
}

static void get_holds_until_unget(void **state)
{
	EXPECT_IN(EXPECT(0, "get", "a")->out, "a: granted, exclusive, held by pid ");
	EXPECT(1, "run", "-n", "a", "--", "true");
	EXPECT_IN(EXPECT(0, "unget", "a")->out, "a: given back, was held exclusively by pid ");
	EXPECT(0, "run", "-n", "a", "--", "true");
}

static void get_is_recorded_as_held_on_behalf(void **state)
{
	EXPECT(0, "get", "a");

	const char *text = EXPECT(0, "state", "a")->out;

	EXPECT_IN(state_value(text, "via"), "relock get");
	assert_string_equal(state_value(text, "info"), "cli");
	assert_string_equal(state_value(text, "mode"), "exclusive");
	EXPECT(0, "unget", "a");

	text = EXPECT(0, "state", "a")->out;
	assert_string_equal(state_value(text, "state"), "free");
	assert_non_null(state_value(text, "released"));
	assert_string_equal(state_value(text, "last-info"), "cli");
}

static void get_m_sets_the_info(void **state)
{
	EXPECT(0, "get", "-m", "migration 42", "a");
	assert_string_equal(state_value(EXPECT(0, "state", "a")->out, "info"), "migration 42");
}

static void get_takes_options_after_the_name(void **state)
{
	EXPECT(0, "get", "a", "-t", "1", "-m", "x");
	assert_string_equal(state_value(EXPECT(0, "state", "a")->out, "info"), "x");
}

static void get_that_times_out_names_holder_and_remedy(void **state)
{
	EXPECT(0, "get", "a");

	const struct outcome *outcome = EXPECT(1, "get", "-t", "0.05", "a");

	EXPECT_IN(outcome->err, "relock: a: not to be had within 0.05 s: it is held exclusively");
	EXPECT_IN(outcome->err, "to give it back: relock unget a");
	EXPECT_IN(EXPECT(1, "get", "-t", "0", "a")->err, "at once");
}

/* It is a child of `relock get` that waits, of unknown pid; so this looks
 * again and again, 20 s at most. */
static void wait_for_a_waiter(void)
{
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (RELOCK("list", "--raw", "-n", "-o", "WAITERS")->out[0] == '\n') {
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec > 20)
			fail_msg("nobody waits");
	}
}

static void get_t_minus_1_waits_however_long_it_takes(void **state)
{
	struct program holder = start_holder("a", NULL);
	struct program getter = START_RELOCK("get", "-t", "-1", "a");

	wait_for_a_waiter();
	say_line(&holder, "end");

	struct outcome first = finish(&holder), second = finish(&getter);

	assert_int_equal(second.code, 0);
	EXPECT_IN(second.out, "granted");
	outcome_free(&first);
	outcome_free(&second);
	EXPECT(0, "unget", "a");
}

static void get_killed_while_it_waits_leaves_no_waiter(void **state)
{
	struct program holder = start_holder("a", NULL);
	struct program getter = START_RELOCK("get", "-t", "-1", "a");

	wait_for_a_waiter();
	kill(getter.pid, SIGKILL);

	/* Its output is closed when the child has gone, too. */
	struct outcome killed = finish(&getter);

	assert_int_equal(killed.code, 128 + SIGKILL);
	outcome_free(&killed);
	killed = finish(&holder);
	outcome_free(&killed);
	EXPECT(0, "run", "-n", "a", "--", "true");
}

static void get_a_gives_back_by_itself(void **state)
{
	EXPECT_IN(EXPECT(0, "get", "-a", "0.1", "a")->out, "given back after 0.10 s");
	EXPECT(0, "run", "-w", "10", "a", "--", "true");
}

static void get_a_may_be_given_back_earlier(void **state)
{
	EXPECT(0, "get", "-a", "1000", "a");
	EXPECT(0, "unget", "a");
}

static void get_s_shares(void **state)
{
	EXPECT(0, "get", "-s", "a");
	EXPECT(0, "get", "--shared", "a");
	EXPECT(1, "get", "-t", "0", "a");
	EXPECT_IN(EXPECT(0, "state", "a")->out, "mode: shared");
	/* Each is given back by itself. */
	EXPECT_IN(EXPECT(0, "unget", "a")->out, "; now held shared by pid ");
	EXPECT_NOT_IN(EXPECT(0, "unget", "a")->out, "; now");
	assert_string_equal(state_value(EXPECT(0, "state", "a")->out, "state"), "free");
}

/* What of /proc/PID/fd is not /dev/null: only what the lock needs. */
static void expect_few_descriptors(pid_t pid)
{
	char path[300], target[512];
	size_t count = 0;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);

	DIR *folder = opendir(path);

	assert_non_null(folder);
	for (struct dirent *entry; (entry = readdir(folder));) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "/proc/%d/fd/%s", (int)pid, entry->d_name);

		ssize_t length = readlink(path, target, sizeof target - 1);

		assert_true(length > 0);
		target[length] = '\0';
		count++;
		if (atoi(entry->d_name) <= 2)
			assert_string_equal(target, "/dev/null");
		else if (!strstr(target, test_folder()))
			fail_msg("the holder has %s open", target);
	}
	closedir(folder);
	assert_true(count >= 4);
}

static void get_leaves_a_holder_that_is_detached(void **state)
{
	char path[64], target[16] = "";

	EXPECT(0, "get", "a");

	pid_t pid = holder_pid("a");

	assert_int_equal(getsid(pid), pid);
	snprintf(path, sizeof path, "/proc/%d/cwd", (int)pid);
	assert_int_equal(readlink(path, target, sizeof target - 1), 1);
	assert_string_equal(target, "/");
	expect_few_descriptors(pid);
}

static void get_leaves_a_holder_that_ignores_the_terminals_signals(void **state)
{
	EXPECT(0, "get", "a");

	pid_t pid = holder_pid("a");

	assert_int_equal(kill(pid, SIGINT), 0);
	assert_int_equal(kill(pid, SIGHUP), 0);
	EXPECT(1, "run", "-n", "a", "--", "true");
}

static void get_releases_on_SIGTERM(void **state)
{
	EXPECT(0, "get", "a");
	assert_int_equal(kill(holder_pid("a"), SIGTERM), 0);
	EXPECT(0, "run", "-w", "10", "b", "--", "true");
	EXPECT(0, "run", "-w", "10", "a", "--", "true");
}

static void get_that_dies_frees_the_lock(void **state)
{
	EXPECT(0, "get", "a");

	pid_t pid = holder_pid("a");
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd end = {.fd = pidfd, .events = POLLIN};

	assert_true(pidfd >= 0);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(poll(&end, 1, 20000), 1);
	close(pidfd);

	const char *text = EXPECT(0, "state", "a")->out;

	assert_string_equal(state_value(text, "state"), "free");
	EXPECT_IN(text, "\ndied");
}

/* In a mount namespace of its own: on a file system without a block to spare,
 * and then, with room made, on the same one. */
static void get_without_a_record_is_73_and_holds_nothing(void **state)
{
	char command[1024];

	if (geteuid() != 0) {
		print_message("only root can mount\n");
		skip();
	}
	snprintf(command, sizeof command,
		 "cd '%s' && mkdir fs && mount -t tmpfs -o nr_blocks=1 none fs && "
		 "echo x >fs/full && relock='%s' && export RELOCK_STORE=ofd:$PWD/fs && "
		 "{ $relock get a; test $? = 73; } && { $relock get -s a; test $? = 73; } && "
		 "$relock run -n a -- true && rm fs/full && $relock get a && $relock unget a",
		 test_folder(), relock_path());
	EXPECT_IN(expect_code(RUN("unshare", "--mount", "sh", "-c", command), 0, __FILE__, __LINE__)
			  ->err,
		  "relock: a: not kept: ");
	make_script("store/other", "precious\n");
	EXPECT_IN(EXPECT(73, "get", "other")->err, "not relock's");
	EXPECT(0, "run", "-n", "other", "--", "true");
}

static void get_ends_when_its_lock_is_gone(void **state)
{
	EXPECT(0, "get", "a");

	pid_t pid = holder_pid("a");
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd end = {.fd = pidfd, .events = POLLIN};

	assert_true(pidfd >= 0);
	/* So that nobody could ask it any more. */
	assert_int_equal(unlink(test_path("store/a")), 0);
	assert_int_equal(poll(&end, 1, 20000), 1);
	close(pidfd);
}

/* What another user's `unget` says: the uid is changed by setpriv(1). */
static void unget_of_another_users_get_says_whose_it_is(void **state)
{
	if (geteuid() != 0) {
		print_message("only root can be another user\n");
		skip();
	}
	assert_int_equal(chmod(test_folder(), 0755), 0);
	EXPECT(0, "get", "a");

	const struct outcome *refused =
		/* Who may pass any folder: the command may be in one of root's. */
		RUN("setpriv", "--reuid", "65534", "--clear-groups", "--inh-caps", "+dac_override",
		    "--ambient-caps", "+dac_override", relock_path(), "unget", "a");

	expect_code(refused, 1, __FILE__, __LINE__);
	EXPECT_IN(refused->err, "belongs to root");
	EXPECT_NOT_IN(refused->err, "not from");
	EXPECT(0, "unget", "a");
}

static void unget_of_a_free_lock_is_1(void **state)
{
	EXPECT_IN(EXPECT(1, "unget", "a")->err, "relock: a: not held");
	EXPECT_IN(EXPECT(1, "unget", "--force", "a")->err, "relock: a: not held");
	EXPECT(0, "get", "a");
	EXPECT(0, "unget", "a");
	EXPECT(1, "unget", "a");
}

static void unget_of_anothers_lock_needs_force(void **state)
{
	struct program holder = start_holder("a", NULL);
	char pid[32];

	snprintf(pid, sizeof pid, "by pid %d ", (int)holder.pid);

	const struct outcome *refused = EXPECT(1, "unget", "a");

	EXPECT_IN(refused->err, pid);
	EXPECT_IN(refused->err, "relock unget --force a");
	EXPECT(1, "run", "-n", "a", "--", "true");
	EXPECT_IN(EXPECT(0, "unget", "--force", "a")->out, "a: broken, was held exclusively");
	assert_non_null(state_value(EXPECT(0, "state", "a")->out, "broken-by"));

	struct outcome outcome = finish(&holder);

	/* The holder was not ended. */
	assert_int_equal(outcome.code, 1); /* read's, at end-of-file */
	outcome_free(&outcome);
}

static void unget_force_of_a_get_asks(void **state)
{
	EXPECT(0, "get", "a");
	EXPECT_IN(EXPECT(0, "unget", "-f", "a")->out, "a: given back");
	assert_null(state_value(EXPECT(0, "state", "a")->out, "broken-by"));
}

static void unget_m_gives_the_reason(void **state)
{
	char log[1024] = "";
	const char *path = test_path("log");

	EXPECT(0, "get", "a");
	setenv("RELOCK_DEBUG", path, 1);
	EXPECT_IN(EXPECT(0, "unget", "-m", "the job\nis over", "a")->out, "(the job\\nis over)");
	unsetenv("RELOCK_DEBUG");

	int fd = open(path, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	/* The library's lines are there, too. */
	for (size_t length = 0; length < sizeof log - 1;) {
		ssize_t got = read(fd, log + length, sizeof log - 1 - length);

		if (got <= 0)
			break;
		length += (size_t)got;
	}
	close(fd);
	EXPECT_IN(log, "given back by unget: the job\\nis over");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(function) cmocka_unit_test_setup_teardown(function, folder_setup, folder_teardown)
		CASE(get_holds_until_unget),
		CASE(get_is_recorded_as_held_on_behalf),
		CASE(get_m_sets_the_info),
		CASE(get_takes_options_after_the_name),
		CASE(get_that_times_out_names_holder_and_remedy),
		CASE(get_t_minus_1_waits_however_long_it_takes),
		CASE(get_killed_while_it_waits_leaves_no_waiter),
		CASE(get_a_gives_back_by_itself),
		CASE(get_a_may_be_given_back_earlier),
		CASE(get_s_shares),
		CASE(get_leaves_a_holder_that_is_detached),
		CASE(get_leaves_a_holder_that_ignores_the_terminals_signals),
		CASE(get_releases_on_SIGTERM),
		CASE(get_that_dies_frees_the_lock),
		CASE(get_without_a_record_is_73_and_holds_nothing),
		CASE(get_ends_when_its_lock_is_gone),
		CASE(unget_of_another_users_get_says_whose_it_is),
		CASE(unget_of_a_free_lock_is_1),
		CASE(unget_of_anothers_lock_needs_force),
		CASE(unget_force_of_a_get_asks),
		CASE(unget_m_gives_the_reason),
	};

	return cmocka_run_group_tests_name("relock get, unget", tests, NULL, NULL);
}
