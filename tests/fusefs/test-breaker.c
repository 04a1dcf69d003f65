/*
 * Row 11 of the contract, `rm` breaks: whose doing that was.  The record names who
 * has asked for it, however long the way to the holder is.
 */
#include "fixture.h"

#include <ask-mount.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

/* A process of another user that has the lock by the library, and then is the one
 * that breaks it through a mount. */
struct outsider {
	const char *store_url, *path;
};
enum { JANITOR = 12345 };

static int outside_main(struct peer *self, void *argument)
{
	const struct outsider *outsider = argument;
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_store *store;
	relock_lock *lock;

	if (setresuid(JANITOR, JANITOR, JANITOR) < 0 || prctl(PR_SET_NAME, "janitor") < 0 ||
	    relock_store_open(&store, outsider->store_url) < 0 ||
	    relock_lock_open(&lock, store, "backup") < 0 || relock_acquire(lock, &request) < 0)
		return 1;
	peer_say(self, 0);
	peer_hear(self);
	peer_say(self, unlink(outsider->path) < 0 ? errno : 0);
	peer_say(self, relock_check(lock));
	return 0;
}

static int remover_main(struct peer *self, void *argument)
{
	const struct outsider *outsider = argument;

	if (setresuid(JANITOR, JANITOR, JANITOR) < 0 || prctl(PR_SET_NAME, "janitor") < 0)
		return 1;
	peer_say(self, unlink(outsider->path) < 0 ? errno : 0);
	return 0;
}

static void assert_broken_by(const struct fixture *fixture, pid_t pid)
{
	struct relock_status *status = NULL;

	assert_int_equal(relock_status(fixture->store, "backup", &status), 0);
	assert_int_equal(status->last_end, RELOCK_END_BROKEN);
	assert_int_equal(status->broken_by_pid, pid);
	assert_int_equal(status->broken_by_uid, JANITOR);
	assert_string_equal(status->broken_by_command, "janitor");
	relock_status_free(status);
}

static void rm_of_an_outside_hold_is_its_senders_doing(void **state)
{
	const struct fixture *fixture = *state;
	struct outsider outsider = {fixture->store_url, lock_path(fixture, "backup")};
	char store[PATH_MAX];

	snprintf(store, sizeof store, "%s/store", fixture->folder);
	assert_int_equal(chmod(store, 01777), 0);
	struct peer peer = peer_start(outside_main, &outsider);
	const pid_t pid = peer.pid;
	assert_int_equal(peer_hear(&peer), 0);
	peer_say(&peer, 0);
	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(peer_hear(&peer), -ESTALE);
	assert_int_equal(peer_reap(&peer), 0);
	assert_broken_by(fixture, pid);
}

/* The second mount's daemon asks the first one's. */
static void rm_in_another_mount_is_its_senders_doing(void **state)
{
	struct fixture *fixture = *state;
	struct outsider outsider = {.store_url = fixture->store_url};
	char path[PATH_MAX];

	fixture_start_second(fixture);
	assert_int_equal(seteuid(JANITOR), 0);
	int fd = open_lock(fixture, "backup", O_WRONLY | O_CREAT);
	assert_int_equal(seteuid(0), 0);
	snprintf(path, sizeof path, "%s/backup", fixture->second.mountpoint);
	outsider.path = path;
	struct peer peer = peer_start(remover_main, &outsider);
	const pid_t pid = peer.pid;
	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(peer_reap(&peer), 0);
	assert_int_equal(fsync(fd), -1);
	assert_int_equal(errno, ESTALE);
	close(fd);
	assert_broken_by(fixture, pid);
}

/* Who is not root may not say that somebody else wants it. */
static void the_ioctl_believes_no_other_user(void **state)
{
	const struct fixture *fixture = *state;
	struct mount_break what = {.name = "backup", .by_pid = 1, .by_command = "init"};
	int root = open(fixture->daemon.mountpoint, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	assert_true(root >= 0);
	assert_int_equal(prctl(PR_SET_NAME, "janitor"), 0);
	assert_int_equal(seteuid(JANITOR), 0);
	int fd = open_lock(fixture, "backup", O_WRONLY | O_CREAT);
	assert_int_equal(ioctl(root, MOUNT_BREAK, &what), 0);
	assert_int_equal(seteuid(0), 0);
	assert_broken_by(fixture, getpid());
	close(fd);
	close(root);
}

#define breaker_test(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		breaker_test(rm_of_an_outside_hold_is_its_senders_doing),
		breaker_test(rm_in_another_mount_is_its_senders_doing),
		breaker_test(the_ioctl_believes_no_other_user),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
