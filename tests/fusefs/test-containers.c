/*
 * Programs in containers: the mount seen through a bind mount, from another
 * root and another pid namespace; and a daemon in a container, which sees no
 * process outside it: the kernel gives it the number 0 for each of them.
 *
 * The tests have a mount namespace of their own, and leave nothing behind in
 * the one of the machine.
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { TO_HOLD = O_WRONLY | O_CREAT, CREATORS = 6, ROUNDS = 300 };

/* A container: process 1 of a pid namespace, in a root where there is nothing
 * but /locks.  It runs `main`. */
struct container {
	const struct fixture *fixture;
	char root[PATH_MAX];
	peer_main *main;
};

static int enter(const struct container *container)
{
	char locks[PATH_MAX + 8];

	snprintf(locks, sizeof locks, "%s/locks", container->root);
	if (unshare(CLONE_NEWNS | CLONE_NEWPID) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(container->fixture->daemon.mountpoint, locks, NULL, MS_BIND, NULL) < 0)
		return errno;
	return 0;
}

static int container_main(struct peer *self, void *argument)
{
	const struct container *container = argument;

	/* What the test holds, the fork would hold too. */
	close_range(3, (unsigned)self->fd - 1, 0);
	close_range((unsigned)self->fd + 1, ~0U, 0);
	int status = enter(container);
	if (status != 0)
		return status;
	/* The first child after unshare is process 1. */
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getpid() != 1 || chroot(container->root) < 0 || chdir("/") < 0)
			_exit(99);
		_exit(container->main(self, NULL));
	}
	waitpid(child, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
}

static void container_start(struct container *container, struct peer *ret,
			    const struct fixture *fixture, peer_main *main)
{
	char locks[PATH_MAX + 8];

	container->fixture = fixture;
	container->main = main;
	snprintf(container->root, sizeof container->root, "%s/root", fixture->folder);
	snprintf(locks, sizeof locks, "%s/locks", container->root);
	assert_int_equal(mkdir(container->root, 0755), 0);
	assert_int_equal(mkdir(locks, 0755), 0);
	*ret = peer_start(container_main, container);
}

static void container_end(const struct container *container, struct peer *peer)
{
	char locks[PATH_MAX + 8];

	assert_int_equal(peer_reap(peer), 0);
	snprintf(locks, sizeof locks, "%s/locks", container->root);
	assert_int_equal(rmdir(locks), 0);
	assert_int_equal(rmdir(container->root), 0);
}

static int hold_wait_and_look(struct peer *self, void *unused)
{
	char text[4096] = "";

	int fd = open("/locks/backup", TO_HOLD | O_CLOEXEC, 0666);
	peer_say(self, fd < 0 ? errno : 0);
	(void)peer_hear(self);
	peer_say(self, write(fd, "inside", 6) == 6 ? 0 : errno);
	/* One thread, and it holds it.  ThreadSanitizer starts another in a forked
	 * process, and the lock would be waited for. */
#ifdef __SANITIZE_THREAD__
	peer_say(self, EDEADLK);
#else
	peer_say(self, open("/locks/backup", TO_HOLD | O_CLOEXEC, 0666) < 0 ? errno : 0);
#endif
	close(fd);
	fd = open("/locks/taken", TO_HOLD | O_CLOEXEC, 0666);
	peer_say(self, fd < 0 ? errno : 0);
	close(fd);
	fd = open("/locks/outside", O_RDONLY | O_CLOEXEC);
	peer_say(self, read(fd, text, sizeof text - 1) > 0 && strstr(text, "pid: ") ? 0 : EIO);
	close(fd);
	peer_say(self, unlink("/locks/outside") < 0 ? errno : 0);
	return 0;
}

static void in_a_container_with_the_mount_bound_in(void **state)
{
	const struct fixture *fixture = *state;
	struct container container;
	struct stat namespace;
	char path[64], *number;
	struct peer peer;

	int taken = open_lock(fixture, "taken", TO_HOLD);
	int outside = open_lock(fixture, "outside", TO_HOLD);
	container_start(&container, &peer, fixture, hold_wait_and_look);
	assert_int_equal(peer_hear(&peer), 0);
	/* The pid is the one that this side knows it by. */
	char *text = read_lock(fixture, "backup"), *pid = value_of(text, "pid");
	assert_non_null(pid);
	assert_string_not_equal(pid, "1");
	assert_value(text, "pid-in-namespace", "1");
	snprintf(path, sizeof path, "/proc/%s/ns/pid", pid);
	assert_int_equal(stat(path, &namespace), 0);
	assert_true(asprintf(&number, "%lu", (unsigned long)namespace.st_ino) > 0);
	assert_value(text, "pid-namespace", number);
	free(number);
	free(text);
	assert_int_equal(try_open(fixture, "backup", TO_HOLD | O_NONBLOCK), EAGAIN);
	peer_say(&peer, 0);
	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(peer_hear(&peer), EDEADLK);
	await_waiters(fixture, "taken", 1);
	text = read_lock(fixture, "taken");
	assert_value(text, "waiters", pid);
	free(text);
	free(pid);
	assert_null(read_lock(fixture, "backup"));
	close(taken);
	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(fsync(outside), -1);
	assert_int_equal(errno, ESTALE);
	close(outside);
	container_end(&container, &peer);
}

static int leave_it_to_a_child(struct peer *self, void *unused)
{
	int fd = open("/locks/backup", TO_HOLD | O_CLOEXEC, 0666), closed[2];
	char byte;

	if (fd < 0 || pipe2(closed, O_CLOEXEC) < 0)
		return errno;
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_NAME, "heir");
		close(closed[1]);
		/* Its parent has closed its own. */
		(void)!read(closed[0], &byte, 1);
		peer_say(self, 0);
		(void)peer_hear(self);
		_exit(0);
	}
	close(fd);
	close(closed[1]);
	(void)waitpid(child, NULL, 0);
	return 0;
}

static void an_heir_in_a_container(void **state)
{
	const struct fixture *fixture = *state;
	struct container container;
	struct peer peer;

	container_start(&container, &peer, fixture, leave_it_to_a_child);
	assert_int_equal(peer_hear(&peer), 0);
	char *text = read_lock(fixture, "backup"), *heir = value_of(text, "open-by");
	if (!heir || !strstr(heir, " (heir)"))
		fail_msg("no heir in:\n%s", text);
	free(heir);
	free(text);
	peer_say(&peer, 0);
	container_end(&container, &peer);
}

/* The daemon in a container: process 1 of a pid namespace starts it in the
 * background and ends it by umount(2).  What is mounted there is seen here,
 * since the mounts are shared. */
static int daemon_main(struct peer *self, void *argument)
{
	const struct fixture *fixture = argument;
	char command[512];
	int status;

	if (unshare(CLONE_NEWPID) < 0)
		return errno;
	pid_t child = fork();
	if (child != 0) {
		waitpid(child, &status, 0);
		return WIFEXITED(status) ? WEXITSTATUS(status) : 98;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	/* A /proc that shows this namespace, to this container only. */
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/proc", NULL, MS_PRIVATE, NULL) < 0 ||
	    mount("proc", "/proc", "proc", 0, NULL) < 0)
		_exit(97);
	snprintf(command, sizeof command, "exec $RELOCKFS %s %s", fixture->store_url,
		 fixture->second.mountpoint);
	status = system(command);
	peer_say(self, WIFEXITED(status) ? WEXITSTATUS(status) : 96);
	(void)peer_hear(self);
	if (umount2(fixture->second.mountpoint, 0) < 0)
		_exit(95);
	/* The daemon has become this process's child. */
	while (wait(&status) > 0)
		if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
			_exit(94);
	_exit(0);
}

static struct peer contained_daemon;

static int contained_setup(void **state)
{
	fixture_setup(state);
	struct fixture *fixture = *state;

	/* Its place is taken by the one in the container. */
	assert_int_equal(daemon_end(&fixture->daemon, SIGTERM), 0);
	strcpy(fixture->second.mountpoint, fixture->daemon.mountpoint);
	contained_daemon = peer_start(daemon_main, fixture);
	assert_int_equal(peer_hear(&contained_daemon), 0);
	return 0;
}

static int contained_teardown(void **state)
{
	struct fixture *fixture = *state;

	peer_say(&contained_daemon, 0);
	assert_int_equal(peer_reap(&contained_daemon), 0);
	fixture->second.mountpoint[0] = '\0';
	return fixture_teardown(state);
}

/* By poll(2) on the lock, as await_waiters(), which counts pids. */
static void await_waiters_text(const struct fixture *fixture, const char *name,
			       const char *expected)
{
	int fd = open_lock(fixture, name, O_RDONLY);
	struct pollfd poll_fd = {.fd = fd, .events = POLLPRI};

	for (bool found = false; !found;) {
		char text[4096] = "";
		assert_true(pread(fd, text, sizeof text - 1, 0) > 0);
		char *value = value_of(text, "waiters");
		found = value && strcmp(value, expected) == 0;
		free(value);
		if (!found && poll(&poll_fd, 1, 20000) <= 0)
			fail_msg("not %s waiting:\n%s", expected, text);
	}
	close(fd);
}

static void a_holder_out_of_sight_is_shown_as_such(void **state)
{
	const struct fixture *fixture = *state;
	struct opener waiter;

	int fd = open_lock(fixture, "backup", TO_HOLD);
	char *text = read_lock(fixture, "backup");
	assert_value(text, "state", "held");
	assert_value(text, "process", "out of sight, in another pid namespace");
	assert_value(text, "user", "root");
	assert_null(value_of(text, "pid"));
	free(text);
	opener_start(&waiter, fixture, "backup", TO_HOLD);
	await_waiters_text(fixture, "backup", "(1 not visible)");
	close(fd);
	assert_int_equal(peer_hear(&waiter.peer), 0);
	assert_int_equal(opener_ask(&waiter, WRITE_ERRNO), 0);
	opener_close(&waiter);
	assert_null(read_lock(fixture, "backup"));
}

/* Two names in turn: now this one is promised, and now that. */
static int creator_main(struct peer *self, void *argument)
{
	const struct fixture *fixture = argument;

	for (int round = 0; round < ROUNDS; round++) {
		int fd = open(lock_path(fixture, (round + getpid()) % 2 ? "first" : "second"),
			      TO_HOLD | O_CLOEXEC, 0666);
		if (fd < 0)
			return errno;
		close(fd);
	}
	return 0;
}

/* Who looks finds a lock or none. */
static int looker_main(struct peer *self, void *argument)
{
	const struct fixture *fixture = argument;

	for (int round = 0; round < ROUNDS; round++) {
		int error = try_open(fixture, round % 2 ? "first" : "second", O_RDONLY);
		if (error != 0 && error != ENOENT)
			return error;
	}
	return 0;
}

static void creators_out_of_sight_never_see_an_error(void **state)
{
	struct fixture *fixture = *state;
	struct peer peers[2 * CREATORS];

	for (size_t i = 0; i < 2 * CREATORS; i++)
		peers[i] = peer_start(i % 2 ? looker_main : creator_main, fixture);
	for (size_t i = 0; i < 2 * CREATORS; i++) {
		int status = peer_reap(&peers[i]);
		if (status != 0)
			fail_msg("a %s failed: %s", i % 2 ? "looker" : "creator",
				 strerror(WEXITSTATUS(status)));
	}
	assert_int_equal(count_names(fixture), 0);
}

#define CASE(test)      cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)
#define CONTAINED(test) cmocka_unit_test_setup_teardown(test, contained_setup, contained_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(in_a_container_with_the_mount_bound_in),
		CASE(an_heir_in_a_container),
		CONTAINED(a_holder_out_of_sight_is_shown_as_such),
		CONTAINED(creators_out_of_sight_never_see_an_error),
	};

	/* Nothing goes from here to the machine, and all from the containers to
	 * here. */
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL) < 0 ||
	    mount(NULL, "/", NULL, MS_REC | MS_SHARED, NULL) < 0) {
		perror("a mount namespace");
		return 1;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
