/*
 * Is anybody waiting?  What a look leaves behind, for how long it counts, and that
 * it is never more than what was seen.
 */
#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Older than a test can become. */
static const int64_t ever = RELOCK_SECOND * 3600;

static void look_at(const struct fixture *fixture, const char *name)
{
	struct relock_status *status;

	assert_int_equal(relock_status(fixture->store, name, &status), 0);
	relock_status_free(status);
}

static relock_lock *held(const struct fixture *fixture, const char *name)
{
	relock_lock *lock = handle(fixture, name);

	assert_int_equal(try_lock(lock), 0);
	return lock;
}

struct wait {
	const struct fixture *fixture;
	const char *name;
	enum relock_mode mode;
};

static int wait_main(struct peer *self, void *argument)
{
	const struct wait *wait = argument;
	relock_lock *lock = handle(wait->fixture, wait->name);
	struct relock_request request = RELOCK_REQUEST_INIT;

	request.mode = wait->mode;
	int result = relock_acquire(lock, &request);
	relock_lock_close(lock);
	return result < 0;
}

static struct peer start_waiter(struct wait *wait, long number)
{
	struct peer peer = peer_start(wait_main, wait);

	wait_until_blocked(peer.pid, number);
	return peer;
}

static void nothing_is_known_without_a_look(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = held(fixture, "backup");

	assert_int_equal(relock_nobody_waits(lock, ever), -EAGAIN);
	assert_int_equal(relock_nobody_waits(lock, ever), -EAGAIN);
	look_at(fixture, "backup");
	assert_int_equal(relock_nobody_waits(lock, ever), 0);
	relock_lock_close(lock);
}

/* Who does not ask does not pay. */
static void nothing_is_kept_until_somebody_asks(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = held(fixture, "backup");

	look_at(fixture, "backup");
	assert_int_equal(relock_nobody_waits(lock, ever), -EAGAIN);
	relock_lock_close(lock);
}

static void what_is_too_old_does_not_count(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = held(fixture, "backup");
	struct timespec before, after;

	(void)relock_nobody_waits(lock, ever);
	clock_gettime(CLOCK_MONOTONIC, &before);
	look_at(fixture, "backup");
	assert_int_equal(relock_nobody_waits(lock, 0), -EAGAIN);
	assert_int_equal(relock_nobody_waits(lock, -1), -EAGAIN);
	/* The look was made since `before`, and is no older than that. */
	clock_gettime(CLOCK_MONOTONIC, &after);
	int64_t age =
		(after.tv_sec - before.tv_sec) * RELOCK_SECOND + after.tv_nsec - before.tv_nsec;
	assert_int_equal(relock_nobody_waits(lock, age + 20 * RELOCK_SECOND), 0);
	relock_lock_close(lock);
}

static void who_does_not_hold_learns_nothing(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = held(fixture, "backup");

	(void)relock_nobody_waits(lock, ever);
	look_at(fixture, "backup");
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(relock_nobody_waits(lock, ever), -ENOENT);
	relock_lock_close(lock);
}

static void check_waiter(const struct fixture *fixture, enum relock_mode mode, long number)
{
	relock_lock *lock = held(fixture, "backup");
	struct wait wait = {fixture, "backup", mode};

	(void)relock_nobody_waits(lock, ever);
	struct peer peer = start_waiter(&wait, number);
	look_at(fixture, "backup");
	assert_int_equal(relock_nobody_waits(lock, ever), -EAGAIN);
	/* It has left; the next look says so, and not before. */
	peer_kill(&peer);
	assert_int_equal(relock_nobody_waits(lock, ever), -EAGAIN);
	look_at(fixture, "backup");
	assert_int_equal(relock_nobody_waits(lock, ever), 0);
	/* One that comes after the look is known of after the next. */
	peer = start_waiter(&wait, number);
	assert_int_equal(relock_nobody_waits(lock, ever), 0);
	look_at(fixture, "backup");
	assert_int_equal(relock_nobody_waits(lock, ever), -EAGAIN);
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(peer_reap(&peer), 0);
	relock_lock_close(lock);
}

static void one_who_waits_is_somebody(void **state)
{
	check_waiter(*state, RELOCK_EXCLUSIVE, SYS_fcntl);
}

static void one_who_waits_to_share_is_somebody(void **state)
{
	check_waiter(*state, RELOCK_SHARED, SYS_fcntl);
}

static void one_who_waits_by_flock_is_somebody(void **state)
{
	check_waiter(*state, RELOCK_EXCLUSIVE, SYS_flock);
}

/* The list of the kernel is of all locks. */
static void a_look_at_another_lock_counts(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *backup = held(fixture, "backup"), *printer = held(fixture, "printer");
	struct wait wait = {fixture, "backup", RELOCK_EXCLUSIVE};

	(void)relock_nobody_waits(backup, ever);
	struct peer peer = start_waiter(&wait, SYS_fcntl);
	look_at(fixture, "printer");
	assert_int_equal(relock_nobody_waits(backup, ever), -EAGAIN);
	assert_int_equal(relock_nobody_waits(printer, ever), 0);
	peer_kill(&peer);
	look_at(fixture, "printer");
	assert_int_equal(relock_nobody_waits(backup, ever), 0);
	relock_lock_close(backup);
	relock_lock_close(printer);
}

/* A listing is a look at each; in a free lock there is nothing to be seen. */
static void a_listing_counts(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = held(fixture, "backup");
	struct relock_status **list;
	size_t count;

	(void)relock_nobody_waits(lock, ever);
	look_at(fixture, "free");
	assert_int_equal(relock_nobody_waits(lock, ever), -EAGAIN);
	assert_int_equal(relock_list(fixture->store, 0, &list, &count), 0);
	relock_list_free(list, count);
	assert_int_equal(count, 1);
	assert_int_equal(relock_nobody_waits(lock, ever), 0);
	relock_lock_close(lock);
}

struct looker {
	const struct fixture *fixture;
	pthread_t thread;
};

static void *look_main(void *argument)
{
	const struct looker *looker = argument;
	struct relock_status *status;

	for (int i = 0; i < 50; i++)
		if (relock_status(looker->fixture->store, "backup", &status) == 0)
			relock_status_free(status);
	return NULL;
}

static void looks_of_many_threads(void **state)
{
	enum { LOOKERS = 4 };
	const struct fixture *fixture = *state;
	relock_lock *lock = held(fixture, "backup");
	struct looker lookers[LOOKERS];

	(void)relock_nobody_waits(lock, ever);
	for (size_t i = 0; i < LOOKERS; i++) {
		lookers[i].fixture = fixture;
		assert_int_equal(pthread_create(&lookers[i].thread, NULL, look_main, &lookers[i]),
				 0);
	}
	for (int i = 0; i < 1000; i++) {
		int result = relock_nobody_waits(lock, ever);
		assert_true(result == 0 || result == -EAGAIN);
	}
	for (size_t i = 0; i < LOOKERS; i++)
		pthread_join(lookers[i].thread, NULL);
	assert_int_equal(relock_nobody_waits(lock, ever), 0);
	relock_lock_close(lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_ofd(nothing_is_known_without_a_look),
		test_ofd(nothing_is_kept_until_somebody_asks),
		test_ofd(what_is_too_old_does_not_count),
		test_ofd(who_does_not_hold_learns_nothing),
		test_ofd(one_who_waits_is_somebody),
		test_ofd(one_who_waits_to_share_is_somebody),
		test_flock(one_who_waits_by_flock_is_somebody),
		test_ofd(a_look_at_another_lock_counts),
		test_ofd(a_listing_counts),
		test_ofd(looks_of_many_threads),
	};

	return cmocka_run_group_tests_name("nobody-waits", tests, NULL, NULL);
}
