/*
 * `relock mount` and what it does with mounts that are there; and the ways a
 * mount is made: by root, by fstab, by an ordinary user.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <mntent.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "peer.h"

enum { PATIENCE_MS = 20000 };

static bool is_mounted(const char *folder)
{
	FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mntent *mount;
	bool found = false;

	assert_non_null(mounts);
	while (!found && (mount = getmntent(mounts)))
		found = strcmp(mount->mnt_dir, folder) == 0;
	endmntent(mounts);
	return found;
}

/* The folder that each case mounts on. */
static const char *folder(void)
{
	static char path[128];

	snprintf(path, sizeof path, "%s/locks", test_folder());
	return path;
}

static int setup(void **state)
{
	return folder_setup(state) < 0 ? -1 : mkdir(folder(), 0755);
}

/* A daemon that a case has stopped; 0: none. */
static pid_t stopped;

static void stop_daemon(pid_t pid)
{
	stopped = pid;
	assert_int_equal(kill(pid, SIGSTOP), 0);
}

static void continue_daemon(void)
{
	if (stopped != 0)
		kill(stopped, SIGCONT);
	stopped = 0;
}

/* Whatever a case has left there.  First of all the daemon must go on: without
 * it whoever has a file of the mount open hangs when it ends. */
static int teardown(void **state)
{
	continue_daemon();
	while (is_mounted(folder()) && umount2(folder(), MNT_DETACH) == 0)
		continue;
	return folder_teardown(state);
}

static pid_t daemon_pid(void)
{
	char text[32] = "";

	assert_true(getxattr(folder(), "user.relock.pid", text, sizeof text - 1) > 0);
	return atoi(text);
}

/* The daemon is no child of the test. */
static void end_daemon(int signal)
{
	pid_t pid = daemon_pid();
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	assert_true(fd >= 0);
	assert_int_equal(kill(pid, signal), 0);
	assert_int_equal(poll(&poll_fd, 1, PATIENCE_MS), 1);
	close(fd);
}

static int hold(const char *name)
{
	char path[192];

	snprintf(path, sizeof path, "%s/%s", folder(), name);
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	assert_true(fd >= 0);
	return fd;
}

static struct json_object *member(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(object, key, &value))
		fail_msg("there is no \"%s\" in %s", key, json_object_to_json_string(object));
	return value;
}

/* The member of `mounts` of this folder; `ret` is to be given back. */
static struct json_object *status_of(const char *path, const struct outcome *outcome,
				     struct json_object **ret)
{
	*ret = json_tokener_parse(outcome->out);
	assert_non_null(*ret);
	struct json_object *mounts = member(*ret, "mounts");
	for (size_t i = 0; i < json_object_array_length(mounts); i++) {
		struct json_object *mount = json_object_array_get_idx(mounts, i);
		if (strcmp(json_object_get_string(member(mount, "dir")), path) == 0)
			return mount;
	}
	fail_msg("%s is not among the mounts: %s", path, outcome->out);
	return NULL;
}

static int64_t number(struct json_object *object, const char *key)
{
	return json_object_get_int64(member(object, key));
}

static int opener_main(struct peer *self, void *path)
{
	peer_say(self, 0);
	return open(path, O_WRONLY | O_CLOEXEC) < 0;
}

static void await_waiters(int64_t count)
{
	time_t deadline = time(NULL) + PATIENCE_MS / 1000;
	char text[32];

	for (;;) {
		ssize_t length = getxattr(folder(), "user.relock.waiters", text, sizeof text - 1);
		assert_true(length > 0);
		text[length] = '\0';
		if (atoll(text) == count)
			return;
		assert_true(time(NULL) < deadline);
	}
}

static void status_counts_locks_waiters_and_requests(void **state)
{
	struct json_object *json;
	char path[192];

	EXPECT(0, "mount", folder());
	struct json_object *mount =
		status_of(folder(), EXPECT(0, "mount", "--status", "--json", folder()), &json);
	assert_string_equal(json_object_get_string(member(mount, "store")), getenv("RELOCK_STORE"));
	assert_string_equal(json_object_get_string(member(mount, "state")), "serving");
	assert_int_equal(number(mount, "locks"), 0);
	assert_int_equal(number(mount, "waiters"), 0);
	assert_int_equal(number(mount, "names"), 0);
	assert_int_equal(number(mount, "pid"), daemon_pid());
	assert_true(number(mount, "uptime") >= 0 && number(mount, "uptime") < 100);
	assert_false(json_object_get_boolean(member(mount, "supervised")));
	assert_null(member(mount, "restarts"));
	assert_null(member(mount, "supervisor"));
	EXPECT_IN(EXPECT(0, "--version")->out, json_object_get_string(member(mount, "version")));
	int64_t requests = number(mount, "requests");
	json_object_put(json);

	int first = hold("first"), second = hold("second");
	snprintf(path, sizeof path, "%s/first", folder());
	struct peer waiter = peer_start(opener_main, path);
	assert_int_equal(peer_hear(&waiter), 0);
	await_waiters(1);
	mount = status_of(folder(), EXPECT(0, "mount", "--status", "-J", folder()), &json);
	assert_int_equal(number(mount, "locks"), 2);
	assert_int_equal(number(mount, "waiters"), 1);
	assert_int_equal(number(mount, "names"), 2);
	assert_true(number(mount, "requests") >= requests + 7);
	json_object_put(json);
	peer_kill(&waiter);
	await_waiters(0);
	close(first);
	close(second);
}

static void status_is_a_table_of_these_or_all(void **state)
{
	char line[512];

	EXPECT(0, "mount", folder());
	snprintf(line, sizeof line, "%s %s serving 0 0 no\n", folder(), getenv("RELOCK_STORE"));
	/* Others may have mounts here: a dead one of theirs is their exit code. */
	EXPECT_IN(
		RELOCK("mount", "--status", "-rn", "-o", "DIR,STORE,STATE,LOCKS,WAITERS,SUPERVISED")
			->out,
		line);
	assert_string_equal(EXPECT(0, "mount", folder(), "-rn", "-o",
				   "DIR,STORE,STATE,LOCKS,WAITERS,SUPERVISED", "--status")
				    ->out,
			    line);
	const char *heading = EXPECT(0, "mount", "--status", folder())->out;
	static const char *const columns[] = {"DIR",     "STORE",      "STATE",   "LOCKS",
					      "WAITERS", "REQUESTS",   "UPTIME",  "PID",
					      "VERSION", "SUPERVISED", "RESTARTS"};
	for (size_t i = 0; i < sizeof columns / sizeof columns[0]; i++)
		EXPECT_IN(heading, columns[i]);
	snprintf(line, sizeof line, "%s/", folder());
	EXPECT_IN(EXPECT(0, "mount", "--status", line)->out, "serving");
	EXPECT_IN(EXPECT(0, "mount", "--status", "-J", "-o", "DIR,LOCKS", folder())->out,
		  "\"locks\": 0");
	EXPECT_IN(EXPECT(64, "mount", "--status", "-o", "NONSENSE", folder())->err, "NONSENSE");
}

static void status_of_what_is_no_mount_is_66(void **state)
{
	EXPECT_IN(EXPECT(66, "mount", "--status", folder())->err, "nothing is mounted there");
	EXPECT_IN(EXPECT(66, "mount", "--status", "/proc")->err, "is proc, not relockfs");
	EXPECT_IN(EXPECT(66, "mount", "--status", "/no/such/folder")->err, "/no/such/folder");
}

static void status_of_a_dead_mount_is_69(void **state)
{
	struct json_object *json;

	EXPECT(0, "mount", folder());
	end_daemon(SIGKILL);
	const struct outcome *outcome = EXPECT(69, "mount", "--status", "-J", folder());
	struct json_object *mount = status_of(folder(), outcome, &json);
	assert_string_equal(json_object_get_string(member(mount, "state")), "dead");
	json_object_put(json);
	EXPECT_IN(outcome->err, "relock mount --clear");
}

/* A daemon that is stopped answers nobody; who asks it says so after 5 s, and
 * does not keep a pipe open behind it. */
static void status_of_a_silent_daemon_is_bounded(void **state)
{
	struct timespec before, after;

	EXPECT(0, "mount", folder());
	stop_daemon(daemon_pid());
	clock_gettime(CLOCK_MONOTONIC, &before);
	const struct outcome *outcome = RELOCK("mount", "--status", "-rn", "-o", "STATE", folder());
	clock_gettime(CLOCK_MONOTONIC, &after);
	continue_daemon();
	assert_int_equal(outcome->code, 69);
	assert_string_equal(outcome->out, "silent\n");
	EXPECT_IN(outcome->err, "has not answered for 5 s");
	EXPECT_IN(outcome->err, "kill -CONT");
	assert_true(after.tv_sec - before.tv_sec >= 4 && after.tv_sec - before.tv_sec <= 15);
	EXPECT(0, "mount", "--status", folder());
}

static void clear_removes_a_dead_mount(void **state)
{
	EXPECT(0, "mount", folder());
	int fd = hold("backup");
	end_daemon(SIGKILL);
	assert_true(is_mounted(folder()));
	EXPECT_IN(EXPECT(69, "mount", folder())->err, "relock mount --clear");
	/* Although a file of it is open. */
	EXPECT(0, "mount", "--clear", folder());
	assert_false(is_mounted(folder()));
	EXPECT(0, "mount", folder());
	close(fd);
	fd = hold("backup");
	close(fd);
}

static void clear_refuses_what_is_alive_or_not_ours(void **state)
{
	EXPECT_IN(EXPECT(66, "mount", "--clear", folder())->err, "nothing is mounted there");
	EXPECT_IN(EXPECT(66, "mount", "--clear", "/proc")->err, "is proc, not relockfs");
	EXPECT(0, "mount", folder());
	int fd = hold("backup");
	const struct outcome *outcome = EXPECT(1, "mount", "--clear", folder());
	EXPECT_IN(outcome->err, "the mount is alive");
	EXPECT_IN(outcome->err, "locks held: 1");
	EXPECT_IN(outcome->err, "umount");
	assert_true(is_mounted(folder()));
	assert_int_equal(fsync(fd), 0);
	EXPECT_IN(EXPECT(69, "mount", folder())->err, "mounted here already");
	close(fd);
}

/* It may answer again, with its locks. */
static void clear_refuses_what_is_silent(void **state)
{
	EXPECT(0, "mount", folder());
	int fd = hold("backup");
	/* The first close sends a FLUSH, and learns that no more are wanted: else
	 * the end of each process with a copy of the descriptor would wait. */
	close(dup(fd));
	stop_daemon(daemon_pid());
	const struct outcome *outcome = RELOCK("mount", "--clear", folder());
	continue_daemon();
	assert_int_equal(outcome->code, 69);
	EXPECT_IN(outcome->err, "has not answered");
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

static void upgrade_needs_a_supervisor(void **state)
{
	EXPECT_IN(EXPECT(66, "mount", "--upgrade", folder())->err, "nothing is mounted there");
	EXPECT(0, "mount", folder());
	EXPECT_IN(EXPECT(69, "mount", "--upgrade", folder())->err, "not supervised");
	end_daemon(SIGKILL);
	EXPECT_IN(EXPECT(69, "mount", "--upgrade", folder())->err, "dead mount");
}

static void actions_check_their_words(void **state)
{
	EXPECT_IN(EXPECT(64, "mount", "--clear")->err, "the folder is missing");
	EXPECT_IN(EXPECT(64, "mount", "--upgrade", "a", "b")->err, "only one folder");
	EXPECT_IN(EXPECT(64, "mount", "--clear", "--status", "a")->err, "exclude each other");
	EXPECT_IN(EXPECT(64, "mount", "--status", "--json", "--raw")->err, "exclude each other");
	EXPECT_IN(EXPECT(64, "mount", "--clear", "--json", "a")->err, "only --status");
	EXPECT(64, "mount", "--status", "--frobnicate");
}

static void bad_mount_options_are_64(void **state)
{
	EXPECT_IN(EXPECT(64, "mount", "-o", "mode=9", folder())->err, "mode=9");
	EXPECT_IN(EXPECT(64, "mount", "-o", "uid=nobody-at-all", folder())->err, "no such user");
	assert_false(is_mounted(folder()));
}

/* SIGTERM ends a mount in the background, too. */
static void sigterm_unmounts_when_nothing_is_held(void **state)
{
	EXPECT(0, "mount", folder());
	end_daemon(SIGTERM);
	assert_false(is_mounted(folder()));
}

static void sigterm_leaves_what_is_held(void **state)
{
	EXPECT(0, "mount", folder());
	int fd = hold("backup");
	assert_int_equal(kill(daemon_pid(), SIGTERM), 0);
	/* It serves in the order of events: by this answer it has had the signal. */
	assert_int_equal(daemon_pid(), daemon_pid());
	assert_int_equal(fsync(fd), 0);
	EXPECT_IN(EXPECT(0, "mount", "--status", folder())->out, "serving");
	close(fd);
	end_daemon(SIGTERM);
	assert_false(is_mounted(folder()));
}

/* A shell in a mount namespace of its own, with $relock, $relockfs, $locks and
 * $store; a failure in it is its exit code, and what it printed is shown. */
static void expect_in_namespace(const char *script)
{
	char text[4096];

	if (geteuid() != 0) {
		print_message("only root can mount\n");
		skip();
	}
	snprintf(text, sizeof text,
		 "set -eu; cd '%s'; relock='%s' relockfs='%s' locks='%s' store=$RELOCK_STORE\n%s",
		 test_folder(), relock_path(), RELOCKFS, folder(), script);
	expect_code(RUN("unshare", "--mount", "sh", "-c", text), 0, __FILE__, __LINE__);
}

/* mount(8) looks for relockfs in places of its own. */
#define INSTALL "mount -t tmpfs none /usr/local/bin; ln -s \"$relockfs\" /usr/local/bin/relockfs\n"

static void mount_command_mounts(void **state)
{
	expect_in_namespace(
		INSTALL "mount -t fuse.relockfs \"$store\" \"$locks\" -o mode=0660,uid=nobody\n"
			"test \"$(stat -c %A:%U \"$locks\")\" = drwxrwx---:nobody\n"
			"(exec 9>\"$locks/backup\"; grep -q '^state: held$' \"$locks/backup\")\n"
			"umount \"$locks\"\n"
			"code=0; mount -t fuse.relockfs none \"$locks\" -o mode=x || code=$?\n"
			"test $code = 64\n");
}

static void fstab_lines_mount(void **state)
{
	expect_in_namespace(
		INSTALL "mkdir other\n"
			"printf '%s\\n' \"$store $locks fuse.relockfs mode=0640,gid=daemon 0 0\" "
			"\"relockfs#$store $PWD/other fuse uid=nobody 0 0\" >fstab\n"
			"mount -T fstab \"$locks\"\n"
			"mount -T fstab \"$PWD/other\"\n"
			"test \"$(stat -c %A:%G \"$locks\")\" = drwxr-x---:daemon\n"
			"test \"$(stat -c %A:%U other)\" = drwxrwxrwx:nobody\n"
			"exec 9>\"$locks/backup\"\n"
			"grep -q '^state: held$' other/backup\n"
			"exec 9>&-\n"
			"umount \"$locks\" other\n"
			"rmdir other\n");
}

/* Also where the folder is bind-mounted into another place, as into a
 * container. */
static void bind_mounts_are_mounts(void **state)
{
	expect_in_namespace("\"$relock\" mount \"$locks\"\n"
			    "mkdir inside; mount --bind \"$locks\" inside\n"
			    "exec 9>inside/backup\n"
			    "grep -q '^state: held$' \"$locks/backup\"\n"
			    "\"$relock\" mount --status -rn -o LOCKS inside | grep -qx 1\n"
			    "exec 9>&-\n"
			    "umount inside \"$locks\"; rmdir inside\n");
}

/* A user with fusermount3, which needs to know their name, and a folder of their
 * own. */
#define AS_USER                                                                                    \
	"mount -t tmpfs none /mnt; mknod -m 666 /mnt/fuse c 10 229\n"                              \
	"mount --bind /mnt/fuse /dev/fuse\n"                                                       \
	"mkdir /mnt/locks /mnt/store; chown 65534:65534 /mnt/locks /mnt/store\n"                   \
	"mkdir /mnt/bin\n"                                                                         \
	"export relock relockfs RELOCK_STORE=ofd:/mnt/store HOME=/\n"                              \
	"as_user() { setpriv --reuid 65534 --regid 65534 --clear-groups sh -euc \"$1\"; }\n"

static void ordinary_users_mount_for_themselves(void **state)
{
	expect_in_namespace(AS_USER
			    "as_user '\"$relock\" mount /mnt/locks; exec 9>/mnt/locks/backup\n"
			    "  grep -q \"^state: held$\" /mnt/locks/backup\n"
			    "  \"$relock\" mount --status -rn -o LOCKS /mnt/locks | grep -qx 1'\n"
			    /* Not for root even: that is FUSE's rule without allow_other. */
			    "! cat /mnt/locks/backup 2>/dev/null\n"
			    "as_user 'fusermount3 -u /mnt/locks'\n"
			    "! grep -q /mnt/locks /proc/self/mounts\n");
}

static void ordinary_users_in_the_foreground_and_sigterm(void **state)
{
	expect_in_namespace(
		AS_USER "as_user '\"$relockfs\" -f $RELOCK_STORE /mnt/locks & daemon=$!\n"
			"  until grep -q /mnt/locks /proc/self/mounts; do kill -0 $daemon; done\n"
			"  exec 9>/mnt/locks/backup; exec 9>&-\n"
			"  kill -TERM $daemon; wait $daemon'\n"
			"! grep -q /mnt/locks /proc/self/mounts\n");
}

static void ordinary_users_clear_their_dead_mounts(void **state)
{
	expect_in_namespace(
		AS_USER
		"as_user '\"$relockfs\" -f $RELOCK_STORE /mnt/locks & daemon=$!\n"
		"  until grep -q /mnt/locks /proc/self/mounts; do kill -0 $daemon; done\n"
		"  code=0; \"$relock\" mount --clear /mnt/locks || code=$?; test $code = 1\n"
		"  kill -KILL $daemon; wait $daemon || :\n"
		"  code=0; \"$relock\" mount --status /mnt/locks || code=$?; test $code = 69\n"
		"  \"$relock\" mount --clear /mnt/locks'\n"
		"! grep -q /mnt/locks /proc/self/mounts\n");
}

/* What keeps a user from it is said. */
static void ordinary_users_are_told_what_they_lack(void **state)
{
	expect_in_namespace(
		AS_USER
		"as_user 'code=0; \"$relock\" mount -o allow_other /mnt/locks 2>/mnt/store/said || "
		"code=$?\n"
		"  test $code = 69; grep -q user_allow_other /mnt/store/said\n"
		"  code=0; \"$relock\" mount /mnt/bin 2>/mnt/store/said || code=$?\n"
		"  test $code = 69; grep -q \"a folder of their own\" /mnt/store/said'\n");
}

/* With user_allow_other, their mount is for others, as far as mode= says. */
static void ordinary_users_may_let_others_in(void **state)
{
	expect_in_namespace(
		AS_USER
		"echo user_allow_other >/mnt/fuse.conf; mount --bind /mnt/fuse.conf "
		"/etc/fuse.conf\n"
		"as_user '\"$relock\" mount -o allow_other,mode=0644 /mnt/locks'\n"
		"exec 9>/mnt/locks/by-root; exec 9>&-\n"
		"setpriv --reuid 54321 --regid 54321 --clear-groups sh -euc '\n"
		"  ls /mnt/locks; cat /mnt/locks/.history/by-root >/dev/null\n"
		"  ! (exec 9>/mnt/locks/backup) 2>/dev/null'\n"
		"as_user 'exec 9>/mnt/locks/backup; exec 9>&-; fusermount3 -u /mnt/locks'\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
		CASE(status_counts_locks_waiters_and_requests),
		CASE(status_is_a_table_of_these_or_all),
		CASE(status_of_what_is_no_mount_is_66),
		CASE(status_of_a_dead_mount_is_69),
		CASE(status_of_a_silent_daemon_is_bounded),
		CASE(clear_removes_a_dead_mount),
		CASE(clear_refuses_what_is_alive_or_not_ours),
		CASE(clear_refuses_what_is_silent),
		CASE(upgrade_needs_a_supervisor),
		CASE(actions_check_their_words),
		CASE(bad_mount_options_are_64),
		CASE(sigterm_unmounts_when_nothing_is_held),
		CASE(sigterm_leaves_what_is_held),
		CASE(mount_command_mounts),
		CASE(fstab_lines_mount),
		CASE(bind_mounts_are_mounts),
		CASE(ordinary_users_mount_for_themselves),
		CASE(ordinary_users_in_the_foreground_and_sigterm),
		CASE(ordinary_users_clear_their_dead_mounts),
		CASE(ordinary_users_are_told_what_they_lack),
		CASE(ordinary_users_may_let_others_in),
	};

	return cmocka_run_group_tests_name("relock mount", tests, NULL, NULL);
}
