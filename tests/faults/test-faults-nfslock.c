/*
 * The same as test-faults.c for nfslock:, whose lock is a file and not the
 * kernel's: each call that can fail does, in turn, and whatever is answered
 *
 *  - it is 0, or a negative errno with a message;
 *  - what is granted is held by nobody else, and what is refused not by us;
 *  - a lock that could not be given back can be broken, and then is free;
 *  - no descriptor is left.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fault.h"
#include "relock.h"

/* More calls of one kind than any operation makes. */
enum { CALLS_MAX = 200 };

struct scene {
	char folder[64];
	char url[96];
	relock_store *store;
	relock_lock *mine, *other;
};

static int acquire(relock_lock *lock, int64_t timeout)
{
	struct relock_request request = RELOCK_REQUEST_INIT;

	request.timeout = timeout;
	request.info = "why";
	request.info_length = 3;
	return relock_acquire(lock, &request);
}

static void nothing_before(struct scene *scene)
{
}

static void held(struct scene *scene)
{
	assert_int_equal(acquire(scene->mine, 0), 0);
}

static void held_by_other(struct scene *scene)
{
	assert_int_equal(acquire(scene->other, 0), 0);
}

/* By a process that has ended without a word. */
static void held_by_dead(struct scene *scene)
{
	pid_t child = fork();
	int status = 0;

	if (child == 0)
		_exit(-acquire(scene->mine, 0));
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

static int run_set_info(struct scene *scene)
{
	return relock_set_info(scene->mine, "another", 7);
}

static int run_check(struct scene *scene)
{
	return relock_check(scene->mine);
}

static int run_break(struct scene *scene)
{
	return relock_break(scene->store, "lock", NULL);
}

static int run_status(struct scene *scene)
{
	struct relock_status *status = NULL;
	int result = relock_status(scene->store, "lock", &status);

	relock_status_free(status);
	return result;
}

static int run_list(struct scene *scene)
{
	struct relock_status **list = NULL;
	size_t count = 0;
	int result = relock_list(scene->store, RELOCK_LIST_FREE, &list, &count);

	relock_list_free(list, count);
	return result;
}

static int run_prune(struct scene *scene)
{
	return relock_store_prune(scene->store, 0, NULL);
}

/* What is granted is ours, and what is refused is not. */
static void judge_acquired(struct scene *scene, int result)
{
	if (result == 0) {
		assert_int_equal(acquire(scene->other, 0), -EAGAIN);
		assert_int_equal(relock_release(scene->mine), 0);
	}
	assert_int_equal(acquire(scene->other, 0), 0);
	assert_int_equal(relock_release(scene->other), 0);
}

static void judge_refused(struct scene *scene, int result)
{
	assert_true(result < 0);
	assert_int_equal(relock_check(scene->other), 0);
	assert_int_equal(relock_release(scene->other), 0);
}

/* A dead holder's goes, if it does not go now. */
static void judge_followed(struct scene *scene, int result)
{
	judge_acquired(scene, result);
}

static void judge_ended(struct scene *scene, int result)
{
	int next = acquire(scene->other, 0);

	if (result == 0 && next != 0)
		fail_msg("given back, and not to be had: %s", relock_error_message());
	if (next != 0) {
		assert_int_equal(next, -EAGAIN);
		assert_int_equal(relock_break(scene->store, "lock", NULL), 0);
		assert_int_equal(acquire(scene->other, 0), 0);
	}
	assert_int_equal(relock_release(scene->other), 0);
}

/* After an error that is not about the hold, it goes on. */
static void judge_holding(struct scene *scene, int result)
{
	if (result != -ESTALE)
		assert_int_equal(acquire(scene->other, 0), -EAGAIN);
	judge_ended(scene, relock_release(scene->mine));
}

static void judge_nothing(struct scene *scene, int result)
{
	judge_ended(scene, 0);
}

static const struct operation {
	const char *name;
	void (*prepare)(struct scene *scene);
	int (*run)(struct scene *scene);
	void (*judge)(struct scene *scene, int result);
} operations[] = {
	{"acquire", nothing_before, run_acquire, judge_acquired},
	{"acquire what a dead one holds", held_by_dead, run_acquire, judge_followed},
	{"wait in vain", held_by_other, run_wait, judge_refused},
	{"release", held, run_release, judge_ended},
	{"set info", held, run_set_info, judge_holding},
	{"check", held, run_check, judge_holding},
	{"break", held, run_break, judge_ended},
	{"status", held, run_status, judge_holding},
	{"list", held, run_list, judge_holding},
	{"prune", nothing_before, run_prune, judge_nothing},
};

static int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void set_up(struct scene *scene)
{
	*scene = (struct scene){.folder = "/tmp/relock-fault-XXXXXX"};
	assert_non_null(mkdtemp(scene->folder));
	snprintf(scene->url, sizeof scene->url, "nfslock:%s", scene->folder);
	assert_int_equal(relock_store_open(&scene->store, scene->url), 0);
	assert_int_equal(relock_lock_open(&scene->mine, scene->store, "lock"), 0);
	assert_int_equal(relock_lock_open(&scene->other, scene->store, "lock"), 0);
}

static void tear_down(struct scene *scene)
{
	relock_lock_close(scene->mine);
	relock_lock_close(scene->other);
	relock_store_close(scene->store);
	DIR *dir = opendir(scene->folder);
	for (struct dirent *entry; (entry = readdir(dir));)
		unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	assert_int_equal(rmdir(scene->folder), 0);
}

/* False if there are fewer calls of this kind than n. */
static bool try_fault(const struct operation *operation, enum fault_call call, unsigned n,
		      int error)
{
	struct scene scene;
	int before = count_descriptors();

	set_up(&scene);
	operation->prepare(&scene);
	fault_arm(call, n, error);
	int result = operation->run(&scene);
	bool happened = fault_disarm();
	if (result < 0 && *relock_error_message() == '\0')
		fail_msg("%s, %s %u: %s, and no message", operation->name, fault_name(call), n,
			 strerrorname_np(-result));
	operation->judge(&scene, result);
	tear_down(&scene);
	if (count_descriptors() != before)
		fail_msg("%s, %s %u, %s: descriptors are left", operation->name, fault_name(call),
			 n, error > 0 ? strerrorname_np(error) : "short");
	return happened;
}

static void survives(void **state)
{
	const struct operation *operation = *state;

	for (enum fault_call call = 0; call < FAULT_CALLS; call++)
		for (const int *error = fault_errors(call); *error; error++)
			for (unsigned n = 1; try_fault(operation, call, n, *error); n++)
				assert_true(n < CALLS_MAX);
}

int main(void)
{
	enum { COUNT = sizeof operations / sizeof *operations };
	struct CMUnitTest tests[COUNT];

	for (size_t i = 0; i < COUNT; i++)
		tests[i] = (struct CMUnitTest){operations[i].name, survives, NULL, NULL,
					       (void *)&operations[i]};
	return cmocka_run_group_tests_name("faults of nfslock", tests, NULL, NULL);
}
