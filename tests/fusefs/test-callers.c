/*
 * Who sent a request, remembered: never another one, and never what it was
 * called before.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "callers.h"

static struct callers *callers;

static int setup(void **state)
{
	callers = callers_new();
	return callers ? 0 : -1;
}

static int teardown(void **state)
{
	callers_free(callers);
	return 0;
}

/* Asks often enough for it to be remembered. */
static struct process find(pid_t thread)
{
	struct process found;

	for (int i = 0; i < 3; i++)
		callers_find(callers, &found, thread, 5, 6);
	return found;
}

static void assert_found(pid_t thread, pid_t pid, const char *command)
{
	struct process found = find(thread), expected;

	process_of_thread(&expected, thread, 5, 6);
	assert_int_equal(found.thread, thread);
	assert_int_equal(found.pid, pid);
	assert_int_equal(found.start_time, expected.start_time);
	assert_true(found.start_time != 0);
	assert_int_equal(found.uid, 5);
	assert_int_equal(found.gid, 6);
	assert_string_equal(found.command, command);
}

static size_t count_descriptors(void)
{
	size_t count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

static void a_process_that_comes_again(void **state)
{
	char name[16];

	prctl(PR_GET_NAME, name);
	assert_found(getpid(), getpid(), name);
	/* Other user ids are those of the request. */
	struct process found;
	callers_find(callers, &found, getpid(), 7, 8);
	assert_int_equal(found.uid, 7);
	assert_int_equal(found.gid, 8);
}

static void a_process_that_comes_once_costs_no_descriptor(void **state)
{
	size_t before = count_descriptors();
	struct process found;

	callers_find(callers, &found, getpid(), 0, 0);
	assert_int_equal(count_descriptors(), before);
	callers_find(callers, &found, getpid(), 0, 0);
	assert_int_equal(count_descriptors(), before + 1);
}

static void a_program_that_renames_itself(void **state)
{
	char before[16];

	prctl(PR_GET_NAME, before);
	assert_found(getpid(), getpid(), before);
	prctl(PR_SET_NAME, "short");
	assert_found(getpid(), getpid(), "short");
	prctl(PR_SET_NAME, "with\na line");
	assert_found(getpid(), getpid(), "with\na line");
	prctl(PR_SET_NAME, "fifteen letters");
	assert_found(getpid(), getpid(), "fifteen letters");
	prctl(PR_SET_NAME, "");
	assert_found(getpid(), getpid(), "");
	prctl(PR_SET_NAME, before);
}

struct helper {
	pthread_t thread;
	pthread_barrier_t barrier;
	pid_t id;
};

static void *helper_main(void *argument)
{
	struct helper *helper = argument;

	prctl(PR_SET_NAME, "helper");
	helper->id = gettid();
	pthread_barrier_wait(&helper->barrier);
	pthread_barrier_wait(&helper->barrier);
	return NULL;
}

static void a_thread_is_shown_as_its_process(void **state)
{
	struct helper helper;
	struct process found;
	char name[16];

	prctl(PR_GET_NAME, name);
	pthread_barrier_init(&helper.barrier, NULL, 2);
	assert_int_equal(pthread_create(&helper.thread, NULL, helper_main, &helper), 0);
	pthread_barrier_wait(&helper.barrier);
	assert_found(helper.id, getpid(), name);
	pthread_barrier_wait(&helper.barrier);
	pthread_join(helper.thread, NULL);
	/* pthread_join() returns when the kernel clears the id, a moment before
	 * the thread is gone from /proc. */
	while (syscall(SYS_tgkill, getpid(), helper.id, 0) == 0)
		sched_yield();
	callers_find(callers, &found, helper.id, 0, 0);
	assert_int_equal(found.pid, 0);
	pthread_barrier_destroy(&helper.barrier);
}

/* clone3() with a pid of our choice needs privileges that root may lack in a
 * container. */
static pid_t fork_as(pid_t pid)
{
	struct clone_args arguments = {
		.exit_signal = SIGCHLD,
		.set_tid = pid ? (uint64_t)(uintptr_t)&pid : 0,
		.set_tid_size = pid ? 1 : 0,
	};
	pid_t child = (pid_t)syscall(SYS_clone3, &arguments, sizeof arguments);

	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			pause();
	}
	return child;
}

static void end_child(pid_t child)
{
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
}

static void a_number_that_is_used_again(void **state)
{
	char name[16];

	prctl(PR_GET_NAME, name);
	pid_t child = fork_as(0);
	assert_true(child > 0);
	assert_found(child, child, name);
	/* Dead, but not waited for: it is who it was. */
	kill(child, SIGKILL);
	siginfo_t info;
	assert_int_equal(waitid(P_PID, (id_t)child, &info, WEXITED | WNOWAIT), 0);
	assert_found(child, child, name);
	end_child(child);

	prctl(PR_SET_NAME, "another");
	pid_t other = fork_as(child);
	prctl(PR_SET_NAME, name);
	assert_int_equal(other, child);
	assert_found(other, other, "another");
	end_child(other);
	assert_int_equal(find(other).pid, 0);
	assert_int_equal(find(0).pid, 0);
}

/* As many as there are places, and a few more. */
static void many_callers(void **state)
{
	enum { COUNT = 150 };
	pid_t children[COUNT];
	size_t before = count_descriptors();
	char name[16];

	prctl(PR_GET_NAME, name);
	for (size_t i = 0; i < COUNT; i++) {
		children[i] = fork_as(0);
		assert_true(children[i] > 0);
	}
	for (int round = 0; round < 2; round++)
		for (size_t i = 0; i < COUNT; i++)
			assert_found(children[i], children[i], name);
	assert_true(count_descriptors() <= before + 128);
	for (size_t i = 0; i < COUNT; i++)
		end_child(children[i]);
	callers_free(callers);
	callers = callers_new();
	assert_non_null(callers);
	assert_int_equal(count_descriptors(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_process_that_comes_again, setup, teardown),
		cmocka_unit_test_setup_teardown(a_process_that_comes_once_costs_no_descriptor,
						setup, teardown),
		cmocka_unit_test_setup_teardown(a_program_that_renames_itself, setup, teardown),
		cmocka_unit_test_setup_teardown(a_thread_is_shown_as_its_process, setup, teardown),
		cmocka_unit_test_setup_teardown(a_number_that_is_used_again, setup, teardown),
		cmocka_unit_test_setup_teardown(many_callers, setup, teardown),
	};

	return cmocka_run_group_tests_name("callers", tests, NULL, NULL);
}
