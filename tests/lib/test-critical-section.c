/*
 * Critical section: released on every way out.
 */
#include "fixture.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int look_and_return_7(void *argument)
{
	assert_int_equal(try_elsewhere(argument, "demo"), -EAGAIN);
	return 7;
}

static void by_return(void **state)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = handle(*state, "demo");
	int returned = 0;

	assert_int_equal(
		relock_critical_section(lock, &request, look_and_return_7, *state, &returned), 0);
	assert_int_equal(returned, 7);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
	relock_lock_close(lock);
}

static int exit_thread(void *argument)
{
	pthread_exit(NULL);
	return 0;
}

static int wait_in_pause(void *argument)
{
	return pause();
}

struct section {
	relock_lock *lock;
	int (*function)(void *argument);
};

static void *run_section(void *argument)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	struct section *section = argument;

	relock_critical_section(section->lock, &request, section->function, NULL, NULL);
	return argument; /* not reached */
}

static void by_pthread_exit(void **state)
{
	struct section section = {handle(*state, "demo"), exit_thread};
	pthread_t thread;
	void *ended;

	assert_int_equal(pthread_create(&thread, NULL, run_section, &section), 0);
	pthread_join(thread, &ended);
	assert_ptr_equal(ended, NULL);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
	relock_lock_close(section.lock);
}

static void by_cancellation(void **state)
{
	struct section section = {handle(*state, "demo"), wait_in_pause};
	pthread_t thread;
	void *ended;

	assert_int_equal(pthread_create(&thread, NULL, run_section, &section), 0);
	wait_until_blocked(getpid(), SYS_pause);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	pthread_cancel(thread);
	pthread_join(thread, &ended);
	assert_ptr_equal(ended, PTHREAD_CANCELED);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
	relock_lock_close(section.lock);
}

static int break_it(void *argument)
{
	const struct fixture *fixture = argument;

	return relock_break(fixture->store, "demo", NULL);
}

static void lock_broken_meanwhile(void **state)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = handle(*state, "demo");
	int returned = 1;

	assert_int_equal(relock_critical_section(lock, &request, break_it, *state, &returned),
			 -ESTALE);
	assert_int_equal(returned, 0);
	relock_lock_close(lock);
}

static int must_not_run(void *argument)
{
	*(bool *)argument = true;
	return 0;
}

static void lock_not_to_be_had(void **state)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *holder = handle(*state, "demo"), *lock = handle(*state, "demo");
	bool ran = false;

	assert_int_equal(try_lock(holder), 0);
	request.timeout = RELOCK_MILLISECOND;
	assert_int_equal(relock_critical_section(lock, &request, must_not_run, &ran, NULL),
			 -ETIMEDOUT);
	assert_false(ran);
	relock_lock_close(holder);
	relock_lock_close(lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_ofd(by_return),
		test_ofd(by_pthread_exit),
		test_ofd(by_cancellation),
		test_ofd(lock_broken_meanwhile),
		test_ofd(lock_not_to_be_had),
		test_link(by_return),
		test_link(by_pthread_exit),
		test_link(by_cancellation),
		test_link(lock_broken_meanwhile),
		test_link(lock_not_to_be_had),
		test_nfslock(by_return),
		test_nfslock(by_pthread_exit),
		test_nfslock(by_cancellation),
		test_nfslock(lock_broken_meanwhile),
		test_nfslock(lock_not_to_be_had),
	};

	return cmocka_run_group_tests_name("critical section", tests, NULL, NULL);
}
