/*
 * The systemd unit, on a systemd that runs: what becomes of locks when somebody
 * kills, reloads, stops or unmounts.
 *
 * The systemd is process 1 of namespaces of its own (boot), and one for all cases;
 * each starts the unit, and leaves it stopped.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "command.h"

#define UNIT "relockfs@locks.service"

enum { PATIENCE_MS = 20000, STARTS = 10, STOP_SECONDS = 10 };

static struct program outside; /* unshare(1), which waits for it */
static char init[16];          /* its pid */
static char cgroup[64];

/* In there. */
#define IN                                                                                         \
	"nsenter", "-t", init, "-m", "-p", "-C", "-u", "-i", "env", "SYSTEMD_UNIT_PATH=/units",    \
		"PATH=/usr/sbin:/usr/bin:/sbin:/bin:/b"
#define EXPECT_IN_THERE(...) expect_code(RUN(IN, __VA_ARGS__), 0, __FILE__, __LINE__)

static void pause_a_little(void)
{
	assert_int_equal(poll(NULL, 0, 5), 0);
}

static bool find_init(void)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)outside.pid,
		 (int)outside.pid);
	FILE *children = fopen(path, "re");
	bool found = children && fscanf(children, "%15s", init) == 1;
	if (children)
		fclose(children);
	return found;
}

static bool is_running(void)
{
	return strcmp(RUN(IN, "systemctl", "is-system-running")->out, "running\n") == 0;
}

static int boot(void **state)
{
	int patience = PATIENCE_MS / 5;

	if (folder_setup(state) < 0 || mkdir(test_path("root"), 0755) < 0)
		return -1;
	snprintf(cgroup, sizeof cgroup, "relock-test.%d", (int)getpid());
	outside = START(BOOT, test_path("root"), RELOCK_COMMAND, RELOCKFS, UNIT_FILE, cgroup);
	while (!(find_init() && is_running())) {
		if (waitpid(outside.pid, NULL, WNOHANG) != 0 || patience-- == 0)
			return -1;
		pause_a_little();
	}
	return 0;
}

static int shut_down(void **state)
{
	if (outside.pid > 0) {
		kill(outside.pid, SIGKILL);
		waitpid(outside.pid, NULL, 0);
	}
	/* Until all that was in it has ended. */
	for (int i = 0; i < PATIENCE_MS / 5 && RUN(BOOT, "--clean", cgroup)->code != 0; i++)
		pause_a_little();
	return folder_teardown(state);
}

static const char *property(const char *name)
{
	char *value = RUN(IN, "systemctl", "show", "--value", "-p", name, UNIT)->out;

	value[strcspn(value, "\n")] = '\0';
	return value;
}

static void expect_property(const char *name, const char *expected)
{
	assert_string_equal(property(name), expected);
}

static void await_property(const char *name, const char *expected)
{
	time_t deadline = time(NULL) + PATIENCE_MS / 1000;

	while (strcmp(property(name), expected) != 0) {
		if (time(NULL) > deadline) {
			print_error("%s", RUN(IN, "systemctl", "show", UNIT, "-p",
					      "ActiveState,SubState,MainPID,NRestarts,Result")
						  ->out);
			print_error("%s", RUN(IN, "ps", "-eo", "pid,ppid,stat,args")->out);
			fail_msg("%s is %s, not %s", name, property(name), expected);
		}
		pause_a_little();
	}
}

static bool is_mounted(void)
{
	return RUN(IN, "grep", "-q", " /locks ", "/proc/self/mounts")->code == 0;
}

/* A column of `relock mount --status`, that of a mount that serves. */
static long column(const char *name)
{
	return atol(
		EXPECT_IN_THERE("relock", "mount", "--status", "-rn", "-o", name, "/locks")->out);
}

/* As many servers have followed the first. */
static void await_restarts(long count)
{
	time_t deadline = time(NULL) + PATIENCE_MS / 1000;

	while (column("RESTARTS") != count) {
		assert_true(time(NULL) <= deadline);
		pause_a_little();
	}
}

/* By the pid that it has in there. */
static void kill_in_there(const char *which)
{
	char command[128];

	snprintf(command, sizeof command, "kill -KILL %ld", column(which));
	EXPECT_IN_THERE("sh", "-c", command);
}

/* The supervisor is stopped first: or the one killed last might have a successor
 * already.  (A stopped server goes on when its supervisor ends: SIGCONT is for
 * process groups that nobody is left to continue.) */
static void kill_both_in_there(void)
{
	long supervisor = column("SUPERVISOR"), server = column("PID");
	char command[128];

	snprintf(command, sizeof command, "kill -STOP %ld; kill -KILL %ld %ld", supervisor, server,
		 supervisor);
	EXPECT_IN_THERE("sh", "-c", command);
}

static void start_unit(void)
{
	EXPECT_IN_THERE("systemctl", "start", UNIT);
	expect_property("ActiveState", "active");
}

static void stop_unit(void)
{
	time_t begin = time(NULL);

	EXPECT_IN_THERE("systemctl", "stop", UNIT);
	assert_true(time(NULL) - begin < STOP_SECONDS);
	expect_property("ActiveState", "inactive");
	assert_false(is_mounted());
}

/* A process in there that holds the lock until told; then it says whether it did
 * to the end. */
static struct program hold(void)
{
	struct program holder =
		START(IN, "sh", "-c",
		      "exec 9>/locks/a; echo text >&9; echo held; read word; echo again >&9 && "
		      "echo held");

	assert_string_equal(hear_line(&holder), "held");
	return holder;
}

static void let_go(struct program *holder, bool still_held)
{
	struct outcome outcome = finish(holder);

	assert_string_equal(outcome.out, still_held ? "held\n" : "");
	outcome_free(&outcome);
}

/* With ExecStartPre= one in four ended at once. */
static void each_start_is_one(void **state)
{
	for (int i = 0; i < STARTS; i++) {
		start_unit();
		assert_true(is_mounted());
		stop_unit();
	}
}

static void systemd_finds_no_fault_with_it(void **state)
{
	const struct outcome *outcome = expect_code(
		RUN(IN, "systemd-analyze", "verify", "--man=no", UNIT), 0, __FILE__, __LINE__);

	assert_string_equal(outcome->err, "");
}

static void a_killed_server_is_followed_by_another(void **state)
{
	char main_pid[16];

	start_unit();
	struct program holder = hold();
	snprintf(main_pid, sizeof main_pid, "%ld", column("SUPERVISOR"));
	expect_property("MainPID", main_pid);
	kill_in_there("PID");
	await_restarts(1);
	expect_property("ActiveState", "active");
	expect_property("MainPID", main_pid);
	let_go(&holder, true);
	stop_unit();
}

/* ... and that one is the main process from then on. */
static void a_killed_supervisor_is_followed_by_the_server(void **state)
{
	char server[16];

	start_unit();
	struct program holder = hold();
	snprintf(server, sizeof server, "%ld", column("PID"));
	kill_in_there("SUPERVISOR");
	await_restarts(1);
	await_property("MainPID", server);
	expect_property("ActiveState", "active");
	expect_property("Result", "success");
	/* It was stopped after this, for the main process that had failed. */
	EXPECT_IN_THERE("systemctl", "reload", UNIT);
	expect_property("ActiveState", "active");
	expect_property("MainPID", server);
	assert_int_equal(column("RESTARTS"), 2);
	let_go(&holder, true);
	stop_unit();
}

static void reload_upgrades(void **state)
{
	start_unit();
	struct program holder = hold();
	long server = column("PID");
	EXPECT_IN_THERE("systemctl", "reload", UNIT);
	assert_int_not_equal(column("PID"), server);
	assert_int_equal(column("RESTARTS"), 1);
	let_go(&holder, true);
	stop_unit();
}

/* It does not wait for holders, who learn of it. */
static void stop_ends_what_is_held(void **state)
{
	start_unit();
	struct program holder = hold();
	stop_unit();
	let_go(&holder, false);
	/* Who has its place can be stopped as well. */
	start_unit();
	holder = hold();
	kill_in_there("SUPERVISOR");
	await_restarts(1);
	stop_unit();
	let_go(&holder, false);
}

static void both_killed_are_followed_by_a_new_mount(void **state)
{
	start_unit();
	struct program holder = hold();
	kill_both_in_there();
	await_property("NRestarts", "1");
	await_property("ActiveState", "active");
	let_go(&holder, false);
	holder = hold();
	let_go(&holder, true);
	stop_unit();
}

static void restart_mounts_anew(void **state)
{
	start_unit();
	struct program holder = hold();
	EXPECT_IN_THERE("systemctl", "restart", UNIT);
	let_go(&holder, false);
	holder = hold();
	let_go(&holder, true);
	stop_unit();
}

/* Who unmounts by hand means it. */
static void umount_ends_the_service(void **state)
{
	start_unit();
	EXPECT_IN_THERE("umount", "/locks");
	await_property("ActiveState", "inactive");
	expect_property("Result", "success");
	expect_property("NRestarts", "0");
	start_unit();
	kill_in_there("SUPERVISOR");
	await_restarts(1);
	EXPECT_IN_THERE("umount", "/locks");
	await_property("ActiveState", "inactive");
	expect_property("Result", "success");
	expect_property("NRestarts", "0");
	assert_false(is_mounted());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(systemd_finds_no_fault_with_it),
		cmocka_unit_test(each_start_is_one),
		cmocka_unit_test(a_killed_server_is_followed_by_another),
		cmocka_unit_test(a_killed_supervisor_is_followed_by_the_server),
		cmocka_unit_test(reload_upgrades),
		cmocka_unit_test(stop_ends_what_is_held),
		cmocka_unit_test(both_killed_are_followed_by_a_new_mount),
		cmocka_unit_test(restart_mounts_anew),
		cmocka_unit_test(umount_ends_the_service),
	};

	return cmocka_run_group_tests_name("the systemd unit", tests, boot, shut_down);
}
