/*
 * Every system call that can fail does, in turn, as in test-faults.c, for a lock of
 * claim files, which nothing but those calls makes.  Whatever fails:
 *
 *  - nobody holds what another holds: a hold that was there is there afterwards, and
 *    one that was refused is none;
 *  - a hold that is granted excludes others, and can be given back;
 *  - an error has a message, and no descriptor is left.
 *
 * A lock that cannot be removed stays until its lifetime is over: then the release
 * has said so.
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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "claim-name.h"
#include "fault.h"
#include "relock.h"

struct scene {
	char folder[64];
	relock_store *store;
	relock_lock *mine, *other;
};

static int acquire(relock_lock *lock, int64_t timeout)
{
	struct relock_request request = RELOCK_REQUEST_INIT;

	request.timeout = timeout;
	return relock_acquire(lock, &request);
}

/* What is there before. */

static void nothing(struct scene *scene)
{
}

static void used(struct scene *scene)
{
	assert_int_equal(acquire(scene->mine, 0), 0);
	assert_int_equal(relock_release(scene->mine), 0);
}

static void held(struct scene *scene)
{
	assert_int_equal(acquire(scene->mine, 0), 0);
}

static void held_by_the_other(struct scene *scene)
{
	used(scene);
	assert_int_equal(acquire(scene->other, 0), 0);
}

/* By a process that is proven gone. */
static void left_by_the_dead(struct scene *scene)
{
	char name[NAME_MAX + 1], path[400], lock[80];
	struct claim_owner owner;

	claim_owner_draw(&owner, NULL);
	owner.start_time--;
	assert_int_equal(claim_name_write(name, "", "lock", &owner), 0);
	snprintf(path, sizeof path, "%s/%s", scene->folder, name);
	snprintf(lock, sizeof lock, "%s/lock", scene->folder);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	assert_int_not_equal(fd, -1);
	assert_int_equal(write(fd, path, strlen(path)), strlen(path));
	close(fd);
	assert_int_equal(link(path, lock), 0);
	const struct timespec times[] = {{.tv_sec = time(NULL) + 60}, {.tv_sec = time(NULL) + 60}};
	assert_int_equal(utimensat(AT_FDCWD, lock, times, 0), 0);
}

/* What is done. */

static int run_acquire(struct scene *scene)
{
	return acquire(scene->mine, 0);
}

static int run_wait(struct scene *scene)
{
	return acquire(scene->mine, 2 * RELOCK_MILLISECOND);
}

static int run_release(struct scene *scene)
{
	return relock_release(scene->mine);
}

static int run_check(struct scene *scene)
{
	return relock_check(scene->mine);
}

static int run_refresh(struct scene *scene)
{
	return relock_refresh(scene->mine, RELOCK_SECOND);
}

static int run_set_info(struct scene *scene)
{
	return relock_set_info(scene->mine, "another text", 12);
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

static int run_break(struct scene *scene)
{
	return relock_break(scene->store, "lock", NULL);
}

/* What must be true then. */

static void judge_acquired(struct scene *scene, int result)
{
	if (result < 0) {
		assert_int_equal(relock_check(scene->mine), -ENOENT);
		return;
	}
	assert_int_equal(relock_check(scene->mine), 0);
	assert_int_equal(acquire(scene->other, 0), -EAGAIN);
	assert_int_equal(relock_release(scene->mine), 0);
}

static void judge_kept_out(struct scene *scene, int result)
{
	assert_true(result < 0);
	assert_int_equal(relock_check(scene->mine), -ENOENT);
	assert_int_equal(relock_check(scene->other), 0);
	assert_int_equal(relock_release(scene->other), 0);
}

static void judge_other_still_holds(struct scene *scene, int result)
{
	assert_int_equal(relock_check(scene->other), 0);
	assert_int_equal(acquire(scene->mine, 0), -EAGAIN);
	assert_int_equal(relock_release(scene->other), 0);
}

/* An error that is not "lost" has changed nothing. */
static void judge_still_held(struct scene *scene, int result)
{
	if (result == -ESTALE)
		return;
	assert_int_equal(relock_check(scene->mine), 0);
	assert_int_equal(acquire(scene->other, 0), -EAGAIN);
	assert_int_equal(relock_release(scene->mine), 0);
}

static void judge_released(struct scene *scene, int result)
{
	assert_int_equal(relock_check(scene->mine), -ENOENT);
	if (result == 0) {
		assert_int_equal(acquire(scene->other, 0), 0);
		assert_int_equal(relock_release(scene->other), 0);
	}
}

static void judge_broken(struct scene *scene, int result)
{
	int released = relock_release(scene->other);

	if (result == 0)
		assert_int_equal(released, -ESTALE);
	else
		assert_true(released == 0 || released == -ESTALE);
}

static void judge_nothing(struct scene *scene, int result)
{
}

struct operation {
	const char *name;
	void (*prepare)(struct scene *scene);
	int (*run)(struct scene *scene);
	void (*judge)(struct scene *scene, int result);
	bool may_stay; /* the lock, until its lifetime is over */
};

static const struct operation operations[] = {
	{"acquire, new", nothing, run_acquire, judge_acquired, false},
	{"acquire", used, run_acquire, judge_acquired, false},
	{"acquire, held", held_by_the_other, run_acquire, judge_kept_out, false},
	{"acquire, left by the dead", left_by_the_dead, run_acquire, judge_acquired, true},
	{"wait", held_by_the_other, run_wait, judge_kept_out, false},
	{"release", held, run_release, judge_released, true},
	{"check", held, run_check, judge_still_held, true},
	{"refresh", held, run_refresh, judge_still_held, true},
	{"set info", held, run_set_info, judge_still_held, true},
	{"status", held_by_the_other, run_status, judge_other_still_holds, false},
	{"status, left by the dead", left_by_the_dead, run_status, judge_nothing, false},
	{"list", held_by_the_other, run_list, judge_other_still_holds, false},
	{"prune", used, run_prune, judge_nothing, true},
	{"prune, held", held_by_the_other, run_prune, judge_other_still_holds, false},
	{"break", held_by_the_other, run_break, judge_broken, true},
};

static int count_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static void scene_open(struct scene *scene)
{
	char url[96];

	snprintf(scene->folder, sizeof scene->folder, "%s/relock-faults-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(scene->folder));
	snprintf(url, sizeof url, "link:%s", scene->folder);
	assert_int_equal(relock_store_open(&scene->store, url), 0);
	assert_int_equal(relock_lock_open(&scene->mine, scene->store, "lock"), 0);
	assert_int_equal(relock_lock_open(&scene->other, scene->store, "lock"), 0);
}

static void scene_close(struct scene *scene)
{
	relock_lock_close(scene->other);
	relock_lock_close(scene->mine);
	relock_store_close(scene->store);
	DIR *dir = opendir(scene->folder);
	assert_non_null(dir);
	for (struct dirent *entry; (entry = readdir(dir));)
		unlinkat(dirfd(dir), entry->d_name, 0); /* not "." and ".." */
	closedir(dir);
	assert_int_equal(rmdir(scene->folder), 0);
}

/* Life goes on. */
static void use(const struct operation *operation, struct scene *scene)
{
	int result = acquire(scene->mine, 0);

	if (result == -EAGAIN && operation->may_stay)
		return;
	assert_int_equal(result, 0);
	assert_int_equal(acquire(scene->other, 0), -EAGAIN);
	assert_int_equal(relock_release(scene->mine), 0);
}

/* False if the operation got through without meeting the fault. */
static bool try_fault(const struct operation *operation, enum fault_call call, unsigned n,
		      int error)
{
	int descriptors = count_descriptors();
	struct scene scene;

	scene_open(&scene);
	operation->prepare(&scene);
	fault_arm(call, n, error);
	int result = operation->run(&scene);
	bool hit = fault_disarm();
	assert_true(result <= 0);
	assert_true(result == 0 || *relock_error_message());
	operation->judge(&scene, result);
	use(operation, &scene);
	scene_close(&scene);
	assert_int_equal(count_descriptors(), descriptors);
	return hit;
}

static void each_operation_survives(void **state)
{
	enum { ENOUGH = 20 };
	const struct operation *operation = *state;

	for (int call = 0; call < FAULT_CALLS; call++) {
		for (const int *error = fault_errors((enum fault_call)call); *error; error++) {
			unsigned n = 1;
			do {
				/* For the reader of a failure. */
				if (getenv("FAULTS_VERBOSE"))
					print_message("%s: %s, call %u: %d\n", operation->name,
						      fault_name((enum fault_call)call), n, *error);
			} while (try_fault(operation, (enum fault_call)call, n, *error) &&
				 ++n <= ENOUGH);
		}
	}
}

int main(void)
{
	enum { COUNT = sizeof operations / sizeof *operations };
	struct CMUnitTest tests[COUNT];

	for (size_t i = 0; i < COUNT; i++)
		tests[i] = (struct CMUnitTest){
			.name = operations[i].name,
			.test_func = each_operation_survives,
			.initial_state = (void *)&operations[i],
		};
	return cmocka_run_group_tests_name("link", tests, NULL, NULL);
}
