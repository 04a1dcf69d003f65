/*
 * The extended attributes of the mount's own folder: how its daemon is.
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { TO_HOLD = O_WRONLY | O_CREAT };

/* In a buffer that the next call uses again. */
static const char *attribute(const struct fixture *fixture, const char *name)
{
	static char value[256];
	char full[64];

	snprintf(full, sizeof full, "user.relock.%s", name);
	ssize_t length = getxattr(fixture->daemon.mountpoint, full, value, sizeof value - 1);
	if (length < 0)
		fail_msg("%s: %s", full, strerror(errno));
	value[length] = '\0';
	return value;
}

static long long number(const struct fixture *fixture, const char *name)
{
	return atoll(attribute(fixture, name));
}

static void status_is_that_of_the_daemon(void **state)
{
	const struct fixture *fixture = *state;

	assert_string_equal(attribute(fixture, "store"), fixture->store_url);
	assert_string_equal(attribute(fixture, "version"), relock_version());
	assert_int_equal(number(fixture, "pid"), fixture->daemon.pid);
	assert_true(number(fixture, "uptime") >= 0 && number(fixture, "uptime") < 100);
}

static void status_counts_holds_waiters_and_names(void **state)
{
	const struct fixture *fixture = *state;
	struct opener waiters[2];

	assert_int_equal(number(fixture, "locks"), 0);
	assert_int_equal(number(fixture, "waiters"), 0);
	assert_int_equal(number(fixture, "names"), 0);
	int first = open_lock(fixture, "first", TO_HOLD);
	int second = open_lock(fixture, "second", TO_HOLD);
	for (size_t i = 0; i < 2; i++) {
		opener_start(&waiters[i], fixture, "first", TO_HOLD);
		await_waiters(fixture, "first", i + 1);
	}
	assert_int_equal(number(fixture, "locks"), 2);
	assert_int_equal(number(fixture, "waiters"), 2);
	assert_int_equal(number(fixture, "names"), 2);
	for (size_t i = 0; i < 2; i++)
		peer_kill(&waiters[i].peer);
	await_waiters(fixture, "first", 0);
	close(first);
	close(second);
	await_state(fixture, "first", false);
	await_state(fixture, "second", false);
	assert_int_equal(number(fixture, "locks"), 0);
	assert_int_equal(number(fixture, "waiters"), 0);
}

static void status_counts_each_request(void **state)
{
	const struct fixture *fixture = *state;
	enum { TIMES = 20 };
	struct stat status;

	long long before = number(fixture, "requests");
	for (int i = 0; i < TIMES; i++)
		assert_int_equal(stat(fixture->daemon.mountpoint, &status), 0);
	/* And the question itself, and what the kernel asks in between. */
	long long served = number(fixture, "requests") - before;
	assert_true(served > TIMES && served <= 2 * TIMES);
}

static void status_is_listed_and_read_only(void **state)
{
	const struct fixture *fixture = *state;
	const char *folder = fixture->daemon.mountpoint;
	char value[8];

	assert_int_equal(shell(fixture,
			       "getfattr -d $LOCKS 2>/dev/null | sed -n "
			       "'s/^user.relock.\\([a-z]*\\)=.*/\\1/p' | sort | tr '\\n' ' ' | "
			       "grep -qx 'locks names pid requests store uptime version waiters '"),
			 0);
	assert_int_equal(getxattr(folder, "user.relock.store", value, 3), -1);
	assert_int_equal(errno, ERANGE);
	assert_int_equal(getxattr(folder, "user.relock.store", NULL, 0),
			 strlen(fixture->store_url));
	/* Only where there is a supervisor. */
	assert_int_equal(getxattr(folder, "user.relock.supervisor", value, sizeof value), -1);
	assert_int_equal(errno, ENODATA);
	assert_int_equal(getxattr(folder, "user.other", value, sizeof value), -1);
	assert_int_equal(errno, ENODATA);
	assert_int_equal(setxattr(folder, "user.relock.pid", "1", 1, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(removexattr(folder, "user.relock.pid"), -1);
	assert_int_equal(errno, EPERM);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(status_is_that_of_the_daemon),
		CASE(status_counts_holds_waiters_and_names),
		CASE(status_counts_each_request),
		CASE(status_is_listed_and_read_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
