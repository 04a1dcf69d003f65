/*
 * Row 14 of the contract: a cycle of waiting processes is EDEADLK; nothing else
 * is.  test-deadlock-table.c has what may happen to the table of waits.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "deadlock-fixture.h"

/* Shared with the lockers. */
static struct {
	_Atomic int in_handler, may_return;
	_Atomic unsigned arrived;
} * shared;

static int set_up_all(void **state)
{
	shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		      0);
	return shared == MAP_FAILED ? -1 : deadlock_set_up_all(state);
}

static int set_up(void **state)
{
	memset(shared, 0, sizeof *shared);
	return deadlock_set_up(state);
}

/* Cycles */

static void row_14_two_processes(void **state)
{
	assert_cross_is_seen(NULL);
}

static void row_14_three_processes(void **state)
{
	close_ring(3);
}

static void row_14_twelve_processes(void **state)
{
	close_ring(12);
}

static void row_14_many_processes(void **state)
{
	close_ring(RING_MAX);
}

static void row_14_two_upgrades_of_a_read_lock(void **state)
{
	struct peer a = locker_start(NULL), b = locker_start(NULL);

	assert_int_equal(locker_do(&a, READ(0)), 0);
	assert_int_equal(locker_do(&b, READ(0)), 0);
	locker_block(&a, WRITE(0));
	assert_int_equal(locker_do(&b, WRITE(0)), -EDEADLK);
	end_pair(&a, &b);
}

static void row_14_reader_and_writer(void **state)
{
	struct peer a = locker_start(NULL), b = locker_start(NULL);

	assert_int_equal(locker_do(&a, READ(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(1)), 0);
	locker_block(&a, READ(1));
	/* No conflict, so no wait. */
	assert_int_equal(locker_do(&b, READ(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(0)), -EDEADLK);
	end_pair(&a, &b);
}

static void row_14_ranges_of_one_file(void **state)
{
	struct peer a = locker_start(NULL), b = locker_start(NULL);

	assert_int_equal(locker_do(&a, WRITE(0, 0, 10)), 0);
	assert_int_equal(locker_do(&b, WRITE(0, 10, 10)), 0);
	locker_block(&a, WRITE(0, 19, 5));
	assert_int_equal(locker_do(&b, WRITE(0, 9, 1)), -EDEADLK);
	end_pair(&a, &b);
}

/* Two read locks are in the way; only the second reader waits in turn. */
static void row_14_one_of_two_holders(void **state)
{
	struct peer a = locker_start(NULL), b = locker_start(NULL), c = locker_start(NULL);

	assert_int_equal(locker_do(&a, READ(0)), 0);
	assert_int_equal(locker_do(&b, READ(0)), 0);
	assert_int_equal(locker_do(&c, WRITE(1)), 0);
	locker_block(&b, WRITE(1));
	assert_int_equal(locker_do(&c, WRITE(0)), -EDEADLK);
	locker_end(&a);
	end_pair(&b, &c);
}

static void row_14_no_cycle_in_a_chain(void **state)
{
	struct peer a = locker_start(NULL), b = locker_start(NULL), c = locker_start(NULL);

	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(1)), 0);
	assert_int_equal(locker_do(&c, WRITE(2)), 0);
	locker_block(&a, WRITE(1));
	locker_block(&b, WRITE(2));
	assert_int_equal(locker_do(&c, WRITE(3)), 0);
	assert_int_equal(locker_do(&c, RELEASE), 0);
	assert_int_equal(peer_hear(&b), 0);
	end_pair(&a, &b);
	locker_end(&c);
}

/* All at the same time */

static void meet(unsigned count, unsigned round)
{
	atomic_fetch_add(&shared->arrived, 1);
	while (atomic_load(&shared->arrived) < count * (round + 1))
		sched_yield();
}

enum { PARTS = 12, CROSSINGS_PER_PART = 250, RING = 3 };

struct crossing {
	unsigned self, count;
};

/* -1, or how often this one failed. */
static int cross_part(const struct crossing *crossing, unsigned *phase)
{
	unsigned count = crossing->count, own = crossing->self, next = (own + 1) % count;
	int failures = 0;

	for (unsigned round = 0; round < CROSSINGS_PER_PART; round++) {
		if (locker_lock(F_WRLCK, own, 0, 1) != 0)
			return -1;
		meet(count, (*phase)++);
		int result = locker_lock(F_WRLCK, next, 0, 1);
		if (result != 0 && result != -EDEADLK)
			return -1;
		failures += result == -EDEADLK;
		locker_release();
		meet(count, (*phase)++);
	}
	return failures;
}

/* Says so after each part: the patience of peer_hear() is for one part. */
static int cross(struct peer *self, void *argument)
{
	unsigned phase = 0;

	locker_open_files();
	for (unsigned part = 0; part < PARTS; part++)
		peer_say(self, cross_part(argument, &phase));
	return locker_private_count;
}

/* Of each crossing exactly one fails, as with legacy locks. */
static void cross_many_times(unsigned count)
{
	struct peer peers[RING];
	struct crossing crossings[RING];

	for (unsigned i = 0; i < count; i++) {
		crossings[i] = (struct crossing){.self = i, .count = count};
		peers[i] = peer_start(cross, &crossings[i]);
	}
	for (unsigned part = 0; part < PARTS; part++) {
		int failures = 0;
		for (unsigned i = 0; i < count; i++)
			failures += peer_hear(&peers[i]);
		assert_int_equal(failures, CROSSINGS_PER_PART);
	}
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(peer_reap(&peers[i]), 0);
}

static void row_14_two_cross_at_the_same_time(void **state)
{
	cross_many_times(2);
}

static void row_14_three_cross_at_the_same_time(void **state)
{
	cross_many_times(RING);
}

enum { RANDOM_LOCKERS = 5, RANDOM_ROUNDS = 1500, RANDOM_FILES = 4, RANDOM_BYTES = 8 };

static bool lock_at_random(unsigned *seed, unsigned file, int *failures)
{
	unsigned first = next_random(seed) % RANDOM_BYTES;
	unsigned length = 1 + next_random(seed) % (RANDOM_BYTES - first);
	short type = next_random(seed) % 2 ? F_WRLCK : F_RDLCK;
	int result = locker_lock(type, file, first, length);

	*failures += result == -EDEADLK;
	return result == 0;
}

/* Who locks files in one order, and each once, is in no cycle. */
static int lock_in_order(struct peer *self, void *argument)
{
	unsigned seed = *(unsigned *)argument;
	int failures = 0;

	locker_open_files();
	for (unsigned round = 0; round < RANDOM_ROUNDS; round++) {
		for (unsigned file = 0; file < RANDOM_FILES; file++)
			if (next_random(&seed) % 4 != 0)
				lock_at_random(&seed, file, &failures);
		locker_release();
	}
	peer_say(self, failures);
	return 0;
}

/* Who gives everything back upon EDEADLK goes on for ever. */
static int lock_in_any_order(struct peer *self, void *argument)
{
	unsigned seed = *(unsigned *)argument;
	int failures = 0;

	locker_open_files();
	for (unsigned round = 0; round < RANDOM_ROUNDS; round++) {
		unsigned count = 1 + next_random(&seed) % 4;
		while (count-- > 0 &&
		       lock_at_random(&seed, next_random(&seed) % RANDOM_FILES, &failures))
			;
		locker_release();
	}
	peer_say(self, failures);
	return 0;
}

static int sum_of_failures(peer_main *main)
{
	struct peer peers[RANDOM_LOCKERS];
	unsigned seeds[RANDOM_LOCKERS];
	unsigned seed = (unsigned)getpid();
	int failures = 0;

	print_message("seed %u\n", seed);
	for (unsigned i = 0; i < RANDOM_LOCKERS; i++) {
		seeds[i] = seed * (i + 1);
		peers[i] = peer_start(main, &seeds[i]);
	}
	for (unsigned i = 0; i < RANDOM_LOCKERS; i++)
		failures += peer_hear(&peers[i]);
	for (unsigned i = 0; i < RANDOM_LOCKERS; i++)
		assert_int_equal(peer_reap(&peers[i]), 0);
	return failures;
}

static void row_14_never_without_a_cycle(void **state)
{
	assert_int_equal(sum_of_failures(lock_in_order), 0);
}

static void row_14_never_all_hang(void **state)
{
	/* With that many locks in no order there are cycles. */
	assert_true(sum_of_failures(lock_in_any_order) > 0);
}

/* Who is not waiting any more */

static void a_dead_waiter_is_no_link(void **state)
{
	struct peer a = locker_start(NULL), b = locker_start(NULL);

	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(1)), 0);
	locker_block(&a, WRITE(1));
	peer_kill(&a);
	assert_int_equal(locker_do(&b, WRITE(0)), 0);
	/* Its slot is the next one's. */
	assert_int_equal(locker_do(&b, UNLOCK(0)), 0);
	locker_end(&b);
	assert_cross_is_seen(NULL);
}

static void row_22_a_wait_left_by_siglongjmp_is_no_link(void **state)
{
	struct peer a = locker_start(NULL), b = locker_start(NULL);

	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(1)), 0);
	locker_block(&a, JUMP(1));
	kill(a.pid, SIGUSR1);
	assert_int_equal(peer_hear(&a), -ECANCELED);
	locker_block(&b, WRITE(0));
	assert_int_equal(locker_do(&a, RELEASE), 0);
	assert_int_equal(peer_hear(&b), 0);
	locker_end(&a);
	locker_end(&b);
}

/* Somebody else waits for the very bytes, so /proc/locks has such a wait. */
static void row_22_nor_is_it_if_another_waits_for_the_same(void **state)
{
	struct peer a = locker_start(NULL), b = locker_start(NULL), c = locker_start(NULL);

	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(1)), 0);
	locker_block(&a, JUMP(1));
	kill(a.pid, SIGUSR1);
	assert_int_equal(peer_hear(&a), -ECANCELED);
	locker_block(&c, WRITE(1));
	locker_block(&b, WRITE(0));
	assert_int_equal(locker_do(&a, RELEASE), 0);
	assert_int_equal(peer_hear(&b), 0);
	end_pair(&c, &b);
	locker_end(&a);
}

static void row_22_the_next_call_forgets_it(void **state)
{
	struct peer a = locker_start(NULL), b = locker_start(NULL);

	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(1)), 0);
	locker_block(&a, JUMP(1));
	kill(a.pid, SIGUSR1);
	assert_int_equal(peer_hear(&a), -ECANCELED);
	/* And the wait itself is as good as the first. */
	locker_block(&a, JUMP(1));
	assert_int_equal(locker_do(&b, WRITE(0)), -EDEADLK);
	kill(a.pid, SIGUSR1);
	assert_int_equal(peer_hear(&a), -ECANCELED);
	assert_int_equal(locker_do(&a, RELEASE), 0);
	locker_end(&a); /* which has nothing open */
	locker_end(&b);
}

/* Signals */

#ifndef __SANITIZE_THREAD__ /* which keeps them back until the wait is over */

static void stay_in_handler(int number)
{
	atomic_store(&shared->in_handler, 1);
	while (!atomic_load(&shared->may_return))
		;
}

static void only_count(int number)
{
	atomic_fetch_add(&shared->in_handler, 1);
}

static void handle(int number, void (*handler)(int number), int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

	if (sigaction(number, &action, NULL) < 0)
		_exit(96);
}

static void await_handler(int value)
{
	while (atomic_load(&shared->in_handler) != value)
		sched_yield();
}

static void handle_signals(void)
{
	handle(SIGUSR1, stay_in_handler, SA_RESTART);
	handle(SIGUSR2, only_count, 0);
	handle(SIGURG, only_count, SA_RESTART);
}

/* `a` is in a handler in its wait for `b`, which is in doubt about that. */
static void bring_into_doubt(struct peer *a, struct peer *b)
{
	*a = locker_start(handle_signals);
	*b = locker_start(handle_signals);
	assert_int_equal(locker_do(a, WRITE(0)), 0);
	assert_int_equal(locker_do(b, WRITE(1)), 0);
	locker_block(a, WRITE(1));
	kill(a->pid, SIGUSR1);
	await_handler(1);
	locker_order(b, WRITE(0));
	wait_until_blocked(b->pid, SYS_ppoll);
}

static void row_15_a_waiter_in_a_handler_is_a_link(void **state)
{
	struct peer a, b;

	bring_into_doubt(&a, &b);
	atomic_store(&shared->may_return, 1);
	assert_int_equal(peer_hear(&b), -EDEADLK);
	end_pair(&a, &b);
}

static void row_15_a_signal_interrupts_the_doubt(void **state)
{
	struct peer a, b;

	bring_into_doubt(&a, &b);
	kill(b.pid, SIGUSR2);
	assert_int_equal(peer_hear(&b), -EINTR);
	assert_int_equal(atomic_load(&shared->in_handler), 2);
	atomic_store(&shared->may_return, 1);
	end_pair(&a, &b);
}

static void row_15_a_restarting_one_does_not(void **state)
{
	struct peer a, b;

	bring_into_doubt(&a, &b);
	kill(b.pid, SIGURG);
	await_handler(2);
	assert_true(peer_is_silent(&b));
	atomic_store(&shared->may_return, 1);
	assert_int_equal(peer_hear(&b), -EDEADLK);
	end_pair(&a, &b);
}

static void lock_in_handler(int number)
{
	atomic_store(&shared->in_handler, 1);
	if (locker_lock(F_WRLCK, 2, 0, LOCKER_BYTES) != 0)
		_exit(95);
	atomic_store(&shared->in_handler, 2);
}

static void handle_by_locking(void)
{
	handle(SIGUSR1, lock_in_handler, SA_RESTART);
}

static void row_15_a_wait_in_a_handler_is_a_link_and_so_is_the_outer_one(void **state)
{
	struct peer a = locker_start(handle_by_locking);
	struct peer b = locker_start(NULL), c = locker_start(NULL);

	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(1)), 0);
	assert_int_equal(locker_do(&c, WRITE(2)), 0);
	locker_block(&a, WRITE(1));
	kill(a.pid, SIGUSR1);
	await_handler(1);
	locker_await_wait(a.pid, 0);
	assert_int_equal(locker_do(&c, WRITE(0)), -EDEADLK);
	assert_int_equal(locker_do(&c, RELEASE), 0);
	locker_end(&c);
	await_handler(2);
	locker_await_wait(a.pid, 0);
	assert_int_equal(locker_do(&b, WRITE(0)), -EDEADLK);
	end_pair(&a, &b);
}

#endif

static void row_14_a_stopped_waiter_is_a_link(void **state)
{
	struct peer a = locker_start(NULL), b = locker_start(NULL);

	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(1)), 0);
	locker_block(&a, WRITE(1));
	kill(a.pid, SIGSTOP);
	assert_int_equal(locker_do(&b, WRITE(0)), -EDEADLK);
	kill(a.pid, SIGCONT);
	end_pair(&a, &b);
}

/* Threads and children */

static void row_14_what_another_thread_locks_meanwhile_counts(void **state)
{
	struct peer a = locker_start(NULL), b = locker_start(NULL);

	assert_int_equal(locker_do(&b, WRITE(1)), 0);
	/* It holds nothing yet. */
	locker_block(&a, IN_THREAD(1));
	assert_int_equal(peer_hear(&a), 0);
	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(0)), -EDEADLK);
	/* And what it unlocks does not. */
	assert_int_equal(locker_do(&a, UNLOCK(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(0)), 0);
	assert_int_equal(locker_do(&b, RELEASE), 0);
	assert_int_equal(locker_do(&a, JOIN), 0);
	locker_end(&a);
	locker_end(&b);
}

static void row_14_both_threads_of_a_process_wait(void **state)
{
	struct peer a = locker_start(NULL), b = locker_start(NULL), c = locker_start(NULL);

	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(1)), 0);
	assert_int_equal(locker_do(&c, WRITE(2)), 0);
	locker_block(&a, IN_THREAD(1));
	assert_int_equal(peer_hear(&a), 0);
	locker_order(&a, WRITE(2));
	locker_await_wait(a.pid, a.pid);
	assert_int_equal(locker_do(&b, WRITE(0)), -EDEADLK);
	assert_int_equal(locker_do(&c, WRITE(0)), -EDEADLK);
	assert_int_equal(locker_do(&b, RELEASE), 0);
	assert_int_equal(locker_do(&c, WRITE(0)), -EDEADLK);
	assert_int_equal(locker_do(&c, RELEASE), 0);
	assert_int_equal(peer_hear(&a), 0);
	assert_int_equal(locker_do(&a, JOIN), 0);
	locker_end(&a);
	locker_end(&b);
	locker_end(&c);
}

static void row_8_a_child_holds_nothing_and_so_is_no_link(void **state)
{
	struct peer a = locker_start(NULL), b = locker_start(NULL);

	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(1)), 0);
	locker_block(&b, WRITE(0));
	pid_t child = locker_do(&a, IN_CHILD(1));
	locker_await_wait(child, 0);
	assert_true(peer_is_silent(&a));
	peer_kill(&b);
	assert_int_equal(peer_hear(&a), 0);
	locker_end(&a);
}

static void row_8_a_child_leaves_the_waits_of_its_parent(void **state)
{
	struct peer a = locker_start(NULL), b = locker_start(NULL);

	assert_int_equal(locker_do(&a, WRITE(0)), 0);
	assert_int_equal(locker_do(&b, WRITE(1)), 0);
	locker_block(&a, IN_THREAD(1));
	assert_int_equal(peer_hear(&a), 0);
	pid_t child = locker_do(&a, IN_CHILD(1));
	locker_await_wait(child, 0);
	assert_int_equal(locker_do(&b, WRITE(0)), -EDEADLK);
	/* Before it gets the lock. */
	kill(child, SIGKILL);
	assert_int_equal(peer_hear(&a), -ECHILD);
	assert_int_equal(locker_do(&b, RELEASE), 0);
	assert_int_equal(locker_do(&a, JOIN), 0);
	locker_end(&a);
	locker_end(&b);
}

#define CASE(function) cmocka_unit_test_setup_teardown(function, set_up, deadlock_tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(row_14_two_processes),
		CASE(row_14_three_processes),
		CASE(row_14_twelve_processes),
		CASE(row_14_many_processes),
		CASE(row_14_two_upgrades_of_a_read_lock),
		CASE(row_14_reader_and_writer),
		CASE(row_14_ranges_of_one_file),
		CASE(row_14_one_of_two_holders),
		CASE(row_14_no_cycle_in_a_chain),
		CASE(row_14_two_cross_at_the_same_time),
		CASE(row_14_three_cross_at_the_same_time),
		CASE(row_14_never_without_a_cycle),
		CASE(row_14_never_all_hang),
		CASE(a_dead_waiter_is_no_link),
		CASE(row_22_a_wait_left_by_siglongjmp_is_no_link),
		CASE(row_22_nor_is_it_if_another_waits_for_the_same),
		CASE(row_22_the_next_call_forgets_it),
#ifndef __SANITIZE_THREAD__
		CASE(row_15_a_waiter_in_a_handler_is_a_link),
		CASE(row_15_a_signal_interrupts_the_doubt),
		CASE(row_15_a_restarting_one_does_not),
		CASE(row_15_a_wait_in_a_handler_is_a_link_and_so_is_the_outer_one),
#endif
		CASE(row_14_a_stopped_waiter_is_a_link),
		CASE(row_14_what_another_thread_locks_meanwhile_counts),
		CASE(row_14_both_threads_of_a_process_wait),
		CASE(row_8_a_child_holds_nothing_and_so_is_no_link),
		CASE(row_8_a_child_leaves_the_waits_of_its_parent),
	};

	return cmocka_run_group_tests_name("preload: deadlocks", tests, set_up_all, NULL);
}
