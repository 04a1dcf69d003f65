/*
 * The ioctl(2) by which a mount tells what only it knows of a lock.  What `relock
 * state` makes of it is tested in tests/cli.
 */
#include "fixture.h"
#include "restarts.h"

#include <errno.h>
#include <fcntl.h>
#include <mount-look.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct mount_look look;

/* 0 or an errno. */
static int ask(const struct fixture *fixture, const char *name, uint32_t skip)
{
	int root = open(fixture->daemon.mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (root < 0)
		return errno;
	memset(&look, 0, sizeof look);
	snprintf(look.name, sizeof look.name, "%s", name);
	look.skip = skip;
	int error = ioctl(root, MOUNT_LOOK, &look) < 0 ? errno : 0;
	close(root);
	return error;
}

static void nothing_is_told_of_a_free_lock(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(ask(fixture, "never", 0), ENOENT);
	assert_int_equal(try_open(fixture, "a", O_WRONLY | O_CREAT), 0);
	await_state(fixture, "a", false);
	assert_int_equal(ask(fixture, "a", 0), ENOENT);
	assert_int_equal(ask(fixture, ".history/a", 0), ENOENT);
	assert_int_equal(ask(fixture, "", 0), ENOENT);
}

static void holder_and_queue_are_told(void **state)
{
	const struct fixture *fixture = *state;
	struct opener waiters[2];
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);

	for (size_t i = 0; i < 2; i++) {
		opener_start(&waiters[i], fixture, "a", O_WRONLY | O_CREAT);
		await_waiters(fixture, "a", i + 1);
	}
	assert_int_equal(ask(fixture, "a", 0), 0);
	assert_int_equal(look.server, number_of_mount(fixture, "pid"));
	assert_int_equal(look.keeper, look.server);
	assert_int_equal(look.holder_count, 1);
	assert_int_equal(look.holders[0].opener, getpid());
	assert_int_equal(look.holders[0].presence, RELOCK_PRESENT);
	assert_int_equal(look.queue_length, 2);
	assert_int_equal(look.waiter_count, 2);
	assert_int_equal(look.waiters[0], waiters[0].peer.pid);
	assert_int_equal(look.waiters[1], waiters[1].peer.pid);
	uint64_t changes = look.changes;
	/* The next page, and one behind the end. */
	assert_int_equal(ask(fixture, "a", 1), 0);
	assert_int_equal(look.changes, changes);
	assert_int_equal(look.queue_length, 2);
	assert_int_equal(look.waiter_count, 1);
	assert_int_equal(look.waiters[0], waiters[1].peer.pid);
	assert_int_equal(ask(fixture, "a", 2), 0);
	assert_int_equal(look.waiter_count, 0);
	peer_kill(&waiters[0].peer);
	await_waiters(fixture, "a", 1);
	assert_int_equal(ask(fixture, "a", 0), 0);
	assert_int_not_equal(look.changes, changes);
	peer_kill(&waiters[1].peer);
	close(fd);
}

static void who_may_not_see_is_told_nothing(void **state)
{
	struct fixture *fixture = *state;

	/* The others may acquire, and not see. */
	fixture_mount_with(fixture, "mode=0622");
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);
	int root = open(fixture->daemon.mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(root >= 0);
	memset(&look, 0, sizeof look);
	strcpy(look.name, "a");
	assert_int_equal(seteuid(12345), 0);
	int error = ioctl(root, MOUNT_LOOK, &look) < 0 ? errno : 0;
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(error, EACCES);
	assert_int_equal(ioctl(root, MOUNT_LOOK, &look), 0);
	close(root);
	close(fd);
}

static void nonsense_is_refused(void **state)
{
	const struct fixture *fixture = *state;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);
	int root = open(fixture->daemon.mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(root >= 0);
	memset(&look, 'a', sizeof look);
	assert_int_equal(ioctl(root, MOUNT_LOOK, &look), -1);
	assert_int_equal(errno, ENOTTY);
	memset(&look, 0, sizeof look);
	strcpy(look.name, "a");
	/* The same question of another size, and on a lock's file. */
	assert_int_equal(ioctl(root, _IOWR('k', 0x4d, struct mount_look_holder), &look), -1);
	assert_int_equal(errno, ENOTTY);
	assert_int_equal(ioctl(fd, MOUNT_LOOK, &look), -1);
	assert_int_equal(errno, ENOTTY);
	close(root);
	close(fd);
}

static void a_successor_tells_the_same(void **state)
{
	struct fixture *fixture = *state;
	struct opener waiter;

	fixture_mount_with(fixture, "supervise");
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);
	opener_start(&waiter, fixture, "a", O_WRONLY | O_CREAT);
	await_waiters(fixture, "a", 1);
	kill_server(fixture);
	await_waiters(fixture, "a", 1);
	assert_int_equal(ask(fixture, "a", 0), 0);
	assert_int_equal(look.keeper, fixture->daemon.pid);
	assert_int_equal(look.server, number_of_mount(fixture, "pid"));
	assert_int_equal(look.holders[0].opener, getpid());
	assert_int_equal(look.waiters[0], waiter.peer.pid);
	peer_kill(&waiter.peer);
	close(fd);
}

#define tell_test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		tell_test(nothing_is_told_of_a_free_lock),  tell_test(holder_and_queue_are_told),
		tell_test(who_may_not_see_is_told_nothing), tell_test(nonsense_is_refused),
		tell_test(a_successor_tells_the_same),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
