/*
 * fork, execve and descriptors: a child's handles hold nothing unless told to
 * inherit, every descriptor is close-on-exec unless told otherwise.
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int child_result(int (*function)(relock_lock *lock), relock_lock *lock)
{
	int status = 0;
	pid_t pid = fork();

	if (pid == 0)
		_exit(-function(lock));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return -WEXITSTATUS(status);
}

static void child_holds_nothing(void **state)
{
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(try_lock(lock), 0);
	/* It is the parent's: to the child, somebody else's. */
	assert_int_equal(child_result(relock_release, lock), -EPERM);
	assert_int_equal(child_result(relock_check, lock), -ENOENT);
	assert_int_equal(child_result(try_lock, lock), -EAGAIN);
	/* What the child did and its end changed nothing. */
	assert_int_equal(relock_check(lock), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(child_result(try_lock, lock), 0);
	relock_lock_close(lock);
}

/* A parent that dies leaves nothing held by a child that lives. */
static int fork_and_wait(struct peer *self, void *argument)
{
	relock_lock *lock = handle(argument, "demo");
	int result = try_lock(lock);
	int ready[2];

	if (pipe(ready) < 0)
		return 1;
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, 0);
		char byte = 0;
		(void)!write(ready[1], &byte, 1);
		peer_hear(self);
		_exit(0);
	}
	char byte;
	(void)!read(ready[0], &byte, 1);
	peer_say(self, result);
	pause();
	return 0;
}

static void lock_ends_with_the_parent(void **state)
{
	struct peer peer = peer_start(fork_and_wait, *state);
	int fd = dup(peer.fd);

	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	peer_kill(&peer);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
	close(fd);
}

static int close_handle(relock_lock *lock)
{
	relock_lock_close(lock);
	return 0;
}

static void child_that_was_told_to_inherit_holds(void **state)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = handle(*state, "demo");

	request.flags = RELOCK_INHERIT;
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_int_equal(child_result(relock_check, lock), 0);
	/* Leaving keeps it for the others, releasing gives it back for all. */
	assert_int_equal(child_result(relock_leave, lock), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	assert_int_equal(child_result(close_handle, lock), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	assert_int_equal(child_result(relock_release, lock), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
	/* ... and they learn of it. */
	assert_int_equal(relock_check(lock), -ESTALE);
	relock_lock_close(lock);
}

/* Who inherited a hold that was given back does not share the next one. */
static int check_then_try(relock_lock *lock)
{
	return relock_check(lock) == -ESTALE && try_lock(lock) == -EAGAIN ? 0 : -1;
}

static void next_hold_is_not_shared_with_who_inherited_the_last(void **state)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = handle(*state, "demo");
	int go[2], status;
	char byte = 0;

	request.flags = RELOCK_INHERIT;
	assert_int_equal(pipe(go), 0);
	assert_int_equal(relock_acquire(lock, &request), 0);
	pid_t pid = fork();
	if (pid == 0) {
		(void)!read(go[0], &byte, 1);
		_exit(-check_then_try(lock));
	}
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_int_equal(write(go[1], &byte, 1), 1);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(relock_check(lock), 0);
	assert_int_equal(relock_release(lock), 0);
	close(go[0]);
	close(go[1]);
	relock_lock_close(lock);
}

static void those_who_inherited_are_one_holder(void **state)
{
	const enum relock_mode modes[] = {RELOCK_EXCLUSIVE, RELOCK_SHARED};
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = handle(*state, "demo");
	struct relock_status *status = NULL;
	int stop[2];
	char byte;

	for (int i = 0; i < 2; i++) {
		assert_int_equal(pipe(stop), 0);
		request.flags = RELOCK_INHERIT;
		request.mode = modes[i];
		assert_int_equal(relock_acquire(lock, &request), 0);
		pid_t pid = fork();
		if (pid == 0) {
			close(stop[1]);
			_exit((int)read(stop[0], &byte, 1));
		}
		assert_int_equal(relock_lock_status(lock, &status), 0);
		assert_int_equal(status->holder_count, 1);
		assert_int_equal(status->holders[0].pid, getpid());
		relock_status_free(status);
		assert_int_equal(relock_release(lock), 0);
		close(stop[0]);
		close(stop[1]);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
	}
	relock_lock_close(lock);
}

static bool is_open_in_a_new_program(int fd)
{
	char number[16], script[] = "test -e /proc/self/fd/$0";
	char *arguments[] = {"sh", "-c", script, number, NULL};
	pid_t pid;
	int status;

	snprintf(number, sizeof number, "%d", fd);
	assert_int_equal(posix_spawn(&pid, "/bin/sh", NULL, NULL, arguments, environ), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WEXITSTATUS(status) == 0;
}

static void descriptors_are_close_on_exec_unless_told(void **state)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(relock_lock_fd(lock), -1);
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_true(relock_lock_fd(lock) >= 0);
	assert_false(is_open_in_a_new_program(relock_lock_fd(lock)));
	assert_int_equal(relock_release(lock), 0);
	request.flags = RELOCK_INHERIT;
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_true(is_open_in_a_new_program(relock_lock_fd(lock)));
	assert_int_equal(relock_release(lock), 0);
	/* The next hold is as it is by default. */
	request.flags = 0;
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_false(is_open_in_a_new_program(relock_lock_fd(lock)));
	relock_lock_close(lock);
}

/* All descriptors of this process. */
static void every_descriptor_is_close_on_exec(void **state)
{
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(try_lock(lock), 0);
	for (int fd = 3; fd < 200; fd++) {
		char path[64], target[400];
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		ssize_t length = readlink(path, target, sizeof target - 1);
		target[length < 0 ? 0 : length] = '\0';
		if (strstr(target, "relock-test") || strstr(target, "inotify"))
			assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	}
	relock_lock_close(lock);
}

#ifndef __SANITIZE_ADDRESS__
/* fork while other threads are in the library. */
struct busy {
	const struct fixture *fixture;
	atomic_bool stop;
};

static void *keep_busy(void *argument)
{
	struct busy *busy = argument;

	while (!atomic_load(&busy->stop)) {
		relock_lock *lock = handle(busy->fixture, "busy");
		if (lock_within(lock, RELOCK_MILLISECOND) == 0)
			relock_release(lock);
		relock_lock_close(lock);
	}
	return NULL;
}

static int use_after_fork(relock_lock *lock)
{
	return try_lock(lock) == -EAGAIN && relock_release(lock) == -EPERM ? 0 : -1;
}

static void fork_amid_other_threads(void **state)
{
	struct busy busy = {*state, false};
	relock_lock *lock = handle(*state, "demo");
	pthread_t threads[2];

	assert_int_equal(try_lock(lock), 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, keep_busy, &busy), 0);
	for (int i = 0; i < 50; i++)
		assert_int_equal(child_result(use_after_fork, lock), 0);
	atomic_store(&busy.stop, true);
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	relock_lock_close(lock);
}

/* A fork between the open of a lock file and its entry in the handle would leave
 * the child a descriptor that nobody knows of. */
static int lock_file_descriptors(const char *folder)
{
	char path[64], target[400];
	int count = 0;

	for (int fd = 3; fd < 100; fd++) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		ssize_t length = readlink(path, target, sizeof target - 1);
		target[length < 0 ? 0 : length] = '\0';
		count += strncmp(target, folder, strlen(folder)) == 0 &&
			 strcmp(strrchr(target, '/'), "/busy") == 0;
	}
	return count;
}

static void child_gets_no_descriptor_of_a_lock_file(void **state)
{
	const struct fixture *fixture = *state;
	struct busy busy = {*state, false};
	pthread_t thread;
	int status, stray = 0;

	assert_int_equal(pthread_create(&thread, NULL, keep_busy, &busy), 0);
	for (int i = 0; i < 500; i++) {
		pid_t pid = fork();
		if (pid == 0)
			_exit(lock_file_descriptors(fixture->folder));
		assert_int_equal(waitpid(pid, &status, 0), pid);
		stray += WEXITSTATUS(status);
	}
	atomic_store(&busy.stop, true);
	pthread_join(thread, NULL);
	assert_int_equal(stray, 0);
}
#endif

static void child_is_a_holder_of_its_own(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	int pipe_fds[2];
	char byte;

	assert_int_equal(pipe(pipe_fds), 0);
	int stop[2];
	assert_int_equal(pipe(stop), 0);
	pid_t pid = fork();
	if (pid == 0) {
		byte = try_lock(lock) == 0;
		(void)!write(pipe_fds[1], &byte, 1);
		(void)!read(stop[0], &byte, 1);
		_exit(0);
	}
	assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
	assert_int_equal(byte, 1);
	assert_int_equal(atoi(state_of(*state, "demo", "pid")), pid);
	assert_int_equal(write(stop[1], &byte, 1), 1);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	for (int i = 0; i < 2; i++) {
		close(pipe_fds[i]);
		close(stop[i]);
	}
	relock_lock_close(lock);
}

#define BOTH(f) test_ofd(f), test_flock(f)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(child_holds_nothing),
		BOTH(lock_ends_with_the_parent),
		BOTH(child_that_was_told_to_inherit_holds),
		BOTH(next_hold_is_not_shared_with_who_inherited_the_last),
		BOTH(those_who_inherited_are_one_holder),
		BOTH(descriptors_are_close_on_exec_unless_told),
		BOTH(every_descriptor_is_close_on_exec),
		test_link(child_holds_nothing),
		test_link(every_descriptor_is_close_on_exec),
		test_link(child_is_a_holder_of_its_own),
		test_nfslock(child_holds_nothing),
		test_nfslock(every_descriptor_is_close_on_exec),
		test_nfslock(child_is_a_holder_of_its_own),
#ifndef __SANITIZE_ADDRESS__ /* whose malloc is not made for the child of threads (gcc 12) */
		BOTH(fork_amid_other_threads),
		test_link(fork_amid_other_threads),
		test_nfslock(fork_amid_other_threads),
		BOTH(child_gets_no_descriptor_of_a_lock_file),
		test_sem(child_gets_no_descriptor_of_a_lock_file),
#endif
		BOTH(child_is_a_holder_of_its_own),
		test_sem(child_holds_nothing),
		test_sem(lock_ends_with_the_parent),
		test_sem(child_that_was_told_to_inherit_holds),
		test_sem(next_hold_is_not_shared_with_who_inherited_the_last),
		test_sem(descriptors_are_close_on_exec_unless_told),
		test_sem(every_descriptor_is_close_on_exec),
		test_sem(child_is_a_holder_of_its_own),
	};

	return cmocka_run_group_tests_name("fork", tests, NULL, NULL);
}
