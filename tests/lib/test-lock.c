/*
 * "What a lock does", on both stores: modes, handles, release, info, token,
 * status.
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void exclusive_excludes_both_modes(void **state)
{
	relock_lock *a = handle(*state, "demo"), *b = handle(*state, "demo");

	assert_int_equal(try_lock(a), 0);
	assert_int_equal(try_lock(b), -EAGAIN);
	assert_int_equal(try_shared(b), -EAGAIN);
	assert_int_equal(relock_release(a), 0);
	assert_int_equal(try_lock(b), 0);
	relock_lock_close(a);
	relock_lock_close(b);
}

static void shared_admits_shared_only(void **state)
{
	relock_lock *a = handle(*state, "demo"), *b = handle(*state, "demo"),
		    *c = handle(*state, "demo");

	assert_int_equal(try_shared(a), 0);
	assert_int_equal(try_shared(b), 0);
	assert_int_equal(try_lock(c), -EAGAIN);
	assert_int_equal(relock_release(a), 0);
	assert_int_equal(try_lock(c), -EAGAIN);
	assert_int_equal(relock_release(b), 0);
	assert_int_equal(try_lock(c), 0);
	relock_lock_close(a);
	relock_lock_close(b);
	relock_lock_close(c);
}

static void names_do_not_touch_each_other(void **state)
{
	relock_lock *a = handle(*state, "one"), *b = handle(*state, "two");

	assert_int_equal(try_lock(a), 0);
	assert_int_equal(try_lock(b), 0);
	relock_lock_close(a);
	relock_lock_close(b);
}

static void acquire_again_is_ealready_or_fine(void **state)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_int_equal(relock_acquire(lock, &request), -EALREADY);
	request.flags = RELOCK_SAME_HOLDER_OK;
	assert_int_equal(relock_acquire(lock, &request), 0);
	/* One hold, one release. */
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(relock_release(lock), -ENOENT);
	relock_lock_close(lock);
}

static void release_says_which_it_was(void **state)
{
	relock_lock *a = handle(*state, "demo"), *b = handle(*state, "demo");

	assert_int_equal(relock_release(a), -ENOENT);
	assert_string_not_equal(relock_error_message(), "");
	assert_int_equal(try_lock(b), 0);
	assert_int_equal(relock_release(a), -EPERM);
	/* ... and changed nothing. */
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	assert_int_equal(relock_check(b), 0);
	relock_lock_close(a);
	relock_lock_close(b);
}

static void close_releases(void **state)
{
	relock_lock *a = handle(*state, "demo");

	assert_int_equal(try_lock(a), 0);
	relock_lock_close(a);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
}

static void killed_holder_frees_at_once(void **state)
{
	struct holding holding = {*state, "demo", RELOCK_EXCLUSIVE};
	struct peer peer = peer_start(hold_until_told, &holding);
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(peer_hear(&peer), 1);
	assert_int_equal(try_lock(lock), -EAGAIN);
	peer_kill(&peer);
	assert_int_equal(try_lock(lock), 0);
	assert_string_equal(state_of(*state, "demo", "state"), "held");
	relock_lock_close(lock);
}

static void death_is_told_in_the_history(void **state)
{
	struct holding holding = {*state, "demo", RELOCK_EXCLUSIVE};
	struct peer peer = peer_start(hold_until_told, &holding);
	pid_t pid = peer.pid;

	assert_int_equal(peer_hear(&peer), 1);
	peer_kill(&peer);
	/* The record says held; the kernel says free, and is the truth. */
	assert_string_equal(state_of(*state, "demo", "state"), "free");
	assert_int_equal(atoi(state_of(*state, "demo", "last-pid")), pid);
	assert_non_null(state_of(*state, "demo", "died"));
	assert_null(state_of(*state, "demo", "released"));
}

static void downgrade_lets_readers_in(void **state)
{
	relock_lock *a = handle(*state, "demo"), *b = handle(*state, "demo");

	assert_int_equal(try_lock(a), 0);
	assert_int_equal(relock_convert(a, RELOCK_SHARED, 0), 0);
	assert_int_equal(try_shared(b), 0);
	assert_string_equal(state_of(*state, "demo", "mode"), "shared");
	relock_lock_close(a);
	relock_lock_close(b);
}

static void upgrade_waits_for_the_other_readers(void **state)
{
	relock_lock *a = handle(*state, "demo"), *b = handle(*state, "demo");

	assert_int_equal(try_shared(a), 0);
	assert_int_equal(try_shared(b), 0);
	assert_int_equal(relock_convert(a, RELOCK_EXCLUSIVE, 0), -EAGAIN);
	assert_int_equal(relock_convert(a, RELOCK_EXCLUSIVE, 20 * RELOCK_MILLISECOND), -ETIMEDOUT);
	/* After an error it is held in the mode it had. */
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	assert_int_equal(relock_release(b), 0);
	assert_int_equal(try_shared(b), 0);
	assert_int_equal(relock_release(b), 0);
	assert_int_equal(relock_convert(a, RELOCK_EXCLUSIVE, 0), 0);
	assert_int_equal(try_shared(b), -EAGAIN);
	assert_string_equal(state_of(*state, "demo", "mode"), "exclusive");
	relock_lock_close(a);
	relock_lock_close(b);
}

static void info_is_shown_and_kept_as_history(void **state)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = handle(*state, "demo");

	request.info = "nightly";
	request.info_length = 7;
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_string_equal(state_of(*state, "demo", "info"), "nightly");
	assert_int_equal(relock_set_info(lock, "half way", 8), 0);
	assert_string_equal(state_of(*state, "demo", "info"), "half way");
	assert_int_equal(relock_release(lock), 0);
	assert_string_equal(state_of(*state, "demo", "state"), "free");
	assert_null(state_of(*state, "demo", "info"));
	assert_string_equal(state_of(*state, "demo", "last-info"), "half way");
	assert_non_null(state_of(*state, "demo", "released"));
	/* The next hold starts without. */
	assert_int_equal(try_lock(lock), 0);
	assert_null(state_of(*state, "demo", "info"));
	relock_lock_close(lock);
}

static void info_has_4096_bytes_and_not_one_more(void **state)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = handle(*state, "demo");
	char text[4097];

	memset(text, 'x', sizeof text);
	request.info = text;
	request.info_length = 4097;
	assert_int_equal(relock_acquire(lock, &request), -EFBIG);
	assert_string_not_equal(relock_error_message(), "");
	request.info_length = 4096;
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_int_equal(strlen(state_of(*state, "demo", "info")), 4096);
	assert_int_equal(relock_set_info(lock, text, 4097), -EFBIG);
	assert_int_equal(strlen(state_of(*state, "demo", "info")), 4096);
	assert_int_equal(relock_set_info(lock, text, 4096), 0);
	assert_int_equal(relock_set_info(lock, "", 0), 0);
	assert_null(state_of(*state, "demo", "info"));
	relock_lock_close(lock);
}

static void info_is_shown_escaped(void **state)
{
	static const char text[] = "a\nb\0c\x1b[31m\xff\xc3\xa4\\\t\xe2\x80\xae";
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = handle(*state, "demo");
	struct relock_status *status = NULL;

	request.info = text;
	request.info_length = sizeof text - 1;
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_string_equal(state_of(*state, "demo", "info"),
			    "a\\nb\\x00c\\x1b[31m\\xff\xc3\xa4\\\\\\t\\xe2\\x80\\xae");
	/* For a program, the bytes are as they were. */
	assert_int_equal(relock_lock_status(lock, &status), 0);
	assert_int_equal(status->holders[0].info_length, sizeof text - 1);
	assert_memory_equal(status->holders[0].info, text, sizeof text - 1);
	relock_status_free(status);
	relock_lock_close(lock);
}

static uint64_t token_of(relock_lock *lock)
{
	uint64_t token = 0;

	assert_int_equal(relock_token(lock, &token), 0);
	return token;
}

static void token_grows_with_each_exclusive_grant(void **state)
{
	relock_lock *a = handle(*state, "demo"), *b = handle(*state, "demo");
	struct timespec now;
	uint64_t last = 0, token;

	clock_gettime(CLOCK_REALTIME, &now);
	assert_int_equal(relock_token(a, &token), -ENOENT);
	for (int i = 0; i < 100; i++) {
		relock_lock *lock = i % 3 ? a : b;
		assert_int_equal(try_lock(lock), 0);
		assert_true(token_of(lock) > last);
		last = token_of(lock);
		assert_int_equal(relock_release(lock), 0);
	}
	/* Microseconds since the epoch, so it survives a loss of the store. */
	assert_in_range(last, (uint64_t)now.tv_sec * 1000000,
			((uint64_t)now.tv_sec + 60) * 1000000);
	assert_int_equal(try_shared(a), 0);
	assert_int_equal(relock_token(a, &token), -ENODATA);
	relock_lock_close(a);
	relock_lock_close(b);
}

static void token_grows_across_crashes_and_shared_holds(void **state)
{
	struct holding holding = {*state, "demo", RELOCK_EXCLUSIVE};
	struct peer peer = peer_start(hold_until_told, &holding);
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(peer_hear(&peer), 1);
	uint64_t last = strtoull(state_of(*state, "demo", "token"), NULL, 10);
	peer_kill(&peer);
	assert_int_equal(try_shared(lock), 0);
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(try_lock(lock), 0);
	assert_true(token_of(lock) > last);
	relock_lock_close(lock);
}

static void token_ahead_of_the_clock_goes_on_by_one(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	const uint64_t ahead = (UINT64_C(1) << 62), garbage = (UINT64_C(1) << 63) + 1;
	int fd;

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_release(lock), 0);
	fd = open(path_of(*state, "demo"), O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, &ahead, 8, 8), 8);
	assert_int_equal(try_lock(lock), 0);
	assert_true(token_of(lock) == ahead + 1);
	assert_int_equal(relock_release(lock), 0);
	/* Beyond 2^63 it counts as garbage. */
	assert_int_equal(pwrite(fd, &garbage, 8, 8), 8);
	assert_int_equal(try_lock(lock), 0);
	assert_true(token_of(lock) < ahead);
	close(fd);
	relock_lock_close(lock);
}

static void status_names_the_holder(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	struct relock_status *status = NULL;
	char host[256];

	gethostname(host, sizeof host);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_lock_status(lock, &status), 0);
	assert_string_equal(status->name, "demo");
	assert_int_equal(status->state, RELOCK_HELD);
	assert_int_equal(status->mode, RELOCK_EXCLUSIVE);
	assert_int_equal(status->holder_count, 1);
	assert_int_equal(status->holders[0].pid, getpid());
	assert_int_equal(status->holders[0].uid, geteuid());
	assert_string_equal(status->holders[0].host, host);
	assert_true(status->holders[0].start_time > 0);
	assert_true(status->holders[0].started > 0);
	assert_true(status->holders[0].started <= status->holders[0].since);
	assert_true(status->holders[0].since <= status->now);
	assert_non_null(strstr(status->holders[0].command, "test-lock"));
	assert_true(status->holders[0].token == token_of(lock));
	relock_status_free(status);
	relock_lock_close(lock);
}

static void check_ours(relock_lock *lock, int expected)
{
	struct relock_status *status = NULL;

	assert_int_equal(relock_lock_status(lock, &status), 0);
	assert_int_equal(status->state, RELOCK_HELD);
	assert_int_equal(status->ours, expected);
	relock_status_free(status);
}

static void status_tells_whether_it_is_ours(void **state)
{
	struct holding holding = {*state, "demo", RELOCK_EXCLUSIVE};
	relock_lock *lock = handle(*state, "demo"), *other = handle(*state, "demo");

	assert_int_equal(try_lock(lock), 0);
	check_ours(other, 1);
	assert_int_equal(relock_release(lock), 0);
	struct peer peer = peer_start(hold_until_told, &holding);
	assert_int_equal(peer_hear(&peer), 1);
	check_ours(other, 0);
	peer_kill(&peer);
	relock_lock_close(other);
	relock_lock_close(lock);
}

static void status_names_every_shared_holder(void **state)
{
	struct holding holding = {*state, "demo", RELOCK_SHARED};
	struct peer peers[3];
	struct relock_status *status = NULL;
	size_t seen = 0;

	for (int i = 0; i < 3; i++) {
		peers[i] = peer_start(hold_until_told, &holding);
		assert_int_equal(peer_hear(&peers[i]), 1);
	}
	/* One leaves, and its slot is used again. */
	peer_kill(&peers[1]);
	peers[1] = peer_start(hold_until_told, &holding);
	assert_int_equal(peer_hear(&peers[1]), 1);
	relock_lock *lock = handle(*state, "demo");
	assert_int_equal(relock_lock_status(lock, &status), 0);
	assert_int_equal(status->mode, RELOCK_SHARED);
	assert_int_equal(status->holder_count, 3);
	for (size_t i = 0; i < 3; i++)
		for (size_t k = 0; k < 3; k++)
			seen += status->holders[i].pid == peers[k].pid;
	assert_int_equal(seen, 3);
	for (size_t i = 0; i < 3; i++)
		assert_true(status->holders[i].since > 0); /* each has a record */
	relock_status_free(status);
	for (int i = 0; i < 3; i++)
		peer_kill(&peers[i]);
	relock_lock_close(lock);
}

static void status_names_the_waiters(void **state)
{
	const struct fixture *fixture = *state;
	long number = wait_syscall(fixture);
	relock_lock *lock = handle(*state, "demo");
	struct relock_status *status = NULL;

	assert_int_equal(try_lock(lock), 0);
	struct peer peer = peer_start(wait_until_told, *state);
	wait_until_blocked(peer.pid, number);
	assert_int_equal(relock_lock_status(lock, &status), 0);
	assert_int_equal(status->waiter_count, 1);
	assert_int_equal(status->waiter_pid_count, 1);
	assert_int_equal(status->waiter_pids[0], peer.pid);
	relock_status_free(status);
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(peer_hear(&peer), 0);
	peer_say(&peer, 0);
	assert_int_equal(peer_reap(&peer), 0);
	relock_lock_close(lock);
}

/* A record's pid that another process has now is not the holder. */
static void recycled_pid_is_never_the_holder(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(*state, "demo");
	struct relock_status *status = NULL;

	assert_int_equal(try_lock(lock), 0);
	int other = open(path_of(*state, "demo"), O_RDWR | O_CLOEXEC);
	assert_int_equal(relock_status(fixture->store, "demo", &status), 0);
	assert_int_equal(status->holders[0].pid, getpid());
	relock_status_free(status);
	/* Another start time in the record: offset 40, see record.h.  The
	 * checksum does not fit any more either, as for any forged record. */
	const uint64_t wrong = 1;
	assert_int_equal(pwrite(other, &wrong, 8, 40), 8);
	assert_int_equal(relock_status(fixture->store, "demo", &status), 0);
	assert_int_equal(status->state, RELOCK_HELD);
	/* Found among the descriptors, without what only the record knew. */
	assert_int_equal(status->holder_count, 1);
	assert_int_equal(status->holders[0].pid, getpid());
	assert_true(status->holders[0].since == 0);
	relock_status_free(status);
	close(other);
	relock_lock_close(lock);
}

static void unknown_name_is_free(void **state)
{
	assert_string_equal(state_of(*state, "never", "state"), "free");
	assert_null(state_of(*state, "never", "last-pid"));
	assert_int_not_equal(access(path_of(*state, "never"), F_OK), 0);
}

static void looking_disturbs_nobody(void **state)
{
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_release(lock), 0);
	for (int i = 0; i < 50; i++) {
		state_of(*state, "demo", "state");
		assert_int_equal(try_lock(lock), 0);
		state_of(*state, "demo", "state");
		assert_int_equal(relock_release(lock), 0);
	}
	relock_lock_close(lock);
}

static void list_is_sorted_and_has_the_held(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *b = handle(*state, "b"), *a = handle(*state, "a"), *c = handle(*state, "c");
	struct relock_status **list = NULL;
	size_t count = 0;

	assert_int_equal(try_lock(b), 0);
	assert_int_equal(try_lock(a), 0);
	assert_int_equal(try_lock(c), 0);
	assert_int_equal(relock_release(c), 0);
	assert_int_equal(relock_list(fixture->store, 0, &list, &count), 0);
	assert_int_equal(count, 2);
	assert_string_equal(list[0]->name, "a");
	assert_string_equal(list[1]->name, "b");
	relock_list_free(list, count);
	assert_int_equal(relock_list(fixture->store, RELOCK_LIST_FREE, &list, &count), 0);
	assert_int_equal(count, 3);
	assert_int_equal(list[2]->state, RELOCK_FREE);
	relock_list_free(list, count);
	relock_lock_close(a);
	relock_lock_close(b);
	relock_lock_close(c);
}

static void prune_removes_old_free_files_only(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *held = handle(*state, "held"), *old = handle(*state, "old"),
		    *fresh = handle(*state, "fresh");
	const struct timespec past[2] = {{.tv_sec = 1000000}, {.tv_sec = 1000000}};
	size_t removed = 0;

	assert_int_equal(try_lock(held), 0);
	assert_int_equal(try_lock(old), 0);
	assert_int_equal(relock_release(old), 0);
	assert_int_equal(try_lock(fresh), 0);
	assert_int_equal(relock_release(fresh), 0);
	assert_int_equal(utimensat(AT_FDCWD, path_of(*state, "held"), past, 0), 0);
	assert_int_equal(utimensat(AT_FDCWD, path_of(*state, "old"), past, 0), 0);
	int empty = open(path_of(*state, "empty"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	close(empty);
	assert_int_equal(utimensat(AT_FDCWD, path_of(*state, "empty"), past, 0), 0);
	int foreign = open(path_of(*state, "foreign"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_int_equal(write(foreign, "my data", 7), 7);
	close(foreign);
	assert_int_equal(utimensat(AT_FDCWD, path_of(*state, "foreign"), past, 0), 0);
	assert_int_equal(relock_store_prune(fixture->store, RELOCK_HISTORY_AGE, &removed), 0);
	assert_int_equal(removed, 1);
	assert_int_not_equal(access(path_of(*state, "old"), F_OK), 0);
	assert_int_equal(access(path_of(*state, "held"), F_OK), 0);
	assert_int_equal(access(path_of(*state, "fresh"), F_OK), 0);
	assert_int_equal(access(path_of(*state, "foreign"), F_OK), 0);
	assert_int_equal(access(path_of(*state, "empty"), F_OK), 0);
	/* A handle that still has the removed file open locks the new one. */
	assert_int_equal(try_lock(old), 0);
	assert_int_equal(try_elsewhere(*state, "old"), -EAGAIN);
	assert_int_equal(relock_store_prune(fixture->store, -1, NULL), -EINVAL);
	relock_lock_close(held);
	relock_lock_close(old);
	relock_lock_close(fresh);
}

static void passing_on_keeps_the_lock_and_grows_the_token(void **state)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	struct relock_on_behalf behalf = {.via = RELOCK_VIA_MOUNT,
					  .pid = 1,
					  .uid = 12345,
					  .command = "somebody",
					  .path = "/locks"};
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(relock_pass(lock, &request), -ENOENT);
	assert_int_equal(try_lock(lock), 0);
	uint64_t token = token_of(lock);
	request.on_behalf = &behalf;
	assert_int_equal(relock_pass(lock, &request), 0);
	assert_true(token_of(lock) > token);
	assert_string_equal(state_of(*state, "demo", "pid"), "1");
	assert_string_equal(state_of(*state, "demo", "command"), "somebody");
	assert_string_equal(state_of(*state, "demo", "user"), "12345");
	assert_non_null(strstr(state_of(*state, "demo", "via"), "mount /locks"));
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	request.mode = RELOCK_SHARED;
	assert_int_equal(relock_pass(lock, &request), -EINVAL);
	relock_lock_close(lock);
}

/* Held for a process that is gone, or whose pid another has: no pid is shown. */
static void pid_of_a_dead_process_is_not_shown(void **state)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	struct relock_on_behalf behalf = {
		.via = RELOCK_VIA_MOUNT, .pid = getpid(), .start_time = 12345, .path = "/locks"};
	relock_lock *lock = handle(*state, "demo");

	request.on_behalf = &behalf;
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_string_equal(state_of(*state, "demo", "state"), "held");
	assert_null(state_of(*state, "demo", "pid"));
	assert_int_equal(relock_release(lock), 0);
	/* A start time that no clock can reach. */
	behalf.start_time = UINT64_C(1) << 60;
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_int_equal(relock_release(lock), 0);
	assert_null(state_of(*state, "demo", "last-started"));
	relock_lock_close(lock);
}

static void token_survives_a_hold_that_was_downgraded_and_passed_on(void **state)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	const uint64_t ahead = UINT64_C(1) << 62;
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_release(lock), 0);
	int fd = open(path_of(*state, "demo"), O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, &ahead, 8, 8), 8);
	close(fd);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_convert(lock, RELOCK_SHARED, 0), 0);
	request.mode = RELOCK_SHARED;
	request.info = "next";
	request.info_length = 4;
	assert_int_equal(relock_pass(lock, &request), 0);
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(try_lock(lock), 0);
	assert_true(token_of(lock) > ahead);
	relock_lock_close(lock);
}

static void bad_requests_are_refused(void **state)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = handle(*state, "demo");

	request.timeout = -2;
	assert_int_equal(relock_acquire(lock, &request), -EINVAL);
	request = (struct relock_request)RELOCK_REQUEST_INIT;
	request.mode = (enum relock_mode)7;
	assert_int_equal(relock_acquire(lock, &request), -EINVAL);
	request = (struct relock_request)RELOCK_REQUEST_INIT;
	request.flags = 0x8000;
	assert_int_equal(relock_acquire(lock, &request), -EINVAL);
	request = (struct relock_request){0};
	assert_int_equal(relock_acquire(lock, &request), -EINVAL);
	assert_string_not_equal(relock_error_message(), "");
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
	relock_lock_close(lock);
}

static void timeout_beyond_the_clock_waits_for_ever(void **state)
{
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(lock_within(lock, INT64_MAX), 0);
	relock_lock_close(lock);
}

/* Threads exclude each other by handles of their own. */
struct counting {
	const struct fixture *fixture;
	atomic_long *counter;
};

static void *count_under_lock(void *argument)
{
	struct counting *counting = argument;
	relock_lock *lock = handle(counting->fixture, "demo");

	for (int i = 0; i < 500; i++) {
		assert_int_equal(lock_within(lock, RELOCK_FOREVER), 0);
		/* Atomic, but not one operation: ThreadSanitizer does not know
		 * that a lock on a file orders what threads do. */
		long seen = atomic_load_explicit(counting->counter, memory_order_relaxed);
		sched_yield();
		atomic_store_explicit(counting->counter, seen + 1, memory_order_relaxed);
		assert_int_equal(relock_release(lock), 0);
	}
	relock_lock_close(lock);
	return NULL;
}

static void threads_exclude_each_other(void **state)
{
	atomic_long counter = 0;
	struct counting counting = {*state, &counter};
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, count_under_lock, &counting), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(counter, 2000);
}

/* One handle in many threads: each call gets a plain answer. */
static void *use_one_handle(void *argument)
{
	relock_lock *lock = argument;

	for (int i = 0; i < 300; i++) {
		int result = lock_within(lock, i % 3 ? 0 : RELOCK_MILLISECOND);
		assert_true(result == 0 || result == -EALREADY || result == -EBUSY);
		result = relock_set_info(lock, "x", 1);
		assert_true(result == 0 || result == -ENOENT || result == -EPERM ||
			    result == -EBUSY);
		result = relock_release(lock);
		assert_true(result == 0 || result == -ENOENT || result == -EPERM ||
			    result == -EBUSY);
	}
	return NULL;
}

static void one_handle_serves_many_threads(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, use_one_handle, lock), 0);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	relock_lock_close(lock);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
}

static void log_tells_what_it_does(void **state)
{
	extern void remember_line(const char *line, void *argument);
	char last[200] = "";
	relock_lock *lock = handle(*state, "demo");

	relock_set_log(remember_line, last);
	assert_int_equal(try_lock(lock), 0);
	assert_non_null(strstr(last, "demo"));
	assert_non_null(strstr(last, "granted"));
	relock_set_log(NULL, NULL);
	last[0] = '\0';
	assert_int_equal(relock_release(lock), 0);
	assert_string_equal(last, "");
	relock_lock_close(lock);
}

void remember_line(const char *line, void *argument);
void remember_line(const char *line, void *argument)
{
	char *last = argument;

	strncpy(last, line, 199);
}

/* The token is of the inode: other handles leave no descriptor behind. */
static void nothing_leaks(void **state)
{
	int before = count_descriptors();

	for (int i = 0; i < 20; i++) {
		relock_lock *lock = handle(*state, "demo"), *other = handle(*state, "demo");
		assert_int_equal(try_lock(lock), 0);
		assert_int_equal(try_lock(other), -EAGAIN);
		state_of(*state, "demo", "state");
		assert_int_equal(relock_release(lock), 0);
		relock_lock_close(lock);
		relock_lock_close(other);
	}
	assert_int_equal(count_descriptors(), before);
}

#define BOTH(f) test_ofd(f), test_flock(f)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(exclusive_excludes_both_modes),
		BOTH(shared_admits_shared_only),
		BOTH(names_do_not_touch_each_other),
		BOTH(acquire_again_is_ealready_or_fine),
		BOTH(release_says_which_it_was),
		BOTH(close_releases),
		BOTH(killed_holder_frees_at_once),
		BOTH(death_is_told_in_the_history),
		BOTH(downgrade_lets_readers_in),
		BOTH(upgrade_waits_for_the_other_readers),
		BOTH(info_is_shown_and_kept_as_history),
		BOTH(info_has_4096_bytes_and_not_one_more),
		BOTH(info_is_shown_escaped),
		BOTH(token_grows_with_each_exclusive_grant),
		BOTH(token_grows_across_crashes_and_shared_holds),
		BOTH(token_ahead_of_the_clock_goes_on_by_one),
		BOTH(status_names_the_holder),
		BOTH(status_tells_whether_it_is_ours),
		test_sem(status_tells_whether_it_is_ours),
		test_link(status_tells_whether_it_is_ours),
		test_nfslock(status_tells_whether_it_is_ours),
		BOTH(status_names_every_shared_holder),
		BOTH(status_names_the_waiters),
		BOTH(recycled_pid_is_never_the_holder),
		BOTH(unknown_name_is_free),
		BOTH(looking_disturbs_nobody),
		BOTH(list_is_sorted_and_has_the_held),
		BOTH(prune_removes_old_free_files_only),
		BOTH(passing_on_keeps_the_lock_and_grows_the_token),
		BOTH(pid_of_a_dead_process_is_not_shown),
		BOTH(token_survives_a_hold_that_was_downgraded_and_passed_on),
		BOTH(bad_requests_are_refused),
		BOTH(timeout_beyond_the_clock_waits_for_ever),
		BOTH(threads_exclude_each_other),
		BOTH(one_handle_serves_many_threads),
		BOTH(log_tells_what_it_does),
		BOTH(nothing_leaks),
		test_sem(names_do_not_touch_each_other),
		test_sem(acquire_again_is_ealready_or_fine),
		test_sem(release_says_which_it_was),
		test_sem(close_releases),
		test_sem(killed_holder_frees_at_once),
		test_sem(death_is_told_in_the_history),
		test_sem(info_is_shown_and_kept_as_history),
		test_sem(info_has_4096_bytes_and_not_one_more),
		test_sem(info_is_shown_escaped),
		test_sem(status_names_the_waiters),
		test_sem(unknown_name_is_free),
		test_sem(looking_disturbs_nobody),
		test_sem(list_is_sorted_and_has_the_held),
		test_sem(passing_on_keeps_the_lock_and_grows_the_token),
		test_sem(pid_of_a_dead_process_is_not_shown),
		test_sem(bad_requests_are_refused),
		test_sem(timeout_beyond_the_clock_waits_for_ever),
		test_sem(threads_exclude_each_other),
		test_sem(one_handle_serves_many_threads),
		test_sem(nothing_leaks),
		test_link(names_do_not_touch_each_other),
		test_link(acquire_again_is_ealready_or_fine),
		test_link(release_says_which_it_was),
		test_link(close_releases),
		test_link(killed_holder_frees_at_once),
		test_link(info_is_shown_and_kept_as_history),
		test_link(info_has_4096_bytes_and_not_one_more),
		test_link(info_is_shown_escaped),
		test_link(status_names_the_holder),
		test_link(unknown_name_is_free),
		test_link(timeout_beyond_the_clock_waits_for_ever),
		test_link(threads_exclude_each_other),
		test_link(log_tells_what_it_does),
		test_nfslock(names_do_not_touch_each_other),
		test_nfslock(acquire_again_is_ealready_or_fine),
		test_nfslock(release_says_which_it_was),
		test_nfslock(close_releases),
		test_nfslock(killed_holder_frees_at_once),
		test_nfslock(info_is_shown_and_kept_as_history),
		test_nfslock(info_has_4096_bytes_and_not_one_more),
		test_nfslock(info_is_shown_escaped),
		test_nfslock(status_names_the_holder),
		test_nfslock(unknown_name_is_free),
		test_nfslock(timeout_beyond_the_clock_waits_for_ever),
		test_nfslock(threads_exclude_each_other),
		test_nfslock(log_tells_what_it_does),
	};

	return cmocka_run_group_tests_name("lock", tests, NULL, NULL);
}
