/*
 * A process that takes and gives back a lock of "sem:" is killed at each point at
 * which it could die with a difference: after each instruction that changes what
 * others see, and before and after each system call.  Then the lock is to be had,
 * at once, and once.
 *
 * The steps are single instructions, by ptrace(2): the store makes hardly a system
 * call, so there is no other place to stand.  A first process is followed through
 * all of its steps, to learn which ones count; then one after the other is killed
 * at one of these.  (On x86-64, whose registers and breakpoints it knows.)
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "private-shm.h"

enum { SEEN_SIZE = 9216, POINTS_MOST = 4000 };

/* What a killed one does, from a handle that was used before, or from the first
 * opening on. */
typedef void work(const struct fixture *fixture, relock_lock *lock);

struct run {
	const struct fixture *fixture;
	work *work;
	bool is_first;  /* there is no semaphore yet */
	bool is_broken; /* and somebody else holds, to be broken by the work */
};

static void acquire_and_release(const struct fixture *fixture, relock_lock *lock)
{
	if (try_lock(lock) == 0)
		relock_release(lock);
}

static void acquire_twice(const struct fixture *fixture, relock_lock *lock)
{
	acquire_and_release(fixture, lock);
	acquire_and_release(fixture, lock);
}

static void break_it(const struct fixture *fixture, relock_lock *lock)
{
	relock_break(fixture->store, "demo", NULL);
}

static pid_t start(const struct run *run)
{
	pid_t child = fork();

	assert_true(child >= 0);
	if (child > 0)
		return child;
	/* What a process finds out once is none of the lock's steps. */
	relock_lock *lock = handle(run->fixture, "warm");
	acquire_and_release(run->fixture, lock);
	relock_lock_close(lock);
	lock = handle(run->fixture, "demo");
	if (!run->is_first && !run->is_broken)
		acquire_and_release(run->fixture, lock);
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	run->work(run->fixture, lock);
	_exit(0);
}

/* What others see of the lock. */
struct seen {
	unsigned char bytes[SEEN_SIZE];
	ssize_t length;
};

static void see(struct seen *seen)
{
	int fd = open("/dev/shm/sem.demo", O_RDONLY | O_CLOEXEC);

	seen->length = fd < 0 ? -1 : pread(fd, seen->bytes, sizeof seen->bytes, 0);
	if (fd >= 0)
		close(fd);
}

static bool differ(const struct seen *one, const struct seen *other)
{
	return one->length != other->length ||
	       (one->length > 0 && memcmp(one->bytes, other->bytes, (size_t)one->length) != 0);
}

/* Where the process is about to go on. */
static uint64_t place_of(pid_t child)
{
#if defined __x86_64__
	return (uint64_t)ptrace(PTRACE_PEEKUSER, child, offsetof(struct user_regs_struct, rip),
				NULL);
#else
	return 0;
#endif
}

/* One instruction; false: it has ended. */
static bool step(pid_t child)
{
	int status;

	if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) < 0 || waitpid(child, &status, 0) != child)
		return false;
	return WIFSTOPPED(status);
}

static void await_stop(pid_t child)
{
	int status;

	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSTOPPED(status));
}

/* A moment of the process: before it goes on at a place for the n-th time.  To
 * get there again takes a breakpoint, which is faster than each step anew. */
struct point {
	uint64_t place;
	long visit;
};

enum { PLACES = 1 << 16 };

/* How often it has been at a place. */
static long count_visit(struct point *visits, uint64_t place)
{
	size_t at = (size_t)(place * UINT64_C(0x9e3779b97f4a7c15) >> 48);

	while (visits[at].place != 0 && visits[at].place != place)
		at = (at + 1) % PLACES;
	visits[at].place = place;
	return ++visits[at].visit;
}

static bool is_system_call(pid_t child, uint64_t place)
{
	return (ptrace(PTRACE_PEEKTEXT, child, (void *)place, NULL) & 0xffff) == 0x050f;
}

static size_t learn(const struct run *run, struct point *points)
{
	static struct seen before, now;
	struct point *visits = calloc(PLACES, sizeof *visits);
	size_t count = 0;
	pid_t child = start(run);

	await_stop(child);
	see(&before);
	for (bool was_call = false; step(child);) {
		struct point point = {.place = place_of(child)};
		point.visit = count_visit(visits, point.place);
		bool is_call = is_system_call(child, point.place);
		see(&now);
		if ((is_call || was_call || differ(&before, &now)) && count < POINTS_MOST)
			points[count++] = point;
		before = now;
		was_call = is_call;
	}
	free(visits);
	return count;
}

/* False: it has ended by itself. */
static bool go_on_to(pid_t child, uint64_t place)
{
	const long breakpoint = 0xcc;

	long there = ptrace(PTRACE_PEEKTEXT, child, (void *)place, NULL);
	ptrace(PTRACE_POKETEXT, child, (void *)place, (void *)((there & ~0xffL) | breakpoint));
	ptrace(PTRACE_CONT, child, NULL, NULL);
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	if (!WIFSTOPPED(status))
		return false;
	ptrace(PTRACE_POKETEXT, child, (void *)place, (void *)there);
	/* Back before the breakpoint, which was executed. */
#if defined __x86_64__
	ptrace(PTRACE_POKEUSER, child, offsetof(struct user_regs_struct, rip), (void *)place);
#endif
	return true;
}

/* A process's way depends a little on the time: not each gets to each point. */
static bool kill_at(const struct run *run, const struct point *point)
{
	pid_t child = start(run);
	int status;

	await_stop(child);
	for (long visit = 1; visit <= point->visit; visit++) {
		if (!step(child) ||
		    (place_of(child) != point->place && !go_on_to(child, point->place)))
			return false;
	}
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	return true;
}

static void expect_had_once(const struct fixture *fixture, size_t number)
{
	relock_lock *first = handle(fixture, "demo"), *second = handle(fixture, "demo");
	int value = -1;

	int result = try_lock(first);
	if (result != 0)
		fail_msg("killed at point %zu: acquire: %s (%s)", number, strerrorname_np(-result),
			 relock_error_message());
	sem_t *semaphore = sem_open("demo", 0);
	assert_ptr_not_equal(semaphore, SEM_FAILED);
	if (try_lock(second) != -EAGAIN || sem_trywait(semaphore) == 0)
		fail_msg("killed at point %zu: a second holder", number);
	assert_int_equal(relock_release(first), 0);
	sem_getvalue(semaphore, &value);
	if (value != 1)
		fail_msg("killed at point %zu: the value is %d", number, value);
	assert_int_equal(try_lock(second), 0);
	assert_int_equal(relock_release(second), 0);
	sem_close(semaphore);
	relock_lock_close(first);
	relock_lock_close(second);
}

static void run_all(const struct run *run, size_t least)
{
	static struct point points[POINTS_MOST];
	relock_lock *holder = NULL;
	size_t killed = 0;

	for (size_t i = 0, count = SIZE_MAX; i < count; i++) {
		if (run->is_first)
			private_shm_clear();
		if (run->is_broken) {
			holder = handle(run->fixture, "demo");
			assert_int_equal(try_lock(holder), 0);
		}
		if (count == SIZE_MAX) {
			count = learn(run, points) + 1;
			print_message("%zu points\n", count - 1);
			assert_true(count > least && count < POINTS_MOST);
		} else {
			killed += kill_at(run, &points[i - 1]);
		}
		if (run->is_broken)
			relock_lock_close(holder);
		expect_had_once(run->fixture, i);
	}
	print_message("%zu killed\n", killed);
	assert_true(killed > least);
}

static void a_pair_is_killed_anywhere(void **state)
{
	struct run run = {*state, acquire_twice, false, false};

	run_all(&run, 30);
}

static void the_first_pair_is_killed_anywhere(void **state)
{
	struct run run = {*state, acquire_and_release, true, false};

	run_all(&run, 50);
}

static void a_break_is_killed_anywhere(void **state)
{
	struct run run = {*state, break_it, false, true};

	run_all(&run, 30);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_sem(a_pair_is_killed_anywhere),
		test_sem(the_first_pair_is_killed_anywhere),
		test_sem(a_break_is_killed_anywhere),
	};

	return cmocka_run_group_tests_name("sem, killed", tests, NULL, NULL);
}
