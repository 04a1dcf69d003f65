/*
 * lockfs.md, fact 12: the serving process of a supervised mount is killed, and no
 * holder, waiter, token or info is lost.
 */
#include "fixture.h"
#include "restarts.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

static int setup(void **state)
{
	fixture_setup(state);
	fixture_mount_with(*state, "supervise");
	/* The first close makes the kernel ask whether there is a FLUSH, and wait
	 * for the answer, which a test that nobody serves cannot. */
	assert_int_equal(try_open(*state, "warm", O_WRONLY | O_CREAT), 0);
	return 0;
}

/* Nobody serves, until continue_supervisor(). */
static void kill_server_and_stop_supervisor(const struct fixture *fixture)
{
	pid_t server = (pid_t)number_of_mount(fixture, "pid");
	int status;

	assert_int_equal(kill(fixture->daemon.pid, SIGSTOP), 0);
	assert_int_equal(waitpid(fixture->daemon.pid, &status, WUNTRACED), fixture->daemon.pid);
	assert_true(WIFSTOPPED(status));
	kill(server, SIGKILL);
}

static void continue_supervisor(const struct fixture *fixture)
{
	assert_int_equal(kill(fixture->daemon.pid, SIGCONT), 0);
}

static void holder_token_and_info_stay(void **state)
{
	const struct fixture *fixture = *state;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);

	assert_int_equal(write(fd, "nightly", 7), 7);
	char *before = read_lock(fixture, "a");
	for (int i = 0; i < 3; i++)
		kill_server(fixture);
	char *after = read_lock(fixture, "a");
	for (const char *const *key = (const char *const[]){"pid", "started", "since", "token",
							    "info", "command", "via", NULL};
	     *key; key++) {
		char *value = value_of(before, *key);
		assert_non_null(value);
		assert_value(after, *key, value);
		free(value);
	}
	free(before);
	free(after);
	assert_int_equal(try_open(fixture, "a", O_WRONLY | O_NONBLOCK), EAGAIN);
	assert_int_equal(try_in_store(fixture, "a"), -EAGAIN);
	/* It is a hold like any other. */
	assert_int_equal(write(fd, "later", 5), 5);
	assert_int_equal(fsync(fd), 0);
	close(fd);
	await_state(fixture, "a", false);
	assert_int_equal(try_open(fixture, "a", O_WRONLY | O_CREAT | O_EXCL), 0);
}

/* The ledger has room of two sizes for them. */
static void names_of_all_lengths_stay(void **state)
{
	static const size_t lengths[] = {1, 46, 47, 48, 49, RELOCK_NAME_MAX};
	enum { COUNT = sizeof lengths / sizeof *lengths };
	const struct fixture *fixture = *state;
	char names[COUNT][RELOCK_NAME_MAX + 1] = {0};
	int descriptors[COUNT];

	for (size_t i = 0; i < COUNT; i++) {
		memset(names[i], 'a' + (int)i, lengths[i]);
		descriptors[i] = open_lock(fixture, names[i], O_WRONLY | O_CREAT);
	}
	for (int restarts = 0; restarts < 2; restarts++) {
		kill_server(fixture);
		assert_int_equal(count_names(fixture), COUNT);
		for (size_t i = 0; i < COUNT; i++) {
			char *text = read_lock(fixture, names[i]);
			assert_value(text, "lock", names[i]);
			assert_value(text, "state", "held");
			free(text);
		}
	}
	for (size_t i = 0; i < COUNT; i++)
		close(descriptors[i]);
	for (size_t i = 0; i < COUNT; i++)
		await_state(fixture, names[i], false);
	assert_int_equal(count_names(fixture), 0);
}

static void lock_is_held_while_nobody_serves(void **state)
{
	const struct fixture *fixture = *state;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);

	kill_server_and_stop_supervisor(fixture);
	assert_int_equal(try_in_store(fixture, "a"), -EAGAIN);
	continue_supervisor(fixture);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

static void waiters_keep_their_order(void **state)
{
	enum { WAITERS = 6 };
	const struct fixture *fixture = *state;
	struct opener openers[WAITERS];
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);

	for (int i = 0; i < WAITERS; i++) {
		bool by_flock = i % 2;
		opener_start(&openers[i], fixture, "a",
			     by_flock ? O_RDONLY | O_CREAT : O_WRONLY | O_CREAT);
		if (by_flock) {
			assert_int_equal(peer_hear(&openers[i].peer), 0);
			peer_say(&openers[i].peer, FLOCK_BASE + LOCK_EX);
		}
		await_waiters(fixture, "a", (size_t)i + 1);
	}
	char *before = read_lock(fixture, "a"), *queue = value_of(before, "waiters");
	kill_server(fixture);
	kill_server(fixture);
	char *after = read_lock(fixture, "a");
	assert_value(after, "waiters", queue);
	free(before);
	free(after);
	free(queue);
	close(fd);
	for (int i = 0; i < WAITERS; i++) {
		assert_int_equal(peer_hear(&openers[i].peer), 0);
		for (int k = i + 1; k < WAITERS; k++)
			assert_true(peer_is_silent(&openers[k].peer));
		if (i == WAITERS / 2)
			kill_server(fixture);
		opener_close(&openers[i]);
	}
	await_state(fixture, "a", false);
}

static void shared_holders_stay_shared(void **state)
{
	const struct fixture *fixture = *state;
	int first = open_lock(fixture, "a", O_RDONLY | O_CREAT);
	int second = open_lock(fixture, "a", O_RDONLY | O_CREAT);
	int downgraded = open_lock(fixture, "b", O_WRONLY | O_CREAT);

	assert_int_equal(flock(first, LOCK_SH), 0);
	assert_int_equal(flock(second, LOCK_SH), 0);
	assert_int_equal(flock(downgraded, LOCK_SH), 0);
	kill_server(fixture);
	char *text = read_lock(fixture, "a");
	assert_value(text, "mode", "shared");
	free(text);
	text = read_lock(fixture, "b");
	assert_value(text, "mode", "shared");
	free(text);
	assert_int_equal(try_open(fixture, "a", O_WRONLY | O_NONBLOCK), EAGAIN);
	close(first);
	assert_int_equal(try_open(fixture, "a", O_WRONLY | O_NONBLOCK), EAGAIN);
	/* The last one may have it alone, and give it back. */
	assert_int_equal(flock(second, LOCK_EX | LOCK_NB), 0);
	kill_server(fixture);
	assert_int_equal(flock(second, LOCK_UN), 0);
	assert_int_equal(try_open(fixture, "a", O_WRONLY | O_CREAT | O_EXCL), 0);
	close(second);
	close(downgraded);
}

static void broken_hold_stays_broken(void **state)
{
	const struct fixture *fixture = *state;
	int fd = open_lock(fixture, "a", O_RDWR | O_CREAT);

	assert_int_equal(unlink(lock_path(fixture, "a")), 0);
	kill_server(fixture);
	assert_int_equal(fsync(fd), -1);
	assert_int_equal(errno, ESTALE);
	assert_int_equal(try_open(fixture, "a", O_WRONLY | O_CREAT | O_EXCL), 0);
	close(fd);
}

/* The store does not wait for a mount that nobody serves. */
static void hold_broken_meanwhile_is_broken(void **state)
{
	const struct fixture *fixture = *state;
	int fd = open_lock(fixture, "a", O_RDWR | O_CREAT);
	char path[PATH_MAX];

	kill_server_and_stop_supervisor(fixture);
	snprintf(path, sizeof path, "%s/store/a", fixture->folder);
	assert_int_equal(unlink(path), 0);
	continue_supervisor(fixture);
	assert_int_equal(fsync(fd), -1);
	assert_int_equal(errno, ESTALE);
	close(fd);
}

/* What is asked for while nobody serves */

static void close_counts_while_nobody_serves(void **state)
{
	const struct fixture *fixture = *state;
	struct opener waiter;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);

	opener_start(&waiter, fixture, "a", O_WRONLY | O_CREAT);
	await_waiters(fixture, "a", 1);
	kill_server_and_stop_supervisor(fixture);
	close(fd);
	assert_true(peer_is_silent(&waiter.peer));
	continue_supervisor(fixture);
	assert_int_equal(peer_hear(&waiter.peer), 0);
	opener_close(&waiter);
}

static void waiter_killed_while_nobody_serves_has_gone(void **state)
{
	const struct fixture *fixture = *state;
	struct opener first, second;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);

	opener_start(&first, fixture, "a", O_WRONLY | O_CREAT);
	await_waiters(fixture, "a", 1);
	opener_start(&second, fixture, "a", O_WRONLY | O_CREAT);
	await_waiters(fixture, "a", 2);
	kill_server_and_stop_supervisor(fixture);
	/* It is in the kernel until its request is answered, or sent again. */
	kill(first.peer.pid, SIGKILL);
	continue_supervisor(fixture);
	peer_kill(&first.peer);
	await_waiters(fixture, "a", 1);
	close(fd);
	assert_int_equal(peer_hear(&second.peer), 0);
	opener_close(&second);
	await_state(fixture, "a", false);
}

static void open_of_that_time_is_served(void **state)
{
	const struct fixture *fixture = *state;
	struct opener opener;

	kill_server_and_stop_supervisor(fixture);
	opener_start(&opener, fixture, "a", O_WRONLY | O_CREAT | O_EXCL);
	assert_true(peer_is_silent(&opener.peer));
	continue_supervisor(fixture);
	assert_int_equal(peer_hear(&opener.peer), 0);
	opener_close(&opener);
}

static void note_signal(int signal)
{
}

static void waiter_can_be_interrupted_afterwards(void **state)
{
	const struct fixture *fixture = *state;
	struct sigaction action = {.sa_handler = note_signal}, before;
	struct opener waiter;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);

	assert_int_equal(sigaction(SIGUSR1, &action, &before), 0);
	opener_start(&waiter, fixture, "a", O_WRONLY | O_CREAT);
	await_waiters(fixture, "a", 1);
	kill_server(fixture);
	await_waiters(fixture, "a", 1);
	kill(waiter.peer.pid, SIGUSR1);
	assert_int_equal(peer_hear(&waiter.peer), EINTR);
	sigaction(SIGUSR1, &before, NULL);
	opener_close(&waiter);
	/* ... or while nobody served. */
	sigaction(SIGUSR1, &action, NULL);
	opener_start(&waiter, fixture, "a", O_WRONLY | O_CREAT);
	sigaction(SIGUSR1, &before, NULL);
	await_waiters(fixture, "a", 1);
	kill_server_and_stop_supervisor(fixture);
	kill(waiter.peer.pid, SIGUSR1);
	continue_supervisor(fixture);
	assert_int_equal(peer_hear(&waiter.peer), EINTR);
	opener_close(&waiter);
	close(fd);
}

static void pollers_look_again(void **state)
{
	const struct fixture *fixture = *state;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);
	int looker = open_lock(fixture, "a", O_RDONLY);
	struct pollfd poll_fd = {.fd = looker, .events = POLLPRI};
	char text[4096];

	assert_true(pread(looker, text, sizeof text, 0) > 0);
	assert_int_equal(poll(&poll_fd, 1, 0), 0);
	kill_server_and_stop_supervisor(fixture);
	close(fd);
	continue_supervisor(fixture);
	assert_int_equal(poll(&poll_fd, 1, PATIENCE_MS), 1);
	close(looker);
}

static void listing_goes_on(void **state)
{
	const struct fixture *fixture = *state;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);
	DIR *folder = opendir(fixture->daemon.mountpoint);
	bool is_found = false;

	assert_non_null(folder);
	kill_server(fixture);
	for (struct dirent *entry; (entry = readdir(folder));)
		is_found = is_found || strcmp(entry->d_name, "a") == 0;
	assert_true(is_found);
	closedir(folder);
	close(fd);
}

static void names_are_forgotten_afterwards(void **state)
{
	const struct fixture *fixture = *state;
	char name[16];

	for (int i = 0; i < 50; i++) {
		snprintf(name, sizeof name, "n%d", i);
		assert_int_equal(try_open(fixture, name, O_WRONLY | O_CREAT), 0);
	}
	kill_server(fixture);
	/* Nothing tells of it but the number itself; each look is a request. */
	for (int i = 0; number_of_mount(fixture, "names") > 0 && i < PATIENCE_MS; i++)
		assert_int_equal(poll(NULL, 0, 1), 0);
	assert_int_equal(number_of_mount(fixture, "names"), 0);
}

/* Outside the mount */

static void holder_in_the_store_is_waited_for_again(void **state)
{
	const struct fixture *fixture = *state;
	struct relock_request request = RELOCK_REQUEST_INIT;
	struct opener waiter;
	relock_lock *lock;

	assert_int_equal(relock_lock_open(&lock, fixture->store, "a"), 0);
	assert_int_equal(relock_acquire(lock, &request), 0);
	opener_start(&waiter, fixture, "a", O_WRONLY | O_CREAT);
	await_waiters(fixture, "a", 1);
	kill_server(fixture);
	await_waiters(fixture, "a", 1);
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(peer_hear(&waiter.peer), 0);
	assert_int_equal(relock_acquire(lock, &(struct relock_request){.size = sizeof request}),
			 -EAGAIN);
	opener_close(&waiter);
	relock_lock_close(lock);
}

static void store_waiter_gets_what_was_held(void **state)
{
	const struct fixture *fixture = *state;
	struct opener second;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);

	fixture_start_second(*state);
	char path[PATH_MAX];
	snprintf(path, sizeof path, "%s/a", fixture->second.mountpoint);
	opener_start(&second, fixture, "a", O_WRONLY | O_CREAT);
	await_waiters(fixture, "a", 1);
	kill_server(fixture);
	close(fd);
	assert_int_equal(peer_hear(&second.peer), 0);
	assert_int_equal(open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC), -1);
	assert_int_equal(errno, EAGAIN);
	opener_close(&second);
}

/* The supervisor */

/* The fixture's daemon is gone; whoever is supervisor now ends the mount. */
static void end_by_other_supervisor(struct fixture *fixture)
{
	kill_and_wait((pid_t)number_of_mount(fixture, "supervisor"), SIGTERM);
	fixture->daemon.pid = 0;
}

static void server_goes_on_without_supervisor(void **state)
{
	struct fixture *fixture = *state;
	struct opener waiter;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);
	pid_t supervisor = (pid_t)number_of_mount(fixture, "supervisor");
	long starts = number_of_mount(fixture, "starts");

	assert_int_equal(supervisor, fixture->daemon.pid);
	assert_int_equal(write(fd, "nightly", 7), 7);
	opener_start(&waiter, fixture, "a", O_WRONLY | O_CREAT);
	await_waiters(fixture, "a", 1);
	assert_int_equal(kill(supervisor, SIGKILL), 0);
	assert_int_equal(waitpid(supervisor, NULL, 0), supervisor);
	/* The server may answer a few requests before it hears of it. */
	for (int i = 0; number_of_mount(fixture, "starts") == starts && i < PATIENCE_MS; i++)
		assert_int_equal(poll(NULL, 0, 1), 0);
	assert_int_not_equal(number_of_mount(fixture, "supervisor"), supervisor);
	char *text = read_lock(fixture, "a");
	assert_value(text, "info", "nightly");
	free(text);
	assert_int_equal(try_in_store(fixture, "a"), -EAGAIN);
	/* It is a supervisor like any other. */
	kill_server(fixture);
	assert_int_equal(fsync(fd), 0);
	close(fd);
	assert_int_equal(peer_hear(&waiter.peer), 0);
	opener_close(&waiter);
	end_by_other_supervisor(fixture);
}

static void upgrade_keeps_all_and_the_supervisor(void **state)
{
	const struct fixture *fixture = *state;
	struct opener waiter;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);
	long starts = number_of_mount(fixture, "starts");

	assert_int_equal(write(fd, "nightly", 7), 7);
	opener_start(&waiter, fixture, "a", O_WRONLY | O_CREAT);
	await_waiters(fixture, "a", 1);
	assert_int_equal(kill(fixture->daemon.pid, SIGUSR1), 0);
	for (int i = 0; number_of_mount(fixture, "starts") == starts && i < PATIENCE_MS; i++)
		assert_int_equal(poll(NULL, 0, 1), 0);
	assert_int_equal(number_of_mount(fixture, "supervisor"), fixture->daemon.pid);
	char *text = read_lock(fixture, "a");
	assert_value(text, "info", "nightly");
	free(text);
	kill_server(fixture);
	assert_int_equal(fsync(fd), 0);
	close(fd);
	assert_int_equal(peer_hear(&waiter.peer), 0);
	opener_close(&waiter);
}

static void sigterm_is_the_servers(void **state)
{
	struct fixture *fixture = *state;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);

	kill_server(fixture);
	kill(fixture->daemon.pid, SIGTERM);
	char *errors;
	while (!strstr(errors = daemon_errors(&fixture->daemon), "a is held by pid")) {
		free(errors);
		assert_int_equal(poll(NULL, 0, 1), 0);
	}
	free(errors);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(daemon_end(&fixture->daemon, SIGTERM), 0);
	assert_int_equal(fsync(fd), -1);
	close(fd);
}

static void unmounting_ends_both(void **state)
{
	struct fixture *fixture = *state;
	struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, fixture->daemon.pid, 0),
			     .events = POLLIN};
	char command[PATH_MAX];
	int status;

	kill_server(fixture);
	snprintf(command, sizeof command, "umount %s", fixture->daemon.mountpoint);
	assert_int_equal(system(command), 0);
	assert_int_equal(poll(&end, 1, PATIENCE_MS), 1);
	close(end.fd);
	assert_int_equal(waitpid(fixture->daemon.pid, &status, 0), fixture->daemon.pid);
	assert_int_equal(status, 0);
	fixture->daemon.pid = 0;
}

static void no_descriptor_is_left_behind(void **state)
{
	const struct fixture *fixture = *state;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);

	kill_server(fixture);
	size_t before = count_descriptors(fixture->daemon.pid);
	for (int i = 0; i < 5; i++) {
		assert_int_equal(try_open(fixture, "b", O_WRONLY | O_CREAT), 0);
		kill_server(fixture);
	}
	assert_int_equal(count_descriptors(fixture->daemon.pid), before);
	close(fd);
}

#define restart_test(name) cmocka_unit_test_setup_teardown(name, setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		restart_test(holder_token_and_info_stay),
		restart_test(names_of_all_lengths_stay),
		restart_test(lock_is_held_while_nobody_serves),
		restart_test(waiters_keep_their_order),
		restart_test(shared_holders_stay_shared),
		restart_test(broken_hold_stays_broken),
		restart_test(hold_broken_meanwhile_is_broken),
		restart_test(close_counts_while_nobody_serves),
		restart_test(waiter_killed_while_nobody_serves_has_gone),
		restart_test(open_of_that_time_is_served),
		restart_test(waiter_can_be_interrupted_afterwards),
		restart_test(pollers_look_again),
		restart_test(listing_goes_on),
		restart_test(names_are_forgotten_afterwards),
		restart_test(holder_in_the_store_is_waited_for_again),
		restart_test(store_waiter_gets_what_was_held),
		restart_test(server_goes_on_without_supervisor),
		restart_test(upgrade_keeps_all_and_the_supervisor),
		restart_test(sigterm_is_the_servers),
		restart_test(unmounting_ends_both),
		restart_test(no_descriptor_is_left_behind),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
