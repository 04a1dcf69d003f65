/*
 * lockfs.md, fact 12, systematically: the serving process is killed before and
 * after each of the system calls it makes for a small piece of work, one kill in
 * each turn, and whoever does that work must not notice.
 */
#include "fixture.h"
#include "kill-at.h"
#include "restarts.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, TURNS_MOST = 5000 };

static struct kill_at *kill_at;

/* The daemon alone is started with the library. */
static int setup(void **state)
{
	char path[64];
	int fd = memfd_create("kill-at", 0);

	fixture_setup(state);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, sizeof *kill_at), 0);
	kill_at = mmap(NULL, sizeof *kill_at, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(kill_at != MAP_FAILED);
	snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)getpid(), fd);
	setenv("KILL_AT", path, 1);
	setenv("LD_PRELOAD", getenv("KILL_AT_LIBRARY"), 1);
	fixture_mount_with(*state, "supervise");
	unsetenv("LD_PRELOAD");
	close(fd);
	assert_int_equal(try_open(*state, "warm", O_WRONLY | O_CREAT), 0);
	return 0;
}

static int teardown(void **state)
{
	munmap(kill_at, sizeof *kill_at);
	return fixture_teardown(state);
}

static void arm(long point)
{
	atomic_store(&kill_at->countdown, point);
}

/* The server was killed on the way. */
static bool disarm(void)
{
	return atomic_exchange(&kill_at->countdown, 0) <= 0;
}

static void assert_held(const struct fixture *fixture, const char *name)
{
	assert_int_equal(try_in_store(fixture, name), -EAGAIN);
	assert_int_equal(try_open(fixture, name, O_WRONLY | O_NONBLOCK), EAGAIN);
}

/* A name and its attribute go when the last request has been served. */
static void await_number(const struct fixture *fixture, const char *key, long number)
{
	for (int i = 0; number_of_mount(fixture, key) != number; i++) {
		if (i >= PATIENCE_MS)
			fail_msg("%ld %s, not %ld", number_of_mount(fixture, key), key, number);
		assert_int_equal(poll(NULL, 0, 1), 0);
	}
}

static void assert_nothing_is_left(const struct fixture *fixture)
{
	await_number(fixture, "locks", 0);
	await_number(fixture, "waiters", 0);
	assert_int_equal(count_names(fixture), 0);
}

/* The work; each leaves nothing behind. */

static void open_and_close(const struct fixture *fixture, long point)
{
	arm(point);
	int fd = open_lock(fixture, "a", O_RDWR | O_CREAT | O_EXCL);
	assert_int_equal(write(fd, "nightly", 7), 7);
	char *text = read_lock(fixture, "a");
	assert_value(text, "info", "nightly");
	free(text);
	assert_held(fixture, "a");
	assert_int_equal(try_open(fixture, "a", O_WRONLY | O_CREAT | O_EXCL), EEXIST);
	assert_int_equal(fsync(fd), 0);
	close(fd);
	assert_int_equal(try_open(fixture, "a", O_WRONLY | O_CREAT | O_NONBLOCK), 0);
}

static void hand_over(const struct fixture *fixture, long point)
{
	struct opener first, second, third;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);

	opener_start(&first, fixture, "a", O_WRONLY | O_CREAT);
	await_waiters(fixture, "a", 1);
	opener_start(&second, fixture, "a", O_RDONLY | O_CREAT);
	assert_int_equal(peer_hear(&second.peer), 0);
	peer_say(&second.peer, FLOCK_BASE + LOCK_EX);
	await_waiters(fixture, "a", 2);
	opener_start(&third, fixture, "a", O_WRONLY | O_CREAT);
	await_waiters(fixture, "a", 3);
	arm(point);
	close(fd);
	assert_int_equal(peer_hear(&first.peer), 0);
	assert_held(fixture, "a");
	assert_true(peer_is_silent(&second.peer));
	opener_close(&first);
	assert_int_equal(peer_hear(&second.peer), 0);
	assert_held(fixture, "a");
	assert_true(peer_is_silent(&third.peer));
	opener_close(&second);
	assert_int_equal(peer_hear(&third.peer), 0);
	assert_held(fixture, "a");
	opener_close(&third);
}

/* The same, of waiters that have been through a restart already. */
static void hand_over_once_more(const struct fixture *fixture, long point)
{
	struct opener first, second;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);

	opener_start(&first, fixture, "a", O_WRONLY | O_CREAT);
	await_waiters(fixture, "a", 1);
	opener_start(&second, fixture, "a", O_WRONLY | O_CREAT);
	await_waiters(fixture, "a", 2);
	kill_server(fixture);
	arm(point);
	close(fd);
	assert_int_equal(peer_hear(&first.peer), 0);
	assert_held(fixture, "a");
	assert_true(peer_is_silent(&second.peer));
	opener_close(&first);
	assert_int_equal(peer_hear(&second.peer), 0);
	assert_held(fixture, "a");
	opener_close(&second);
}

static void convert(const struct fixture *fixture, long point)
{
	int fd = open_lock(fixture, "a", O_RDWR | O_CREAT);
	int other = open_lock(fixture, "a", O_RDONLY);

	assert_int_equal(write(fd, "nightly", 7), 7);
	arm(point);
	assert_int_equal(flock(other, LOCK_SH | LOCK_NB), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(flock(fd, LOCK_SH), 0);
	assert_held(fixture, "a");
	char *text = read_lock(fixture, "a");
	assert_value(text, "mode", "shared");
	assert_value(text, "info", "nightly");
	free(text);
	assert_int_equal(flock(other, LOCK_SH | LOCK_NB), 0);
	assert_int_equal(flock(other, LOCK_UN), 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(flock(other, LOCK_SH | LOCK_NB), -1);
	assert_int_equal(errno, EAGAIN);
	assert_held(fixture, "a");
	assert_int_equal(flock(fd, LOCK_UN), 0);
	assert_int_equal(flock(other, LOCK_EX | LOCK_NB), 0);
	assert_held(fixture, "a");
	close(other);
	close(fd);
}

static void break_it(const struct fixture *fixture, long point)
{
	struct opener waiter;
	int fd = open_lock(fixture, "a", O_RDWR | O_CREAT);

	opener_start(&waiter, fixture, "a", O_WRONLY | O_CREAT);
	await_waiters(fixture, "a", 1);
	arm(point);
	assert_int_equal(unlink(lock_path(fixture, "a")), 0);
	assert_int_equal(fsync(fd), -1);
	assert_int_equal(errno, ESTALE);
	assert_int_equal(peer_hear(&waiter.peer), 0);
	/* It was broken once. */
	assert_int_equal(opener_ask(&waiter, FSYNC_ERRNO), 0);
	assert_held(fixture, "a");
	close(fd);
	assert_held(fixture, "a");
	opener_close(&waiter);
}

typedef void task(const struct fixture *fixture, long point);

/* Until the work is done before the server would be killed. */
static void sweep(const struct fixture *fixture, task *work)
{
	long point = 0;
	bool was_killed;

	kill_server(fixture);
	size_t descriptors = count_descriptors(fixture->daemon.pid);
	do {
		work(fixture, ++point);
		was_killed = disarm();
		assert_nothing_is_left(fixture);
	} while (was_killed && point < TURNS_MOST);
	assert_in_range(point, 10, TURNS_MOST - 1);
	assert_int_equal(atomic_load(&kill_at->kills), point - 1);
	await_number(fixture, "names", 0);
	kill_server(fixture);
	assert_int_equal(count_descriptors(fixture->daemon.pid), descriptors);
	print_message("killed at %ld points\n", point - 1);
}

static void killed_while_it_is_opened_and_closed(void **state)
{
	sweep(*state, open_and_close);
}

static void killed_while_it_is_handed_over(void **state)
{
	sweep(*state, hand_over);
}

static void killed_while_it_is_handed_over_once_more(void **state)
{
	sweep(*state, hand_over_once_more);
}

static void killed_while_it_is_converted(void **state)
{
	sweep(*state, convert);
}

static void killed_while_it_is_broken(void **state)
{
	sweep(*state, break_it);
}

/* A request that no server survives is given up after three of them. */
static void deadly_request_gets_eio(void **state)
{
	const struct fixture *fixture = *state;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);

	strcpy(kill_at->deadly, "deadly");
	assert_int_equal(try_open(fixture, "deadly", O_RDONLY), EIO);
	kill_at->deadly[0] = '\0';
	assert_int_equal(atomic_load(&kill_at->kills), 3);
	char *errors = daemon_errors(&fixture->daemon);
	assert_non_null(strstr(errors, "EIO"));
	free(errors);
	assert_int_equal(fsync(fd), 0);
	assert_held(fixture, "a");
	close(fd);
	assert_int_equal(try_open(fixture, "deadly", O_WRONLY | O_CREAT), 0);
}

/* Before Linux 6.9: who waits gets an error, who holds stays. */
static void kernel_that_does_not_repeat_requests(void **state)
{
	const struct fixture *fixture = *state;
	struct opener by_open, by_flock;
	int fd = open_lock(fixture, "a", O_WRONLY | O_CREAT);

	opener_start(&by_open, fixture, "a", O_WRONLY | O_CREAT);
	await_waiters(fixture, "a", 1);
	opener_start(&by_flock, fixture, "a", O_RDONLY | O_CREAT);
	assert_int_equal(peer_hear(&by_flock.peer), 0);
	peer_say(&by_flock.peer, FLOCK_BASE + LOCK_EX);
	await_waiters(fixture, "a", 2);
	atomic_store(&kill_at->cannot_resend, 1);
	kill_server(fixture);
	assert_int_equal(peer_hear(&by_open.peer), ECONNABORTED);
	assert_int_equal(peer_hear(&by_flock.peer), ECONNABORTED);
	assert_int_equal(fsync(fd), 0);
	assert_held(fixture, "a");
	await_number(fixture, "waiters", 0);
	/* As before, it waits, and has its turn. */
	peer_say(&by_flock.peer, FLOCK_BASE + LOCK_EX);
	await_waiters(fixture, "a", 1);
	close(fd);
	assert_int_equal(peer_hear(&by_flock.peer), 0);
	opener_close(&by_flock);
	opener_close(&by_open);
	assert_nothing_is_left(fixture);
	await_number(fixture, "names", 0);
}

#define kill_test(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		kill_test(killed_while_it_is_opened_and_closed),
		kill_test(killed_while_it_is_handed_over),
		kill_test(killed_while_it_is_handed_over_once_more),
		kill_test(killed_while_it_is_converted),
		kill_test(killed_while_it_is_broken),
		kill_test(deadly_request_gets_eio),
		kill_test(kernel_that_does_not_repeat_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
