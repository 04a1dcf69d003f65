/*
 * A mount on a store of claim files, as machines that share a folder each have it:
 * what it holds, it holds in the store; and what it holds stays held when the
 * serving process is killed, though no kernel lock keeps it.
 */
#include "fixture.h"
#include "restarts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static int setup_supervised(void **state)
{
	fixture_setup_link(state);
	fixture_mount_with(*state, "supervise");
	assert_int_equal(try_open(*state, "warm", O_WRONLY | O_CREAT), 0);
	return 0;
}

static void a_hold_of_the_mount_is_one_of_the_store(void **state)
{
	const struct fixture *fixture = *state;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);

	assert_int_equal(try_in_store(fixture, "a"), -EAGAIN);
	assert_int_equal(write(fd, "nightly", 7), 7);
	char *text = read_lock(fixture, "a");
	assert_value(text, "info", "nightly");
	free(text);
	close(fd);
	await_state(fixture, "a", false);
	assert_int_equal(try_in_store(fixture, "a"), 0);
}

static void a_hold_of_the_store_is_one_of_the_mount(void **state)
{
	const struct fixture *fixture = *state;
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock;

	assert_int_equal(relock_lock_open(&lock, fixture->store, "a"), 0);
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_int_equal(try_open(fixture, "a", O_WRONLY | O_CREAT | O_EXCL), EEXIST);
	char *text = read_lock(fixture, "a");
	assert_value(text, "state", "held");
	free(text);
	struct opener opener;
	opener_start(&opener, fixture, "a", O_WRONLY | O_CREAT);
	await_waiters(fixture, "a", 1);
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(peer_hear(&opener.peer), 0);
	opener_close(&opener);
	relock_lock_close(lock);
}

static void two_mounts_of_one_store_exclude_each_other(void **state)
{
	struct fixture *fixture = *state;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);
	struct fixture second = *fixture;

	fixture_start_second(fixture);
	second.daemon = fixture->second;
	assert_int_equal(try_open(&second, "a", O_WRONLY | O_CREAT | O_EXCL), EEXIST);
	close(fd);
	await_state(fixture, "a", false);
	assert_int_equal(try_open(&second, "a", O_WRONLY | O_CREAT | O_EXCL), 0);
}

static void nothing_is_shared(void **state)
{
	const struct fixture *fixture = *state;
	int fd = open_lock(fixture, "a", O_RDONLY | O_CREAT);

	assert_int_equal(flock(fd, LOCK_SH), -1);
	assert_int_equal(errno, EOPNOTSUPP);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	close(fd);
	await_state(fixture, "a", false);
}

static void a_hold_outlives_the_serving_process(void **state)
{
	const struct fixture *fixture = *state;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);

	assert_int_equal(write(fd, "nightly", 7), 7);
	char *before = read_lock(fixture, "a");
	char *token = value_of(before, "token");
	for (int i = 0; i < 3; i++) {
		kill_server(fixture);
		assert_int_equal(try_in_store(fixture, "a"), -EAGAIN);
	}
	char *after = read_lock(fixture, "a");
	assert_value(after, "token", token);
	assert_value(after, "info", "nightly");
	free(before);
	free(token);
	free(after);
	assert_int_equal(write(fd, "later", 5), 5);
	assert_int_equal(fsync(fd), 0);
	close(fd);
	await_state(fixture, "a", false);
	assert_int_equal(try_in_store(fixture, "a"), 0);
}

#define ON_LINK(f) cmocka_unit_test_setup_teardown(f, fixture_setup_link, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ON_LINK(a_hold_of_the_mount_is_one_of_the_store),
		ON_LINK(a_hold_of_the_store_is_one_of_the_mount),
		ON_LINK(two_mounts_of_one_store_exclude_each_other),
		ON_LINK(nothing_is_shared),
		cmocka_unit_test_setup_teardown(a_hold_outlives_the_serving_process,
						setup_supervised, fixture_teardown),
	};

	return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
