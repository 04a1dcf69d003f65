/*
 * Every call that can fail does, in turn, on the store "sem:"; see test-faults.c.
 * Whatever an operation answers is so, as another handle and the bare semaphore
 * see it; and afterwards the lock is to be had, once.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"
#include "private-shm.h"
#include "relock.h"

struct scene {
	relock_store *store;
	relock_lock *mine, *other;
};

static int acquire(relock_lock *lock, int64_t timeout)
{
	struct relock_request request = RELOCK_REQUEST_INIT;

	request.timeout = timeout;
	request.info = "faults";
	request.info_length = strlen("faults");
	return relock_acquire(lock, &request);
}

/* Is it held, as others see it? */
static bool is_held(const struct scene *scene)
{
	relock_lock *look = NULL;

	assert_int_equal(relock_lock_open(&look, scene->store, "demo"), 0);
	int result = acquire(look, 0);
	relock_lock_close(look);
	assert_true(result == 0 || result == -EAGAIN);
	return result == -EAGAIN;
}

struct operation {
	const char *name;
	void (*prepare)(struct scene *scene);
	int (*run)(struct scene *scene);
	void (*judge)(struct scene *scene, int result);
};

static void nothing_before(struct scene *scene)
{
}

static void used_before(struct scene *scene)
{
	assert_int_equal(acquire(scene->mine, 0), 0);
	assert_int_equal(relock_release(scene->mine), 0);
}

static void held_before(struct scene *scene)
{
	assert_int_equal(acquire(scene->mine, 0), 0);
}

static void held_by_other(struct scene *scene)
{
	assert_int_equal(acquire(scene->other, 0), 0);
}

static void left_by_the_dead(struct scene *scene)
{
	pid_t child = fork();
	int status;

	if (child == 0)
		_exit(acquire(scene->other, 0) == 0 ? 0 : 1);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static int run_acquire(struct scene *scene)
{
	return acquire(scene->mine, 0);
}

static int run_wait(struct scene *scene)
{
	return acquire(scene->mine, RELOCK_MILLISECOND);
}

static int run_release(struct scene *scene)
{
	return relock_release(scene->mine);
}

static int run_check(struct scene *scene)
{
	return relock_check(scene->mine);
}

static int run_set_info(struct scene *scene)
{
	return relock_set_info(scene->mine, "changed", 7);
}

static int run_status(struct scene *scene)
{
	struct relock_status *status = NULL;
	int result = relock_status(scene->store, "demo", &status);

	if (result == 0)
		assert_int_equal(status->state, RELOCK_HELD);
	relock_status_free(status);
	return result;
}

static int run_break(struct scene *scene)
{
	return relock_break(scene->store, "demo", NULL);
}

static int run_list(struct scene *scene)
{
	struct relock_status **list = NULL;
	size_t count = 0;
	int result = relock_list(scene->store, 0, &list, &count);

	if (result == 0)
		relock_list_free(list, count);
	return result;
}

static void judge_held_if_0(struct scene *scene, int result)
{
	assert_int_equal(is_held(scene), result == 0);
}

static void judge_held(struct scene *scene, int result)
{
	assert_true(is_held(scene));
}

static void judge_free(struct scene *scene, int result)
{
	assert_false(is_held(scene));
}

/* A name that could not be looked at counts as one that leads elsewhere. */
static void judge_check(struct scene *scene, int result)
{
	assert_true(result == 0 || result == -ESTALE);
	assert_int_equal(is_held(scene), result == 0);
}

static void judge_broken_if_0(struct scene *scene, int result)
{
	assert_int_equal(is_held(scene), result != 0);
	assert_int_equal(relock_check(scene->mine), result == 0 ? -ESTALE : 0);
}

static const struct operation operations[] = {
	{"first acquire", nothing_before, run_acquire, judge_held_if_0},
	{"acquire", used_before, run_acquire, judge_held_if_0},
	{"acquire from the dead", left_by_the_dead, run_acquire, judge_held_if_0},
	{"acquire what is held", held_by_other, run_acquire, judge_held},
	{"wait", held_by_other, run_wait, judge_held},
	{"release", held_before, run_release, judge_free},
	{"check", held_before, run_check, judge_check},
	{"set_info", held_before, run_set_info, judge_held},
	{"status", held_before, run_status, judge_held},
	{"list", held_before, run_list, judge_held},
	{"break", held_before, run_break, judge_broken_if_0},
};

static void open_scene(struct scene *scene)
{
	private_shm_clear();
	assert_int_equal(relock_store_open(&scene->store, "sem:"), 0);
	assert_int_equal(relock_lock_open(&scene->mine, scene->store, "demo"), 0);
	assert_int_equal(relock_lock_open(&scene->other, scene->store, "demo"), 0);
}

/* Whoever holds gives back, and then it is to be had once. */
static void close_scene(struct scene *scene)
{
	int value = -1;

	relock_release(scene->mine);
	relock_release(scene->other);
	assert_int_equal(acquire(scene->mine, 0), 0);
	assert_int_equal(acquire(scene->other, 0), -EAGAIN);
	assert_int_equal(relock_release(scene->mine), 0);
	sem_t *semaphore = sem_open("demo", 0);
	assert_ptr_not_equal(semaphore, SEM_FAILED);
	assert_int_equal(sem_getvalue(semaphore, &value), 0);
	assert_int_equal(value, 1);
	sem_close(semaphore);
	relock_lock_close(scene->mine);
	relock_lock_close(scene->other);
	relock_store_close(scene->store);
}

/* True: the fault was met. */
static bool try_fault(const struct operation *operation, enum fault_call call, unsigned n,
		      int error)
{
	struct scene scene = {NULL, NULL, NULL};

	open_scene(&scene);
	operation->prepare(&scene);
	fault_arm(call, n, error);
	int result = operation->run(&scene);
	bool hit = fault_disarm();
	if (result > 0)
		fail_msg("%s: %d", operation->name, result);
	if (result < 0 && !*relock_error_message())
		fail_msg("%s with %s %s: no message", operation->name, fault_name(call),
			 strerrorname_np(error));
	operation->judge(&scene, result);
	close_scene(&scene);
	return hit;
}

static void whatever_fails_the_answer_is_true(void **state)
{
	enum { CALLS_MOST = 300 };

	assert_int_equal(private_shm(), 0);
	for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
		for (enum fault_call call = 0; call < FAULT_CALLS; call++)
			for (const int *error = fault_errors(call); *error; error++)
				for (unsigned n = 1; n < CALLS_MOST; n++)
					if (!try_fault(&operations[i], call, n, *error))
						break;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(whatever_fails_the_answer_is_true),
	};

	return cmocka_run_group_tests_name("faults, sem", tests, NULL, NULL);
}
