/*
 * What relock shows of locks that are held, or waited for, through a mount: the same
 * as the mount itself, whoever has asked how; and what a path into a mount means.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "command.h"
#include "peer.h"

/* More than one answer of a mount has room for. */
enum { PATIENCE_MS = 20000, BOUND_SECONDS = 15, CROWD = 600 };

/* A daemon that a case has stopped; 0: none. */
static pid_t stopped;

static const char *job(void)
{
	return test_path("locks/job");
}

static long number_of(const char *folder, const char *key)
{
	char name[64], text[32] = "";

	snprintf(name, sizeof name, "user.relock.%s", key);
	assert_true(getxattr(folder, name, text, sizeof text - 1) > 0);
	return atol(text);
}

static void await_waiters(const char *folder, long count)
{
	for (int i = 0; number_of(folder, "waiters") != count && i < PATIENCE_MS; i++)
		assert_int_equal(poll(NULL, 0, 1), 0);
	assert_int_equal(number_of(folder, "waiters"), count);
}

static int setup(void **state)
{
	if (folder_setup(state) < 0 || chmod(test_folder(), 0755) < 0 ||
	    mkdir(test_path("locks"), 0755) < 0 || mkdir(test_path("second"), 0755) < 0)
		return -1;
	EXPECT(0, "mount", test_path("locks"));
	return 0;
}

static void continue_daemon(void)
{
	if (stopped != 0)
		kill(stopped, SIGCONT);
	stopped = 0;
}

static int teardown(void **state)
{
	continue_daemon();
	umount2(test_path("locks"), MNT_DETACH);
	umount2(test_path("second"), MNT_DETACH);
	return folder_teardown(state);
}

/* A process that opens or locks, says so before and after, and keeps it. */
struct way {
	const char *path;
	int flags;
	int flock; /* 0: none */
};

static int way_main(struct peer *self, void *argument)
{
	const struct way *way = argument;

	close_range(3, (unsigned)self->fd - 1, 0);
	close_range((unsigned)self->fd + 1, ~0U, 0);
	peer_say(self, 0);
	int fd = open(way->path, way->flags | O_CLOEXEC, 0666);
	if (fd >= 0 && way->flock && flock(fd, way->flock) < 0)
		fd = -1;
	peer_say(self, fd < 0 ? errno : 0);
	peer_hear(self);
	return 0;
}

static struct peer start_way(const char *path, int flags, int flock)
{
	struct way way = {path, flags, flock};
	struct peer peer = peer_start(way_main, &way);

	assert_int_equal(peer_hear(&peer), 0);
	return peer;
}

static struct peer start_waiter(const char *path)
{
	return start_way(path, O_WRONLY | O_CREAT, 0);
}

static int hold(const char *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

	assert_true(fd >= 0);
	return fd;
}

/* Without the values of this key. */
static void blank(char *text, const char *key)
{
	for (char *line = text; (line = strstr(line, key)); line++) {
		char *value = line + strlen(key), *end = strchr(value, '\n');

		memmove(value, end, strlen(end) + 1);
	}
}

/* What grows from look to look is left out; and moments that each makes of clock ticks
 * since boot by itself, which may differ in the last digit. */
static char *lasting(const char *text)
{
	char *copy = strdup(text);

	assert_non_null(copy);
	blank(copy, "\nheld-for: ");
	blank(copy, "\nstarted: ");
	return copy;
}

/* `cat` and `relock state`, by name and by path, tell the same; gives that back. */
static const char *expect_same(const char *name)
{
	static char *cat;
	char path[64];

	free(cat);
	snprintf(path, sizeof path, "locks/%s", name);
	cat = lasting(expect_code(RUN("cat", test_path(path)), 0, __FILE__, __LINE__)->out);
	char *by_name = lasting(EXPECT(0, "state", name)->out);
	assert_string_equal(by_name, cat);
	free(by_name);
	char *by_path = lasting(EXPECT(0, "state", test_path(path))->out);
	assert_string_equal(by_path, cat);
	free(by_path);
	return cat;
}

static void expect_waiters(const char *text, const struct peer *peers, size_t count)
{
	char *pids = strdup(""), *longer;

	for (size_t i = 0; i < count; i++) {
		assert_true(asprintf(&longer, "%s%s%d", pids, i ? " " : "", (int)peers[i].pid) > 0);
		free(pids);
		pids = longer;
	}
	assert_string_equal(state_value(text, "waiters"), pids);
	free(pids);
}

static void state_shows_the_waiters_of_a_mount(void **state)
{
	struct peer waiters[3];
	char line[64];
	int fd = hold(job());

	assert_int_equal(write(fd, "nightly", 7), 7);
	for (int i = 0; i < 3; i++) {
		waiters[i] = i == 1 ? start_way(job(), O_RDONLY | O_CREAT, LOCK_EX)
				    : start_waiter(job());
		await_waiters(test_path("locks"), i + 1);
	}
	expect_waiters(expect_same("job"), waiters, 3);
	const char *json = EXPECT(0, "state", "--json", "job")->out;
	snprintf(line, sizeof line, "\"waiters\": [\n    %d,\n    %d,\n    %d\n  ]",
		 (int)waiters[0].pid, (int)waiters[1].pid, (int)waiters[2].pid);
	EXPECT_IN(json, line);
	EXPECT_IN(json, "\"waiter-count\": 3");
	snprintf(line, sizeof line, "job %d %d\\x20%d\\x20%d\n", (int)getpid(), (int)waiters[0].pid,
		 (int)waiters[1].pid, (int)waiters[2].pid);
	EXPECT_IN(EXPECT(0, "list", "-rno", "NAME,PID,WAITERS")->out, line);
	snprintf(line, sizeof line, "%d,\n        %d", (int)waiters[0].pid, (int)waiters[1].pid);
	EXPECT_IN(EXPECT(0, "list", "--json")->out, line);
	for (int i = 0; i < 3; i++)
		peer_kill(&waiters[i]);
	close(fd);
}

/* The heir reads here: it ends when the test closes it, or itself ends. */
static int leash[2];

/* Ends with a child behind that has the lock's descriptor. */
static int leave_main(struct peer *self, void *path)
{
	int fd = open(path, O_WRONLY | O_CREAT, 0666), ends[2];
	char byte;

	if (fd < 0 || pipe(ends) < 0)
		return 1;
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_NAME, "heir");
		close(self->fd);
		close(ends[0]);
		(void)!write(ends[1], "", 1);
		close(ends[1]);
		close(leash[1]);
		_exit(read(leash[0], &byte, 1) != 0);
	}
	close(ends[1]);
	if (read(ends[0], &byte, 1) != 1)
		return 1;
	peer_say(self, child);
	return 0;
}

static void state_shows_who_has_inherited_a_hold(void **state)
{
	char line[96];

	assert_int_equal(pipe2(leash, O_CLOEXEC), 0);
	struct peer opener = peer_start(leave_main, (char *)job());
	pid_t gone = opener.pid;
	pid_t child = peer_hear(&opener);

	assert_int_equal(peer_reap(&opener), 0);
	const char *text = expect_same("job");
	snprintf(line, sizeof line, "pid %d, which has ended; its descriptor is still open", gone);
	assert_string_equal(state_value(text, "process"), line);
	snprintf(line, sizeof line, "%d (heir)", child);
	assert_string_equal(state_value(text, "open-by"), line);
	assert_null(state_value(text, "pid"));
	snprintf(line, sizeof line, "job %d heir\n", child);
	EXPECT_IN(EXPECT(0, "list", "-rno", "NAME,PID,COMMAND")->out, line);
	EXPECT_IN(EXPECT(0, "state", "--json", "job")->out, "\"open-by\"");
	snprintf(line, sizeof line, "heir %d\n", child);
	EXPECT_IN(EXPECT(0, "locks", "-rno", "COMMAND,PID", job())->out, line);
	close(leash[0]);
	close(leash[1]);
}

static void state_shows_all_who_share(void **state)
{
	struct peer holders[3], waiter;

	for (int i = 0; i < 3; i++) {
		holders[i] = start_way(job(), O_RDONLY | O_CREAT, LOCK_SH);
		assert_int_equal(peer_hear(&holders[i]), 0);
	}
	waiter = start_waiter(job());
	await_waiters(test_path("locks"), 1);
	expect_waiters(expect_same("job"), &waiter, 1);
	peer_kill(&waiter);
	for (int i = 0; i < 3; i++)
		peer_kill(&holders[i]);
}

/* The daemon has one thread that waits in the store for all of them. */
static void state_shows_who_waits_in_a_mount_for_others(void **state)
{
	struct program holder = start_holder("job", NULL);
	struct peer waiters[2];

	for (int i = 0; i < 2; i++) {
		waiters[i] = start_waiter(job());
		await_waiters(test_path("locks"), i + 1);
	}
	struct program outside = START_RELOCK("run", "job", "--", "true");
	/* It waits by fcntl(2), behind the daemon. */
	wait_until_blocked(outside.pid, SYS_fcntl);
	const char *text = expect_same("job");
	char pids[64];
	snprintf(pids, sizeof pids, "%d %d %d", (int)waiters[0].pid, (int)waiters[1].pid,
		 (int)outside.pid);
	assert_string_equal(state_value(text, "waiters"), pids);
	EXPECT_IN(EXPECT(0, "state", "--json", "job")->out, "\"waiter-count\": 3");
	for (int i = 0; i < 2; i++)
		peer_kill(&waiters[i]);
	struct outcome outcome = finish(&holder);
	outcome_free(&outcome);
	outcome = finish(&outside);
	assert_int_equal(outcome.code, 0);
	outcome_free(&outcome);
}

static void state_shows_the_waiters_of_all_mounts(void **state)
{
	struct peer waiters[2];
	int fd = hold(job());

	EXPECT(0, "mount", test_path("second"));
	waiters[0] = start_waiter(job());
	waiters[1] = start_waiter(test_path("second/job"));
	await_waiters(test_path("locks"), 1);
	await_waiters(test_path("second"), 1);
	const char *text = EXPECT(0, "state", "job")->out;
	/* In which order they will have it nobody knows: of two queues. */
	char one[64], other[64];
	snprintf(one, sizeof one, "waiters: %d %d\n", (int)waiters[0].pid, (int)waiters[1].pid);
	snprintf(other, sizeof other, "waiters: %d %d\n", (int)waiters[1].pid, (int)waiters[0].pid);
	assert_true(strstr(text, one) || strstr(text, other));
	for (int i = 0; i < 2; i++)
		peer_kill(&waiters[i]);
	close(fd);
}

/* A mount that is seen in two places is one. */
static void state_asks_each_daemon_once(void **state)
{
	struct peer waiter;
	int fd = hold(job());

	assert_int_equal(mount(test_path("locks"), test_path("second"), NULL, MS_BIND, NULL), 0);
	waiter = start_waiter(job());
	await_waiters(test_path("locks"), 1);
	expect_waiters(expect_same("job"), &waiter, 1);
	peer_kill(&waiter);
	close(fd);
}

/* The file has other contents, so there is no record: the mount alone knows. */
static void state_shows_a_holder_without_a_record(void **state)
{
	struct program writer = START("sh", "-c", "echo other >\"$0\"", test_path("store/job"));
	struct outcome outcome = finish(&writer);

	assert_int_equal(outcome.code, 0);
	outcome_free(&outcome);
	int fd = hold(job());
	const char *text = expect_same("job");
	assert_int_equal(atoi(state_value(text, "pid")), getpid());
	close(fd);
}

/* Pids of the mount's namespace mean nothing in another. */
static void state_in_a_container_counts_waiters(void **state)
{
	struct peer waiters[2];
	int fd = hold(job());

	for (int i = 0; i < 2; i++)
		waiters[i] = start_waiter(job());
	await_waiters(test_path("locks"), 2);
	EXPECT_IN(expect_code(RUN("unshare", "--pid", "--fork", "--mount-proc", relock_path(),
				  "state", "job"),
			      0, __FILE__, __LINE__)
			  ->out,
		  "waiters: (2 not visible)\n");
	for (int i = 0; i < 2; i++)
		peer_kill(&waiters[i]);
	close(fd);
}

/* Whom the holder and the daemon hide their system calls from. */
static void state_shows_other_users_the_waiters(void **state)
{
	struct program holder = start_holder("job", NULL);
	struct peer waiter = start_waiter(job());
	char store[128];

	await_waiters(test_path("locks"), 1);
	expect_code(RUN("cp", relock_path(), test_path("relock")), 0, __FILE__, __LINE__);
	snprintf(store, sizeof store, "ofd:%s", test_path("store"));
	expect_waiters(
		expect_code(RUN("setpriv", "--reuid", "12345", "--regid", "12345", "--clear-groups",
				test_path("relock"), "--store", store, "state", "job"),
			    0, __FILE__, __LINE__)
			->out,
		&waiter, 1);
	peer_kill(&waiter);
	struct outcome outcome = finish(&holder);
	outcome_free(&outcome);
}

static void *wait_main(void *path)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);

	return (void *)(intptr_t)fd;
}

/* So many threads that wait, each. */
static int crowd_main(struct peer *self, void *path)
{
	pthread_attr_t attributes;
	pthread_t thread;
	int error = 0;

	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, 65536);
	for (int i = 0; i < CROWD && error == 0; i++)
		error = pthread_create(&thread, &attributes, wait_main, path);
	peer_say(self, error);
	peer_hear(self);
	return 0;
}

static void state_shows_a_long_queue_whole(void **state)
{
	struct json_object *json, *waiters;
	int fd = hold(job());
	struct peer crowd = peer_start(crowd_main, (char *)job());

	assert_int_equal(peer_hear(&crowd), 0);
	await_waiters(test_path("locks"), CROWD);
	json = json_tokener_parse(EXPECT(0, "state", "--json", "job")->out);
	assert_true(json_object_object_get_ex(json, "waiters", &waiters));
	assert_int_equal(json_object_array_length(waiters), CROWD);
	for (size_t i = 0; i < CROWD; i++)
		assert_int_equal(json_object_get_int(json_object_array_get_idx(waiters, i)),
				 crowd.pid);
	json_object_put(json);
	peer_kill(&crowd);
	close(fd);
}

static void locks_names_the_holder_behind_a_mount(void **state)
{
	struct peer waiter;
	char line[96], name[32];
	int fd = hold(job());

	waiter = start_waiter(job());
	await_waiters(test_path("locks"), 1);
	assert_int_equal(prctl(PR_GET_NAME, name), 0);
	snprintf(line, sizeof line, "%s %d OFD %d mount\\x20%s\\x20(pid\\x20%ld)\n", name,
		 (int)getpid(), (int)waiter.pid, test_path("locks"),
		 number_of(test_path("locks"), "pid"));
	assert_string_equal(EXPECT(0, "locks", "--raw", "--noheadings", "-o",
				   "COMMAND,PID,TYPE,WAITERS,VIA", test_path("store/job"))
				    ->out,
			    line);
	snprintf(line, sizeof line, "\"via\": \"mount %s (pid", test_path("locks"));
	EXPECT_IN(EXPECT(0, "locks", "--json", job())->out, line);
	peer_kill(&waiter);
	close(fd);
}

static time_t seconds_of(const struct timespec *before)
{
	struct timespec after;

	clock_gettime(CLOCK_MONOTONIC, &after);
	return after.tv_sec - before->tv_sec;
}

/* They show what the store knows, and say what is missing. */
static void a_silent_mount_hangs_nobody(void **state)
{
	const char *const commands[][2] = {
		{"state", job()}, {"list", "--json"}, {"locks", "--json"}};
	int fd = hold(job());
	char pid[16];

	snprintf(pid, sizeof pid, "%d", (int)getpid());
	/* Else the end of each process with a copy of the descriptor would wait. */
	close(dup(fd));
	stopped = (pid_t)number_of(test_path("locks"), "pid");
	assert_int_equal(kill(stopped, SIGSTOP), 0);
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
		struct timespec before;

		clock_gettime(CLOCK_MONOTONIC, &before);
		const struct outcome *outcome = expect_code(
			RUN(relock_path(), commands[i][0], commands[i][1]), 0, __FILE__, __LINE__);
		assert_true(seconds_of(&before) < BOUND_SECONDS);
		EXPECT_IN(outcome->err, "the mount does not answer");
		if (i < 2)
			EXPECT_IN(outcome->out, pid);
	}
	continue_daemon();
	assert_string_equal(EXPECT(0, "state", "job")->err, "");
	close(fd);
}

static void a_dead_mount_is_not_spoken_of(void **state)
{
	pid_t daemon = (pid_t)number_of(test_path("locks"), "pid");
	struct program holder;

	kill(daemon, SIGKILL);
	for (int i = 0; access(test_path("locks"), F_OK) == 0 && i < PATIENCE_MS; i++)
		assert_int_equal(poll(NULL, 0, 1), 0);
	holder = start_holder("job", NULL);
	assert_string_equal(EXPECT(0, "state", "job")->err, "");
	assert_string_equal(EXPECT(0, "state", job())->err, "");
	struct outcome outcome = finish(&holder);
	outcome_free(&outcome);
}

/* A path into a mount */

static void a_path_into_a_mount_is_the_lock(void **state)
{
	char command[1024];
	int fd = hold(job());

	/* Whatever the default store is. */
	setenv("RELOCK_STORE", "ofd:/nowhere", 1);
	EXPECT_IN(EXPECT(0, "state", job())->out, "lock: job\nstate: held\n");
	assert_int_equal(symlink(job(), test_path("link")), 0);
	EXPECT_IN(EXPECT(0, "state", test_path("link"))->out, "lock: job\nstate: held\n");
	snprintf(command, sizeof command,
		 "cd '%s/locks' && '%s' state ./job && '%s' state .././locks/job", test_folder(),
		 relock_path(), relock_path());
	const struct outcome *outcome =
		expect_code(RUN("sh", "-c", command), 0, __FILE__, __LINE__);
	EXPECT_IN(outcome->out, "lock: job\nstate: held\n");
	EXPECT(1, "run", "-n", job(), "true");
	EXPECT(1, "get", "-t", "0", job());
	EXPECT_IN(EXPECT(0, "unget", "--force", job())->out, "broken");
	assert_int_equal(fsync(fd), -1);
	assert_int_equal(errno, ESTALE);
	close(fd);
	/* A lock that is free has no file there. */
	EXPECT(0, "run", "-m", "text", job(), "--", "cat", job());
	EXPECT_IN(EXPECT(0, "state", job())->out, "state: free\n");
	EXPECT_IN(EXPECT(0, "state", test_path("locks/.history/job"))->out, "last-info: text\n");
	EXPECT_IN(EXPECT(0, "state", test_path("locks/never"))->out, "lock: never\nstate: free\n");
	EXPECT_IN(EXPECT(64, "state", test_path("locks/.hidden"))->err, ".hidden");
}

/* ... and the mount itself is no store of lock files. */
static void a_mount_is_no_store(void **state)
{
	char url[128];

	snprintf(url, sizeof url, "ofd:%s", test_path("locks"));
	EXPECT_IN(EXPECT(66, "list", "--store", url)->err, "no store, but a mount of one");
	EXPECT_IN(EXPECT(66, "run", "--store", url, "job", "true")->err, "relock mount --status");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(function) cmocka_unit_test_setup_teardown(function, setup, teardown)
		CASE(state_shows_the_waiters_of_a_mount),
		CASE(state_shows_who_has_inherited_a_hold),
		CASE(state_shows_all_who_share),
		CASE(state_shows_who_waits_in_a_mount_for_others),
		CASE(state_shows_the_waiters_of_all_mounts),
		CASE(state_asks_each_daemon_once),
		CASE(state_shows_a_holder_without_a_record),
		CASE(state_in_a_container_counts_waiters),
		CASE(state_shows_other_users_the_waiters),
		CASE(state_shows_a_long_queue_whole),
		CASE(locks_names_the_holder_behind_a_mount),
		CASE(a_silent_mount_hangs_nobody),
		CASE(a_dead_mount_is_not_spoken_of),
		CASE(a_path_into_a_mount_is_the_lock),
		CASE(a_mount_is_no_store),
	};

	return cmocka_run_group_tests_name("locks of a mount", tests, NULL, NULL);
}
