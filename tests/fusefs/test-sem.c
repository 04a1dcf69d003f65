/*
 * relockfs sem: /locks: the mount on a store of POSIX semaphores, beside programs
 * that use these.
 */
#include "fixture.h"
#include "restarts.h"
#include "semaphores.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

static int setup_supervised(void **state)
{
	fixture_setup_sem(state);
	fixture_mount_with(*state, "supervise");
	assert_int_equal(try_open(*state, "warm", O_WRONLY | O_CREAT), 0);
	return 0;
}

static void an_open_file_is_a_held_semaphore(void **state)
{
	sem_t *semaphore = semaphore_of("a");
	int fd = open_lock(*state, "a", O_WRONLY | O_CREAT);

	assert_int_equal(value_of_semaphore(semaphore), 0);
	assert_int_equal(write(fd, "nightly", 7), 7);
	char *text = read_lock(*state, "a");
	assert_value(text, "state", "held");
	assert_value(text, "info", "nightly");
	free(text);
	assert_int_equal(try_in_store(*state, "a"), -EAGAIN);
	assert_int_equal(try_open(*state, "a", O_WRONLY | O_CREAT | O_NONBLOCK), EAGAIN);
	close(fd);
	await_state(*state, "a", false);
	assert_int_equal(sem_wait(semaphore), 0);
	assert_int_equal(sem_post(semaphore), 0);
	sem_close(semaphore);
}

static void a_held_semaphore_is_a_file(void **state)
{
	sem_t *semaphore = semaphore_of("a");
	struct opener waiter;

	/* A lock has a text beside it. */
	assert_int_equal(try_in_store(*state, "a"), 0);
	assert_int_equal(sem_wait(semaphore), 0);
	assert_int_equal(count_names(*state), 1);
	assert_int_equal(try_open(*state, "a", O_WRONLY | O_CREAT | O_NONBLOCK), EAGAIN);
	assert_int_equal(try_open(*state, "a", O_WRONLY | O_CREAT | O_EXCL), EEXIST);
	opener_start(&waiter, *state, "a", O_WRONLY | O_CREAT);
	await_waiters(*state, "a", 1);
	assert_true(peer_is_silent(&waiter.peer));
	assert_int_equal(sem_post(semaphore), 0);
	assert_int_equal(peer_hear(&waiter.peer), 0);
	assert_int_equal(value_of_semaphore(semaphore), 0);
	opener_close(&waiter);
	sem_close(semaphore);
}

static void openers_take_turns(void **state)
{
	struct opener openers[4];
	int fd = open_lock(*state, "a", O_WRONLY | O_CREAT);

	for (size_t i = 0; i < 4; i++) {
		opener_start(&openers[i], *state, "a", O_WRONLY | O_CREAT);
		await_waiters(*state, "a", i + 1);
	}
	close(fd);
	for (size_t i = 0; i < 4; i++) {
		assert_int_equal(peer_hear(&openers[i].peer), 0);
		opener_close(&openers[i]);
	}
}

static void rm_breaks(void **state)
{
	sem_t *semaphore = semaphore_of("a");
	int fd = open_lock(*state, "a", O_WRONLY | O_CREAT);

	assert_int_equal(unlink(lock_path(*state, "a")), 0);
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(errno, ESTALE);
	assert_int_equal(value_of_semaphore(semaphore), 1);
	close(fd);
	/* And one that somebody else has. */
	assert_int_equal(sem_wait(semaphore), 0);
	assert_int_equal(unlink(lock_path(*state, "a")), 0);
	assert_int_equal(value_of_semaphore(semaphore), 1);
	sem_close(semaphore);
}

static void shared_locks_are_refused(void **state)
{
	int fd = open_lock(*state, "a", O_RDONLY | O_CREAT);

	assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), -1);
	assert_int_equal(errno, EOPNOTSUPP);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(try_in_store(*state, "a"), -EAGAIN);
	assert_int_equal(flock(fd, LOCK_SH | LOCK_NB), -1);
	assert_int_equal(flock(fd, LOCK_UN), 0);
	assert_int_equal(try_in_store(*state, "a"), 0);
	close(fd);
}

static void a_killed_daemon_leaves_a_lock_to_be_had(void **state)
{
	struct fixture *fixture = *state;
	sem_t *semaphore = semaphore_of("a");
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);

	kill(fixture->daemon.pid, SIGKILL);
	daemon_end(&fixture->daemon, SIGKILL);
	close(fd);
	assert_int_equal(value_of_semaphore(semaphore), 0);
	assert_int_equal(try_in_store(fixture, "a"), 0);
	assert_int_equal(value_of_semaphore(semaphore), 1);
	sem_close(semaphore);
	assert_int_equal(shell(fixture, "umount -l $LOCKS"), 0);
}

static void locks_outlive_the_server(void **state)
{
	const struct fixture *fixture = *state;
	sem_t *semaphore = semaphore_of("a");
	struct opener waiter;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);

	assert_int_equal(write(fd, "nightly", 7), 7);
	char *before = read_lock(fixture, "a");
	opener_start(&waiter, fixture, "a", O_WRONLY | O_CREAT);
	await_waiters(fixture, "a", 1);
	for (int i = 0; i < 3; i++)
		kill_server(fixture);
	assert_int_equal(value_of_semaphore(semaphore), 0);
	assert_int_equal(try_in_store(fixture, "a"), -EAGAIN);
	char *after = read_lock(fixture, "a"), *token = value_of(before, "token");
	assert_value(after, "token", token);
	assert_value(after, "info", "nightly");
	free(token);
	free(before);
	free(after);
	close(fd);
	assert_int_equal(peer_hear(&waiter.peer), 0);
	opener_close(&waiter);
	await_state(fixture, "a", false);
	assert_int_equal(value_of_semaphore(semaphore), 1);
	sem_close(semaphore);
}

#define test_mount(f) cmocka_unit_test_setup_teardown(f, fixture_setup_sem, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_mount(an_open_file_is_a_held_semaphore),
		test_mount(a_held_semaphore_is_a_file),
		test_mount(openers_take_turns),
		test_mount(rm_breaks),
		test_mount(shared_locks_are_refused),
		test_mount(a_killed_daemon_leaves_a_lock_to_be_had),
		cmocka_unit_test_setup_teardown(locks_outlive_the_server, setup_supervised,
						fixture_teardown),
	};

	return cmocka_run_group_tests_name("mount on sem", tests, NULL, NULL);
}
