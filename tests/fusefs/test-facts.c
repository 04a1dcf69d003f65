/*
 * The facts of the kernel that decide the design, each of which has cost
 * somebody a hang; and the life of a mount.
 */
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TO_HOLD = O_WRONLY | O_CREAT, CREATORS = 6, ROUNDS = 300 };

/* Opens, writes and closes a lock again and again, and looks whether it was
 * alone: the counter in the shared file is its own while it holds. */
static int creator_main(struct peer *self, void *path)
{
	for (int round = 0; round < ROUNDS; round++) {
		int fd = open(path, TO_HOLD | O_CLOEXEC, 0666);
		if (fd < 0)
			return errno;
		if (write(fd, "x", 1) != 1)
			return errno;
		close(fd);
	}
	return 0;
}

/* Each CREATE that comes too late is answered ESTALE once, which must never
 * reach the program. */
static void fact01_creators_of_one_name_never_see_an_error(void **state)
{
	const struct fixture *fixture = *state;
	struct peer creators[CREATORS];
	char path[PATH_MAX];

	strcpy(path, lock_path(fixture, "backup"));
	for (size_t i = 0; i < CREATORS; i++)
		creators[i] = peer_start(creator_main, path);
	for (size_t i = 0; i < CREATORS; i++) {
		int status = peer_reap(&creators[i]);
		if (status != 0)
			fail_msg("a creator failed: %s", strerror(WEXITSTATUS(status)));
	}
	assert_null(read_lock(fixture, "backup"));
}

static void fact01_ls_and_creates_go_on_while_creators_wait(void **state)
{
	const struct fixture *fixture = *state;
	struct opener waiters[CREATORS];
	struct stat status;

	int fd = open_lock(fixture, "backup", TO_HOLD);
	for (size_t i = 0; i < CREATORS; i++)
		opener_start(&waiters[i], fixture, "backup", TO_HOLD);
	await_waiters(fixture, "backup", CREATORS);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(stat(lock_path(fixture, "backup"), &status), 0);
		assert_int_equal(try_open(fixture, "another", TO_HOLD), 0);
	}
	assert_int_equal(count_names(fixture), 1);
	close(fd);
	/* In what order they came is not known. */
	for (size_t left = CREATORS; left > 0; left--) {
		struct pollfd fds[CREATORS];
		for (size_t i = 0; i < CREATORS; i++)
			fds[i] = (struct pollfd){.fd = waiters[i].peer.fd, .events = POLLIN};
		assert_true(poll(fds, CREATORS, 20000) > 0);
		for (size_t i = 0; i < CREATORS; i++)
			if (fds[i].revents) {
				assert_int_equal(peer_hear(&waiters[i].peer), 0);
				opener_close(&waiters[i]);
				break;
			}
	}
}

static void fact02_a_name_that_is_gone_is_gone_at_once(void **state)
{
	const struct fixture *fixture = *state;

	for (int round = 0; round < 200; round++) {
		int fd = open_lock(fixture, "backup", TO_HOLD);
		assert_int_equal(access(lock_path(fixture, "backup"), F_OK), 0);
		assert_int_equal(count_names(fixture), 1);
		close(fd);
		assert_int_equal(access(lock_path(fixture, "backup"), F_OK), -1);
		assert_int_equal(count_names(fixture), 0);
	}
}

static size_t count_descriptors(pid_t pid)
{
	char path[64];
	size_t count = 0;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	DIR *dir = opendir(path);
	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

/* A name that the daemon has not forgotten keeps its lock file open, and it is
 * forgotten when the kernel has forgotten it.  The last thousand may be used
 * again soon, and some are on their way. */
static void fact02_names_are_forgotten(void **state)
{
	const struct fixture *fixture = *state;
	enum { NAMES = 6000, KEPT = 3000 };
	char name[32];

	size_t before = count_descriptors(fixture->daemon.pid);
	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof name, "name-%d", i);
		assert_int_equal(try_open(fixture, name, TO_HOLD), 0);
	}
	/* No event tells of it; on a busy machine the daemon lags behind. */
	time_t deadline = time(NULL) + 20;
	while (count_descriptors(fixture->daemon.pid) >= before + KEPT) {
		assert_true(time(NULL) < deadline);
		sched_yield();
	}
}

static void fact03_nonblock_right_after_close_is_never_refused(void **state)
{
	const struct fixture *fixture = *state;

	for (int round = 0; round < 5000; round++) {
		int fd = open_lock(fixture, "backup", TO_HOLD | O_NONBLOCK);
		close(fd);
	}
}

static void fact04_only_the_last_close_releases(void **state)
{
	const struct fixture *fixture = *state;

	/* Each of these closes a duplicate before the write. */
	assert_int_equal(shell(fixture, "for i in 1 2 3 4 5 6 7 8 9; do\n"
					"  bash -c 'exec 9>$LOCKS/backup; echo x >&9; "
					"(exec 9>&-); test -e $LOCKS/backup' || exit 1\n"
					"done"),
			 0);
	assert_int_equal(shell(fixture, "bash -c 'echo x > $LOCKS/backup'"), 0);
}

static void fact05_a_signal_ends_the_wait(void **state)
{
	const struct fixture *fixture = *state;
	struct opener waiter;

	int fd = open_lock(fixture, "backup", TO_HOLD);
	struct sigaction action = {.sa_handler = SIG_IGN}, before;
	sigaction(SIGUSR1, &action, &before);
	opener_start(&waiter, fixture, "backup", TO_HOLD);
	await_waiters(fixture, "backup", 1);
	/* Ignored: it waits on. */
	kill(waiter.peer.pid, SIGUSR1);
	sigaction(SIGUSR1, &before, NULL);
	assert_true(peer_is_silent(&waiter.peer));
	peer_kill(&waiter.peer);
	await_waiters(fixture, "backup", 0);
	close(fd);
}

static void on_signal(int signal)
{
}

static int interrupted_main(struct peer *self, void *path)
{
	const struct sigaction action = {.sa_handler = on_signal};

	sigaction(SIGUSR1, &action, NULL);
	peer_say(self, open(path, TO_HOLD | O_CLOEXEC, 0666) < 0 ? errno : 0);
	return 0;
}

static void fact05_a_handler_interrupts_the_wait(void **state)
{
	const struct fixture *fixture = *state;
	char path[PATH_MAX];

	strcpy(path, lock_path(fixture, "backup"));
	int fd = open_lock(fixture, "backup", TO_HOLD);
	struct peer waiter = peer_start(interrupted_main, path);
	await_waiters(fixture, "backup", 1);
	kill(waiter.pid, SIGUSR1);
	assert_int_equal(peer_hear(&waiter), EINTR);
	assert_int_equal(peer_reap(&waiter), 0);
	await_waiters(fixture, "backup", 0);
	close(fd);
}

static void fact05_sigkill_of_waiters_leaves_the_others_their_turn(void **state)
{
	const struct fixture *fixture = *state;
	struct opener waiters[9];

	int fd = open_lock(fixture, "backup", TO_HOLD);
	for (size_t i = 0; i < 9; i++) {
		opener_start(&waiters[i], fixture, "backup", TO_HOLD);
		await_waiters(fixture, "backup", i + 1);
	}
	for (size_t i = 0; i < 9; i += 2)
		peer_kill(&waiters[i].peer);
	await_waiters(fixture, "backup", 4);
	close(fd);
	for (size_t i = 1; i < 9; i += 2) {
		assert_int_equal(peer_hear(&waiters[i].peer), 0);
		opener_close(&waiters[i]);
	}
}

static void fact05_a_waiting_flock_is_interrupted(void **state)
{
	const struct fixture *fixture = *state;
	struct opener waiter;

	int fd = open_lock(fixture, "backup", TO_HOLD);
	opener_start(&waiter, fixture, "backup", O_RDONLY);
	assert_int_equal(peer_hear(&waiter.peer), 0);
	peer_say(&waiter.peer, FLOCK_BASE + LOCK_EX);
	await_waiters(fixture, "backup", 1);
	peer_kill(&waiter.peer);
	await_waiters(fixture, "backup", 0);
	close(fd);
}

/* 100 waiters are served in the order they came. */
static void fact05_first_come_first_served(void **state)
{
	const struct fixture *fixture = *state;
	enum { WAITERS = 100 };
	static struct opener waiters[WAITERS];

	int fd = open_lock(fixture, "backup", TO_HOLD);
	for (size_t i = 0; i < WAITERS; i++) {
		opener_start(&waiters[i], fixture, "backup", TO_HOLD);
		await_waiters(fixture, "backup", i + 1);
	}
	close(fd);
	for (size_t i = 0; i < WAITERS; i++) {
		assert_int_equal(peer_hear(&waiters[i].peer), 0);
		if (i + 1 < WAITERS)
			assert_true(peer_is_silent(&waiters[i + 1].peer));
		opener_close(&waiters[i]);
	}
}

static void *open_in_thread(void *path)
{
	int *fd = malloc(sizeof *fd);

	*fd = open(path, TO_HOLD | O_CLOEXEC, 0666);
	return fd;
}

static void fact06_the_holder_is_a_process(void **state)
{
	const struct fixture *fixture = *state;
	char path[PATH_MAX], pid[16];
	pthread_t thread;
	int *fd;

	strcpy(path, lock_path(fixture, "backup"));
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	assert_int_equal(pthread_create(&thread, NULL, open_in_thread, path), 0);
	assert_int_equal(pthread_join(thread, (void **)&fd), 0);
	assert_true(*fd >= 0);
	char *text = read_lock(fixture, "backup");
	assert_value(text, "pid", pid);
	free(text);
	close(*fd);
	free(fd);
}

/* unshare makes a pid namespace, whose processes the daemon sees by other
 * numbers: the holder's is the daemon's own number for it. */
static void fact06_a_holder_in_another_pid_namespace(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(shell(fixture, "unshare -pf sh -c 'exec 9>$LOCKS/backup; "
					"test $$ = 1 && grep -q ^pid: $LOCKS/backup && "
					"! grep -qx \"pid: 1\" $LOCKS/backup'"),
			 0);
}

static void fact07_truncation_happens_at_the_grant(void **state)
{
	const struct fixture *fixture = *state;
	struct opener waiter;

	int fd = open_lock(fixture, "backup", TO_HOLD | O_TRUNC);
	assert_int_equal(write(fd, "mine", 4), 4);
	opener_start(&waiter, fixture, "backup", TO_HOLD | O_TRUNC);
	await_waiters(fixture, "backup", 1);
	assert_int_equal(try_open(fixture, "backup", TO_HOLD | O_TRUNC | O_NONBLOCK), EAGAIN);
	char *text = read_lock(fixture, "backup");
	assert_value(text, "info", "mine");
	free(text);
	close(fd);
	assert_int_equal(peer_hear(&waiter.peer), 0);
	text = read_lock(fixture, "backup");
	assert_null(value_of(text, "info"));
	free(text);
	opener_close(&waiter);
}

static void fact08_close_ends_a_flock(void **state)
{
	const struct fixture *fixture = *state;

	int fd = open_lock(fixture, "backup", O_RDONLY | O_CREAT);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	int duplicate = dup(fd);
	close(fd);
	assert_int_equal(try_open(fixture, "backup", TO_HOLD | O_NONBLOCK), EAGAIN);
	close(duplicate);
	assert_int_equal(try_open(fixture, "backup", TO_HOLD | O_NONBLOCK), 0);
}

static void fact10_another_user_may_wait_for_it(void **state)
{
	const struct fixture *fixture = *state;

	int fd = open_lock(fixture, "backup", TO_HOLD);
	assert_int_equal(seteuid(12345), 0);
	int error = try_open(fixture, "backup", TO_HOLD | O_NONBLOCK);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(error, EAGAIN);
	close(fd);
}

static void store_a_lock_held_outside_is_shown_and_waited_for(void **state)
{
	const struct fixture *fixture = *state;
	struct relock_request request = RELOCK_REQUEST_INIT;
	struct opener waiters[3];
	relock_lock *lock;
	char pid[16];

	snprintf(pid, sizeof pid, "%d", (int)getpid());
	request.info = "outside";
	request.info_length = 7;
	assert_int_equal(relock_lock_open(&lock, fixture->store, "backup"), 0);
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_int_equal(count_names(fixture), 1);
	char *text = read_lock(fixture, "backup");
	assert_value(text, "pid", pid);
	assert_value(text, "info", "outside");
	assert_null(value_of(text, "via"));
	free(text);
	assert_int_equal(try_open(fixture, "backup", TO_HOLD | O_NONBLOCK), EAGAIN);
	assert_int_equal(try_open(fixture, "backup", TO_HOLD | O_EXCL), EEXIST);
	for (size_t i = 0; i < 3; i++) {
		opener_start(&waiters[i], fixture, "backup", TO_HOLD);
		await_waiters(fixture, "backup", i + 1);
	}
	/* The first of them, for whom the daemon waits, goes away. */
	peer_kill(&waiters[0].peer);
	await_waiters(fixture, "backup", 2);
	assert_int_equal(relock_release(lock), 0);
	for (size_t i = 1; i < 3; i++) {
		assert_int_equal(peer_hear(&waiters[i].peer), 0);
		opener_close(&waiters[i]);
	}
	assert_int_equal(relock_acquire(lock, &request), 0);
	relock_lock_close(lock);
}

static void store_all_waiters_for_one_outside_leave(void **state)
{
	const struct fixture *fixture = *state;
	struct relock_request request = RELOCK_REQUEST_INIT;
	struct opener waiter;
	relock_lock *lock;

	assert_int_equal(relock_lock_open(&lock, fixture->store, "backup"), 0);
	assert_int_equal(relock_acquire(lock, &request), 0);
	opener_start(&waiter, fixture, "backup", TO_HOLD);
	await_waiters(fixture, "backup", 1);
	peer_kill(&waiter.peer);
	await_waiters(fixture, "backup", 0);
	assert_int_equal(relock_release(lock), 0);
	/* Nobody of the mount took it. */
	request.timeout = 0;
	assert_int_equal(relock_acquire(lock, &request), 0);
	relock_lock_close(lock);
}

static int store_holder_main(struct peer *self, void *url)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_store *store;
	relock_lock *lock;

	if (relock_store_open(&store, url) < 0 || relock_lock_open(&lock, store, "backup") < 0)
		return 1;
	peer_say(self, 0);
	(void)peer_hear(self);
	peer_say(self, relock_acquire(lock, &request));
	(void)peer_hear(self);
	relock_lock_close(lock);
	relock_store_close(store);
	return 0;
}

/* Who waits in the store stands behind who waits in the mount. */
static void store_waiters_outside_are_in_the_text(void **state)
{
	struct fixture *fixture = *state;
	struct peer outside;
	struct opener waiter;
	char expected[32];

	outside = peer_start(store_holder_main, fixture->store_url);
	assert_int_equal(peer_hear(&outside), 0);
	int fd = open_lock(fixture, "backup", TO_HOLD);
	peer_say(&outside, 0);
	wait_until_blocked(outside.pid, SYS_fcntl);
	char *text = read_lock(fixture, "backup");
	snprintf(expected, sizeof expected, "%d", (int)outside.pid);
	assert_value(text, "waiters", expected);
	free(text);
	opener_start(&waiter, fixture, "backup", TO_HOLD);
	await_waiters(fixture, "backup", 2);
	text = read_lock(fixture, "backup");
	snprintf(expected, sizeof expected, "%d %d", (int)waiter.peer.pid, (int)outside.pid);
	assert_value(text, "waiters", expected);
	free(text);
	close(fd);
	assert_int_equal(peer_hear(&waiter.peer), 0);
	opener_close(&waiter);
	assert_int_equal(peer_hear(&outside), 0);
	peer_say(&outside, 0);
	assert_int_equal(peer_reap(&outside), 0);
}

static int pass_around_main(struct peer *self, void *path)
{
	for (;;) {
		int fd = open(path, TO_HOLD | O_CLOEXEC, 0666);
		if (fd < 0)
			return errno;
		close(fd);
	}
}

/* Three programs hand the lock around in the mount without end; one that waits
 * in the store has its turn all the same. */
static void store_waiters_have_their_turn(void **state)
{
	struct fixture *fixture = *state;
	struct peer around[3], outside;
	char path[PATH_MAX];

	strcpy(path, lock_path(fixture, "backup"));
	outside = peer_start(store_holder_main, fixture->store_url);
	assert_int_equal(peer_hear(&outside), 0);
	for (size_t i = 0; i < 3; i++)
		around[i] = peer_start(pass_around_main, path);
	for (int round = 0; round < 1; round++) {
		peer_say(&outside, 0);
		assert_int_equal(peer_hear(&outside), 0);
	}
	peer_say(&outside, 0);
	assert_int_equal(peer_reap(&outside), 0);
	for (size_t i = 0; i < 3; i++)
		peer_kill(&around[i]);
}

static void store_rm_breaks_a_hold_outside(void **state)
{
	const struct fixture *fixture = *state;
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock;

	assert_int_equal(relock_lock_open(&lock, fixture->store, "backup"), 0);
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_int_equal(unlink(lock_path(fixture, "backup")), 0);
	assert_int_equal(relock_release(lock), -ESTALE);
	relock_lock_close(lock);
}

static void store_two_mounts_exclude_each_other(void **state)
{
	struct fixture *fixture = *state;
	struct opener waiter;
	char pid[16], path[PATH_MAX];

	fixture_start_second(fixture);
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	snprintf(path, sizeof path, "%s/backup", fixture->second.mountpoint);
	int fd = open(path, TO_HOLD | O_CLOEXEC, 0666);
	assert_true(fd >= 0);
	assert_int_equal(try_open(fixture, "backup", TO_HOLD | O_NONBLOCK), EAGAIN);
	char *text = read_lock(fixture, "backup");
	assert_value(text, "pid", pid);
	free(text);
	opener_start(&waiter, fixture, "backup", TO_HOLD);
	await_waiters(fixture, "backup", 1);
	close(fd);
	assert_int_equal(peer_hear(&waiter.peer), 0);
	assert_int_equal(open(path, TO_HOLD | O_NONBLOCK | O_CLOEXEC, 0666), -1);
	assert_int_equal(errno, EAGAIN);
	opener_close(&waiter);
}

static void life_sigterm_says_what_is_held(void **state)
{
	struct fixture *fixture = *state;
	char expected[64], *errors = NULL;

	int fd = open_lock(fixture, "backup", TO_HOLD);
	kill(fixture->daemon.pid, SIGTERM);
	snprintf(expected, sizeof expected, "backup is held by pid %d", (int)getpid());
	/* It answers requests in one thread: what was said before this answer
	 * will not come later. */
	do {
		free(errors);
		assert_int_equal(count_names(fixture), 1);
		errors = daemon_errors(&fixture->daemon);
	} while (!strstr(errors, "waiting"));
	assert_non_null(strstr(errors, expected));
	assert_non_null(strstr(errors, "stays mounted"));
	free(errors);
	/* Told twice, it goes. */
	assert_int_equal(daemon_end(&fixture->daemon, SIGTERM), 0);
	close(fd);
	struct relock_status *status;
	assert_int_equal(relock_status(fixture->store, "backup", &status), 0);
	assert_int_equal(status->state, RELOCK_FREE);
	relock_status_free(status);
}

static void life_waiters_are_told_of_the_end(void **state)
{
	struct fixture *fixture = *state;
	struct opener waiter;
	char *errors = NULL;

	int fd = open_lock(fixture, "backup", TO_HOLD);
	opener_start(&waiter, fixture, "backup", TO_HOLD);
	await_waiters(fixture, "backup", 1);
	kill(fixture->daemon.pid, SIGTERM);
	do {
		free(errors);
		assert_int_equal(count_names(fixture), 1);
		errors = daemon_errors(&fixture->daemon);
	} while (!strstr(errors, "1 waiting"));
	free(errors);
	assert_int_equal(daemon_end(&fixture->daemon, SIGTERM), 0);
	assert_int_equal(peer_hear(&waiter.peer), ENODEV);
	opener_close(&waiter);
	close(fd);
}

/* Runs relockfs on the mount point and returns its exit status; what it says
 * goes to $LOCKS/../said. */
static int mount_again(const struct fixture *fixture)
{
	char command[512];

	snprintf(command, sizeof command, "$RELOCKFS %s $LOCKS 2>$LOCKS/../store/said",
		 fixture->store_url);
	return shell(fixture, command);
}

static void life_a_live_mount_is_not_mounted_over(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(mount_again(fixture), 69);
	assert_int_equal(shell(fixture, "grep -q 'mounted here already' $LOCKS/../store/said"), 0);
}

static void life_a_dead_mount_is_explained(void **state)
{
	struct fixture *fixture = *state;

	int status = daemon_end(&fixture->daemon, SIGKILL);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(try_open(fixture, "backup", TO_HOLD), ENOTCONN);
	assert_int_equal(mount_again(fixture), 69);
	assert_int_equal(
		shell(fixture, "grep -q 'dead mount.*relock mount --clear' $LOCKS/../store/said"),
		0);
	assert_int_equal(umount2(fixture->daemon.mountpoint, MNT_DETACH), 0);
}

static void life_in_the_background(void **state)
{
	struct fixture *fixture = *state;

	assert_int_equal(daemon_end(&fixture->daemon, SIGTERM), 0);
	assert_int_equal(mount_again(fixture), 0);
	/* It is there when the command returns. */
	int fd = open_lock(fixture, "backup", TO_HOLD);
	assert_int_equal(count_names(fixture), 1);
	close(fd);
	assert_int_equal(count_names(fixture), 0);
	assert_int_equal(umount2(fixture->daemon.mountpoint, 0), 0);
}

static void life_bad_arguments(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(shell(fixture, "$RELOCKFS 2>/dev/null"), 64);
	assert_int_equal(shell(fixture, "$RELOCKFS a b c 2>/dev/null"), 64);
	assert_int_equal(shell(fixture, "$RELOCKFS --help >/dev/null"), 0);
	assert_int_equal(shell(fixture, "$RELOCKFS --version >/dev/null"), 0);
	assert_int_equal(shell(fixture, "$RELOCKFS /nonexistent 2>/dev/null"), 69);
	assert_int_equal(shell(fixture, "$RELOCKFS -f nonsense:/tmp $LOCKS/../store 2>/dev/null"),
			 69);
	assert_int_equal(
		shell(fixture, "$RELOCKFS -f ofd:/nonexistent $LOCKS/../store 2>/dev/null"), 69);
}

/* In a mount namespace whose /dev has no fuse. */
static void life_without_the_device_is_explained(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(shell(fixture,
			       "mkdir $LOCKS/../store/to && "
			       "unshare -m sh -c 'exec 8>$LOCKS/../store/said 9</dev/null && "
			       "mount -t tmpfs none /dev && exec $RELOCKFS -f ofd:$LOCKS/../store "
			       "$LOCKS/../store/to <&9 >&8 2>&8'"),
			 69);
	assert_int_equal(shell(fixture, "grep -q 'store/to: not mounted: there is no /dev/fuse' "
					"$LOCKS/../store/said"),
			 0);
	assert_int_equal(shell(fixture, "rm -r $LOCKS/../store/to"), 0);
}

#define FACT(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		FACT(fact01_creators_of_one_name_never_see_an_error),
		FACT(fact01_ls_and_creates_go_on_while_creators_wait),
		FACT(fact02_a_name_that_is_gone_is_gone_at_once),
		FACT(fact02_names_are_forgotten),
		FACT(fact03_nonblock_right_after_close_is_never_refused),
		FACT(fact04_only_the_last_close_releases),
		FACT(fact05_a_signal_ends_the_wait),
		FACT(fact05_a_handler_interrupts_the_wait),
		FACT(fact05_sigkill_of_waiters_leaves_the_others_their_turn),
		FACT(fact05_a_waiting_flock_is_interrupted),
		FACT(fact05_first_come_first_served),
		FACT(fact06_the_holder_is_a_process),
		FACT(fact06_a_holder_in_another_pid_namespace),
		FACT(fact07_truncation_happens_at_the_grant),
		FACT(fact08_close_ends_a_flock),
		FACT(fact10_another_user_may_wait_for_it),
		FACT(store_a_lock_held_outside_is_shown_and_waited_for),
		FACT(store_all_waiters_for_one_outside_leave),
		FACT(store_waiters_outside_are_in_the_text),
		FACT(store_waiters_have_their_turn),
		FACT(store_rm_breaks_a_hold_outside),
		FACT(store_two_mounts_exclude_each_other),
		FACT(life_sigterm_says_what_is_held),
		FACT(life_waiters_are_told_of_the_end),
		FACT(life_a_live_mount_is_not_mounted_over),
		FACT(life_a_dead_mount_is_explained),
		FACT(life_without_the_device_is_explained),
		FACT(life_in_the_background),
		FACT(life_bad_arguments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
