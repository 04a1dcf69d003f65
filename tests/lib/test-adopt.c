/*
 * relock_adopt(): a hold goes on in another process than the one that made it.
 *
 * The maker is a process that shares its parent's table of descriptors, as a
 * serving process of relockfs does, and ends without a word.  As there, it is made
 * of a process that has one thread only: it has copies of all that other threads
 * have locked at that moment, in librelock as in the C library.  A hold of link: leaves
 * a thread behind that refreshes, so each test has a process of its own.
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define NAME "demo"
#define INFO "nightly\0backup"

/* What the maker leaves behind. */
struct made {
	int fd;
	uint64_t token;
};

static struct relock_on_behalf on_behalf_of_the_test(void)
{
	return (struct relock_on_behalf){
		.via = RELOCK_VIA_MOUNT,
		.pid = getppid(),
		.path = "/locks",
		.command = "opener",
		.keeper_pid = getpid(),
	};
}

static struct relock_request request_for(enum relock_mode mode,
					 const struct relock_on_behalf *on_behalf)
{
	struct relock_request request = RELOCK_REQUEST_INIT;

	request.mode = mode;
	request.timeout = 0;
	request.on_behalf = on_behalf;
	return request;
}

static void make(const struct fixture *fixture, struct relock_request request, struct made *ret)
{
	relock_lock *lock = handle(fixture, NAME);

	request.info = INFO;
	request.info_length = sizeof INFO - 1;
	if (relock_acquire(lock, &request) == 0) {
		(void)relock_token(lock, &ret->token);
		ret->fd = relock_lock_fd(lock);
	}
	raise(SIGKILL);
}

static struct made make_elsewhere(const struct fixture *fixture,
				  const struct relock_request *request)
{
	struct made *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct made made;

	assert_ptr_not_equal(shared, MAP_FAILED);
	shared->fd = -1;
	pid_t pid = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, 0, NULL, NULL, 0);
	assert_int_not_equal(pid, -1);
	if (pid == 0)
		make(fixture, *request, shared);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	made = *shared;
	munmap(shared, sizeof *shared);
	assert_int_not_equal(made.fd, -1);
	return made;
}

static void goes_on(const struct fixture *fixture, enum relock_mode mode)
{
	struct relock_on_behalf on_behalf = on_behalf_of_the_test();
	struct relock_request request = request_for(mode, &on_behalf);
	struct made made = make_elsewhere(fixture, &request);
	relock_lock *lock = handle(fixture, NAME);
	uint64_t token;
	size_t length;
	char *info;

	assert_int_equal(try_elsewhere(fixture, NAME), -EAGAIN);
	assert_string_equal(state_of(fixture, NAME, "command"), "opener");
	char *since = strdup(state_of(fixture, NAME, "since"));
	assert_int_equal(relock_adopt(lock, made.fd, &request), 0);
	assert_int_equal(relock_check(lock), 0);
	assert_int_equal(relock_lock_fd(lock), made.fd);
	assert_true(fcntl(made.fd, F_GETFD) & FD_CLOEXEC);
	if (mode == RELOCK_EXCLUSIVE) {
		assert_int_equal(relock_token(lock, &token), 0);
		assert_int_equal(token, made.token);
	}
	assert_int_equal(relock_info(lock, &info, &length), 0);
	assert_int_equal(length, sizeof INFO - 1);
	assert_memory_equal(info, INFO, length);
	free(info);
	assert_string_equal(state_of(fixture, NAME, "since"), since);
	assert_string_equal(state_of(fixture, NAME, "command"), "opener");
	assert_int_equal(try_elsewhere(fixture, NAME), -EAGAIN);
	free(since);

	/* It is a hold like any other. */
	assert_int_equal(relock_set_info(lock, "now", 3), 0);
	assert_string_equal(state_of(fixture, NAME, "info"), "now");
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(try_elsewhere(fixture, NAME), 0);
	relock_lock_close(lock);
}

static void exclusive_hold_goes_on(void **state)
{
	goes_on(*state, RELOCK_EXCLUSIVE);
}

static void shared_hold_goes_on(void **state)
{
	goes_on(*state, RELOCK_SHARED);
}

static void shared_holds_keep_their_own_records(void **state)
{
	struct relock_on_behalf on_behalf = on_behalf_of_the_test();
	struct relock_request request = request_for(RELOCK_SHARED, &on_behalf);
	const struct fixture *fixture = *state;
	relock_lock *locks[3];
	struct made made[3];

	for (int i = 0; i < 3; i++)
		made[i] = make_elsewhere(fixture, &request);
	for (int i = 2; i >= 0; i--) {
		locks[i] = handle(fixture, NAME);
		assert_int_equal(relock_adopt(locks[i], made[i].fd, &request), 0);
	}
	for (int i = 0; i < 3; i++) {
		char text[] = "0";
		text[0] = (char)('0' + i);
		assert_int_equal(relock_set_info(locks[i], text, 1), 0);
	}
	for (int i = 0; i < 3; i++) {
		size_t length;
		char *info;
		assert_int_equal(relock_info(locks[i], &info, &length), 0);
		assert_int_equal(info[0], '0' + i);
		free(info);
		relock_lock_close(locks[i]);
	}
	assert_int_equal(try_elsewhere(fixture, NAME), 0);
}

static void adopted_hold_is_broken_as_any(void **state)
{
	struct relock_request request = request_for(RELOCK_EXCLUSIVE, NULL);
	struct made made = make_elsewhere(*state, &request);
	relock_lock *lock = handle(*state, NAME);

	assert_int_equal(relock_adopt(lock, made.fd, &request), 0);
	struct relock_status *broken;
	assert_int_equal(relock_lock_break(lock, &broken), 0);
	relock_status_free(broken);
	assert_int_equal(relock_check(lock), -ESTALE);
	relock_lock_close(lock);
}

/* The descriptor is closed, the handle holds nothing and can be used. */
static void assert_refused(const struct fixture *fixture, int fd)
{
	struct relock_request request = request_for(RELOCK_EXCLUSIVE, NULL);
	relock_lock *lock = handle(fixture, NAME);

	assert_int_equal(relock_adopt(lock, fd, &request), -ESTALE);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_not_equal(relock_release(lock), 0);
	relock_lock_close(lock);
}

static void what_is_not_held_is_not_adopted(void **state)
{
	struct relock_request request = request_for(RELOCK_EXCLUSIVE, NULL);
	const struct fixture *fixture = *state;
	relock_lock *other = handle(fixture, NAME);

	/* Free, and so it stays. */
	assert_int_equal(try_lock(other), 0);
	assert_int_equal(relock_release(other), 0);
	assert_refused(fixture, open(path_of(fixture, NAME), O_RDWR | O_CLOEXEC));
	assert_int_equal(try_elsewhere(fixture, NAME), 0);
	/* Held by another. */
	assert_int_equal(try_lock(other), 0);
	assert_refused(fixture, open(path_of(fixture, NAME), O_RDWR | O_CLOEXEC));
	assert_int_equal(relock_check(other), 0);
	assert_int_equal(relock_release(other), 0);
	/* The lock of a file that has lost its name, and no file. */
	assert_int_equal(try_lock(other), 0);
	struct made made = {.fd = fcntl(relock_lock_fd(other), F_DUPFD_CLOEXEC, 0)};
	assert_int_equal(unlink(path_of(fixture, NAME)), 0);
	assert_refused(fixture, made.fd);
	relock_lock_close(other);
	assert_refused(fixture, made.fd);

	/* Broken before it was taken up. */
	made = make_elsewhere(fixture, &request);
	other = handle(fixture, NAME);
	assert_int_equal(relock_lock_break(other, NULL), 0);
	assert_refused(fixture, made.fd);
	relock_lock_close(other);
}

static void a_handle_in_use_adopts_nothing(void **state)
{
	struct relock_request request = request_for(RELOCK_EXCLUSIVE, NULL);
	relock_lock *lock = handle(*state, NAME);

	assert_int_equal(try_lock(lock), 0);
	int fd = fcntl(relock_lock_fd(lock), F_DUPFD_CLOEXEC, 0);
	assert_int_equal(relock_adopt(lock, fd, &request), -EALREADY);
	assert_int_equal(fcntl(fd, F_GETFD), -1);
	assert_int_equal(relock_check(lock), 0);
	relock_lock_close(lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_ofd(exclusive_hold_goes_on),
		test_flock(exclusive_hold_goes_on),
		test_ofd(shared_hold_goes_on),
		test_flock(shared_hold_goes_on),
		test_ofd(shared_holds_keep_their_own_records),
		test_flock(shared_holds_keep_their_own_records),
		test_ofd(adopted_hold_is_broken_as_any),
		test_ofd(what_is_not_held_is_not_adopted),
		test_flock(what_is_not_held_is_not_adopted),
		test_ofd(a_handle_in_use_adopts_nothing),
		test_flock(a_handle_in_use_adopts_nothing),
		test_sem(exclusive_hold_goes_on),
		test_sem(adopted_hold_is_broken_as_any),
		test_sem(a_handle_in_use_adopts_nothing),
		test_link(exclusive_hold_goes_on),
		test_link(adopted_hold_is_broken_as_any),
		test_link(a_handle_in_use_adopts_nothing),
	};

	int failures = 0;

	for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
		int status = 0;
		fflush(NULL);
		pid_t pid = fork();
		if (pid == 0)
			exit(_cmocka_run_group_tests("lib/adopt", &tests[i], 1, NULL, NULL));
		if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
			failures++;
	}
	return failures;
}
