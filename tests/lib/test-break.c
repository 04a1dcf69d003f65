/*
 * Force release: of live holders, of holds made for somebody else, and what
 * the former holder learns.
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Holds, hears, tells what check and release say. */
static int hold_and_tell(struct peer *self, void *argument)
{
	const struct holding *holding = argument;
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = handle(holding->fixture, holding->name);

	request.mode = holding->mode;
	peer_say(self, relock_acquire(lock, &request));
	peer_hear(self);
	peer_say(self, relock_check(lock));
	peer_say(self, relock_release(lock));
	relock_lock_close(lock);
	return 0;
}

static void break_frees_the_lock_of_a_live_holder(void **state)
{
	const struct fixture *fixture = *state;
	struct holding holding = {*state, "demo", RELOCK_EXCLUSIVE};
	struct peer peer = peer_start(hold_and_tell, &holding);
	struct relock_status *broken = NULL;

	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	assert_int_equal(relock_break(fixture->store, "demo", &broken), 0);
	assert_int_equal(broken->holders[0].pid, peer.pid);
	relock_status_free(broken);
	assert_string_equal(state_of(*state, "demo", "state"), "free");
	assert_non_null(state_of(*state, "demo", "broken-by"));
	assert_int_equal(atoi(state_of(*state, "demo", "broken-by") + 4), getpid());
	/* It was not ended, and learns of it. */
	peer_say(&peer, 0);
	assert_int_equal(peer_hear(&peer), -ESTALE);
	/* The check has told: the handle holds nothing now. */
	assert_int_equal(peer_hear(&peer), -ENOENT);
	assert_int_equal(peer_reap(&peer), 0);
}

static void release_of_a_broken_lock_is_estale(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(*state, "demo"), *next = handle(*state, "demo");
	uint64_t token;

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_break(fixture->store, "demo", NULL), 0);
	assert_int_equal(try_lock(next), 0);
	/* Of what it drew nobody knows whether that was before the next one did. */
	assert_int_equal(relock_token(lock, &token), -ESTALE);
	assert_int_equal(relock_token(next, &token), 0);
	assert_int_equal(relock_release(lock), -ESTALE);
	/* ... and has not touched the next holder, nor its record. */
	assert_int_equal(relock_check(next), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	assert_int_equal(atoi(state_of(*state, "demo", "pid")), getpid());
	assert_int_equal(relock_release(next), 0);
	assert_non_null(state_of(*state, "demo", "released"));
	/* The handle can be used again. */
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_release(lock), 0);
	relock_lock_close(lock);
	relock_lock_close(next);
}

static void acquire_after_a_break_tells_once(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_break(fixture->store, "demo", NULL), 0);
	assert_int_equal(relock_set_info(lock, "x", 1), -ESTALE);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_break(fixture->store, "demo", NULL), 0);
	assert_int_equal(try_lock(lock), -ESTALE);
	assert_int_equal(try_lock(lock), 0);
	relock_lock_close(lock);
}

static int wait_for_it(struct peer *self, void *argument)
{
	relock_lock *lock = handle(argument, "demo");

	peer_say(self, lock_within(lock, 20 * RELOCK_SECOND));
	relock_lock_close(lock);
	return 0;
}

static void break_wakes_the_waiter(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(try_lock(lock), 0);
	struct peer peer = peer_start(wait_for_it, *state);
	wait_until_blocked(peer.pid, wait_syscall(fixture));
	assert_int_equal(relock_break(fixture->store, "demo", NULL), 0);
	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(peer_reap(&peer), 0);
	assert_int_equal(relock_release(lock), -ESTALE);
	relock_lock_close(lock);
}

static void break_takes_it_from_all_shared_holders(void **state)
{
	const struct fixture *fixture = *state;
	struct holding holding = {*state, "demo", RELOCK_SHARED};
	struct peer peers[3];

	for (int i = 0; i < 3; i++) {
		peers[i] = peer_start(hold_and_tell, &holding);
		assert_int_equal(peer_hear(&peers[i]), 0);
	}
	assert_int_equal(relock_break(fixture->store, "demo", NULL), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
	for (int i = 0; i < 3; i++) {
		peer_say(&peers[i], 0);
		assert_int_equal(peer_hear(&peers[i]), -ESTALE);
		assert_int_equal(peer_hear(&peers[i]), -ENOENT);
		assert_int_equal(peer_reap(&peers[i]), 0);
	}
}

static void break_of_a_free_lock_is_enoent(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(relock_break(fixture->store, "demo", NULL), -ENOENT);
	assert_string_not_equal(relock_error_message(), "");
}

/* A program that knows nothing of us holds the lock: `flock --fcntl`, or
 * flock(1). */
static int hold_by_oneself(struct peer *self, void *argument)
{
	const struct fixture *fixture = argument;
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = open(path_of(fixture, "demo"), O_RDWR | O_CREAT | O_CLOEXEC, 0666);

	if (strncmp(fixture->url, "ofd:", 4) == 0 ? fcntl(fd, F_OFD_SETLK, &whole) < 0
						  : flock(fd, LOCK_EX) < 0)
		return 1;
	peer_say(self, fcntl(fd, F_GETFL) & O_APPEND);
	peer_hear(self);
	/* Its writes are as they were. */
	peer_say(self, fcntl(fd, F_GETFL) & O_APPEND);
	return 0;
}

static void break_takes_it_from_any_program(void **state)
{
	const struct fixture *fixture = *state;
	struct peer peer = peer_start(hold_by_oneself, *state);

	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	assert_int_equal(atoi(state_of(*state, "demo", "pid")), peer.pid);
	assert_int_equal(relock_break(fixture->store, "demo", NULL), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
	peer_say(&peer, 0);
	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(peer_reap(&peer), 0);
}

static int hold_a_legacy_lock(struct peer *self, void *argument)
{
	struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
	int fd = open(path_of(argument, "demo"), O_RDWR | O_CREAT | O_CLOEXEC, 0666);

	peer_say(self, fcntl(fd, F_SETLK, &whole));
	peer_hear(self);
	return 0;
}

static void break_of_a_legacy_lock_says_why_not(void **state)
{
	const struct fixture *fixture = *state;
	struct peer peer = peer_start(hold_a_legacy_lock, *state);

	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	assert_int_equal(relock_break(fixture->store, "demo", NULL), -EOPNOTSUPP);
	assert_non_null(strstr(relock_error_message(), "legacy record lock"));
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	peer_kill(&peer);
}

/* The holder's child has the description, too, and lives longer. */
static int inherit_and_die(struct peer *self, void *argument)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = handle(argument, "demo");

	request.flags = RELOCK_INHERIT;
	if (relock_acquire(lock, &request) < 0)
		return 1;
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, 0);
		peer_say(self, (int)getpid());
		peer_hear(self);
		_exit(0);
	}
	peer_hear(self);
	_exit(0);
}

static void break_takes_it_from_a_child_that_inherited_it(void **state)
{
	const struct fixture *fixture = *state;
	struct peer peer = peer_start(inherit_and_die, *state);
	int child = peer_hear(&peer);

	kill(peer.pid, SIGKILL);
	/* Reap without closing the socket: the child still listens on it. */
	int fd = peer.fd;
	peer.fd = dup(fd);
	peer_reap(&peer);
	/* The record's process is gone; the child is who holds it. */
	assert_string_equal(state_of(*state, "demo", "state"), "held");
	assert_int_equal(atoi(state_of(*state, "demo", "pid")), child);
	assert_int_equal(relock_break(fixture->store, "demo", NULL), 0);
	assert_non_null(state_of(*state, "demo", "broken-by"));
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
	close(fd);
}

/* Without rights over the holder: EPERM, and it is named. */
struct unprivileged {
	const struct fixture *fixture;
	pid_t holder;
};

static int break_as_nobody(struct peer *self, void *argument)
{
	const struct unprivileged *unprivileged = argument;
	struct relock_status *status = NULL;

	if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
		return 1;
	peer_say(self, relock_break(unprivileged->fixture->store, "demo", &status));
	peer_say(self, status && status->holder_count == 1 ? status->holders[0].pid : 0);
	peer_say(self, strstr(relock_error_message(), "demo") != NULL);
	relock_status_free(status);
	return 0;
}

static void break_without_rights_is_eperm_and_names_the_holder(void **state)
{
	const struct fixture *fixture = *state;
	struct unprivileged unprivileged = {fixture, getpid()};
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(chmod(fixture->folder, 01777), 0);
	assert_int_equal(try_lock(lock), 0);
	struct peer peer = peer_start(break_as_nobody, &unprivileged);
	assert_int_equal(peer_hear(&peer), -EPERM);
	assert_int_equal(peer_hear(&peer), getpid());
	assert_int_equal(peer_hear(&peer), 1);
	assert_int_equal(peer_reap(&peer), 0);
	assert_int_equal(relock_release(lock), 0);
	relock_lock_close(lock);
}

/* A hold of `relock get`: asked by SIGTERM, not taken. */
static int hold_like_get(struct peer *self, void *argument)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	struct relock_on_behalf behalf = {.via = RELOCK_VIA_GET, .pid = getpid()};
	relock_lock *lock = handle(argument, "demo");
	sigset_t mask;
	int number = 0;

	sigemptyset(&mask);
	sigaddset(&mask, SIGTERM);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	prctl(PR_SET_NAME, "relock get"); /* as the command's holder does */
	request.on_behalf = &behalf;
	peer_say(self, relock_acquire(lock, &request));
	sigwait(&mask, &number);
	int result = relock_release(lock);
	relock_lock_close(lock);
	return -result;
}

static void unget_asks_the_background_holder(void **state)
{
	struct peer peer = peer_start(hold_like_get, *state);
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(peer_hear(&peer), 0);
	assert_non_null(strstr(state_of(*state, "demo", "via"), "relock get"));
	assert_int_equal(relock_unget(lock, NULL), 0);
	assert_int_equal(peer_reap(&peer), 0);
	assert_string_equal(state_of(*state, "demo", "state"), "free");
	assert_int_equal(relock_unget(lock, NULL), -ENOENT);
	relock_lock_close(lock);
}

static void break_asks_the_background_holder(void **state)
{
	const struct fixture *fixture = *state;
	struct peer peer = peer_start(hold_like_get, *state);

	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(relock_break(fixture->store, "demo", NULL), 0);
	assert_int_equal(peer_reap(&peer), 0); /* released by itself */
	assert_non_null(state_of(*state, "demo", "released"));
}

static void unget_of_another_hold_is_eperm(void **state)
{
	relock_lock *holder = handle(*state, "demo"), *lock = handle(*state, "demo");
	struct relock_status *status = NULL;

	assert_int_equal(try_lock(holder), 0);
	assert_int_equal(relock_unget(lock, &status), -EPERM);
	assert_int_equal(status->holders[0].pid, getpid());
	assert_non_null(strstr(relock_error_message(), "--force"));
	relock_status_free(status);
	assert_int_equal(relock_check(holder), 0);
	relock_lock_close(holder);
	relock_lock_close(lock);
}

/* Who holds for others says so when it gives back because it was asked. */
static void holder_records_who_broke_it(void **state)
{
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(relock_mark_broken(lock, 4711, 65534, "rm"), -ENOENT);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_mark_broken(lock, 4711, 65534, "rm"), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	assert_int_equal(relock_release(lock), 0);
	assert_non_null(strstr(state_of(*state, "demo", "broken-by"), "pid 4711, user "));
	/* The next hold ends as it does. */
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_release(lock), 0);
	assert_non_null(state_of(*state, "demo", "released"));
	relock_lock_close(lock);
}

/* A record may name anything as its mount; what is no relockfs is left alone.
 * (With a true mount: tests/fusefs.) */
static void break_removes_nothing_but_in_a_mount(void **state)
{
	const struct fixture *fixture = *state;
	struct relock_request request = RELOCK_REQUEST_INIT;
	char folder[] = "/tmp/relock-test-mount-XXXXXX", name[64];
	assert_non_null(mkdtemp(folder));
	struct relock_on_behalf behalf = {.via = RELOCK_VIA_MOUNT, .pid = getpid(), .path = folder};
	relock_lock *lock = handle(*state, "demo");

	snprintf(name, sizeof name, "%s/demo", folder);
	close(open(name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	request.on_behalf = &behalf;
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_int_equal(relock_break(fixture->store, "demo", NULL), -EPERM);
	assert_int_equal(unlink(name), 0); /* it was there */
	/* Never behind its back. */
	assert_int_equal(relock_check(lock), 0);
	relock_lock_close(lock);
	rmdir(folder);
}

/* Nor is a signal sent to one whom a record only calls a holder of `relock get`. */
static void unget_signals_nobody_but_relock_get(void **state)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	struct relock_on_behalf behalf = {.via = RELOCK_VIA_GET, .pid = getpid()};
	relock_lock *holder = handle(*state, "demo"), *lock = handle(*state, "demo");

	request.on_behalf = &behalf;
	assert_int_equal(relock_acquire(holder, &request), 0);
	assert_int_equal(relock_unget(lock, NULL), -EPERM); /* and we live */
	request.on_behalf = &(struct relock_on_behalf){.via = (enum relock_via)7};
	assert_int_equal(relock_acquire(lock, &request), -EINVAL);
	relock_lock_close(holder);
	relock_lock_close(lock);
}

static void break_of_a_path_with_a_dot(void **state)
{
	relock_lock *lock = NULL, *other = NULL;

	assert_int_equal(relock_lock_open_path(&lock, NULL, path_of(*state, ".dot")), 0);
	assert_int_equal(relock_lock_open_path(&other, NULL, path_of(*state, ".dot")), 0);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_lock_break(other, NULL), 0);
	assert_int_equal(relock_release(lock), -ESTALE);
	relock_lock_close(lock);
	relock_lock_close(other);
}

#define BOTH(f) test_ofd(f), test_flock(f)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(break_frees_the_lock_of_a_live_holder),
		BOTH(release_of_a_broken_lock_is_estale),
		BOTH(acquire_after_a_break_tells_once),
		BOTH(break_wakes_the_waiter),
		BOTH(break_takes_it_from_all_shared_holders),
		BOTH(break_of_a_free_lock_is_enoent),
		BOTH(break_takes_it_from_any_program),
		test_ofd(break_of_a_legacy_lock_says_why_not),
		BOTH(break_takes_it_from_a_child_that_inherited_it),
		BOTH(break_without_rights_is_eperm_and_names_the_holder),
		BOTH(unget_asks_the_background_holder),
		BOTH(break_asks_the_background_holder),
		BOTH(unget_of_another_hold_is_eperm),
		BOTH(holder_records_who_broke_it),
		BOTH(break_removes_nothing_but_in_a_mount),
		BOTH(unget_signals_nobody_but_relock_get),
		test_ofd(break_of_a_path_with_a_dot),
		test_sem(break_frees_the_lock_of_a_live_holder),
		test_sem(release_of_a_broken_lock_is_estale),
		test_sem(acquire_after_a_break_tells_once),
		test_sem(break_wakes_the_waiter),
		test_sem(break_of_a_free_lock_is_enoent),
		test_sem(unget_asks_the_background_holder),
		test_sem(break_asks_the_background_holder),
		test_sem(unget_of_another_hold_is_eperm),
		test_sem(holder_records_who_broke_it),
		test_sem(unget_signals_nobody_but_relock_get),
		test_link(break_frees_the_lock_of_a_live_holder),
		test_link(release_of_a_broken_lock_is_estale),
		test_link(break_of_a_free_lock_is_enoent),
		test_link(unget_of_another_hold_is_eperm),
		test_nfslock(break_frees_the_lock_of_a_live_holder),
		test_nfslock(release_of_a_broken_lock_is_estale),
		test_nfslock(break_of_a_free_lock_is_enoent),
		test_nfslock(unget_of_another_hold_is_eperm),
	};

	return cmocka_run_group_tests_name("break", tests, NULL, NULL);
}
