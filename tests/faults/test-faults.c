/*
 * Every system call that can fail does, in turn: each operation is run with its
 * first, second, ... call of each kind failing, with each plausible errno,
 * until it gets through without meeting the fault.  Whatever it answers:
 *
 *  - it is 0, or a negative errno with a message;
 *  - it says what is true: after a success the lock is as it says, after an
 *    error nothing is locked that was not, and no mode has changed, as a
 *    descriptor of our own sees it (contract: never a second holder);
 *  - the same handle can acquire and release afterwards;
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
#include <sys/file.h>
#include <unistd.h>

#include "fault.h"
#include "relock.h"

static const char *scheme; /* of the stores of this test */

enum seen { SEEN_FREE, SEEN_SHARED, SEEN_EXCLUSIVE };

/* A store of its own, and two holders, for each try. */
struct scene {
	char folder[64];
	char url[96];
	relock_store *store;
	relock_lock *mine, *other;
};

static struct relock_request request_of(enum relock_mode mode, int64_t timeout)
{
	struct relock_request request = RELOCK_REQUEST_INIT;

	request.mode = mode;
	request.timeout = timeout;
	return request;
}

static int acquire(relock_lock *lock, enum relock_mode mode, int64_t timeout)
{
	const struct relock_request request = request_of(mode, timeout);

	return relock_acquire(lock, &request);
}

/* What the kernel says, asked without the library. */
static enum seen look_ofd(int fd)
{
	struct flock shared = {.l_type = F_RDLCK}, exclusive = {.l_type = F_WRLCK};

	assert_int_equal(fcntl(fd, F_OFD_GETLK, &shared), 0);
	assert_int_equal(fcntl(fd, F_OFD_GETLK, &exclusive), 0);
	return shared.l_type != F_UNLCK      ? SEEN_EXCLUSIVE
	       : exclusive.l_type != F_UNLCK ? SEEN_SHARED
					     : SEEN_FREE;
}

static enum seen look_flock(int fd)
{
	if (flock(fd, LOCK_SH | LOCK_NB) < 0)
		return SEEN_EXCLUSIVE;
	return flock(fd, LOCK_EX | LOCK_NB) < 0 ? SEEN_SHARED : SEEN_FREE;
}

static enum seen look(const struct scene *scene)
{
	char path[80];

	snprintf(path, sizeof path, "%s/lock", scene->folder);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return SEEN_FREE;
	enum seen seen = strcmp(scheme, "ofd") == 0 ? look_ofd(fd) : look_flock(fd);
	close(fd);
	return seen;
}

/* Operations.  `prepare` makes what the fault shall not hit; `judge` looks at
 * the result, after the fault. */
struct operation {
	const char *name;
	void (*prepare)(struct scene *scene);
	int (*run)(struct scene *scene);
	void (*judge)(struct scene *scene, int result);
};

static void nothing_before(struct scene *scene)
{
}

/* The file is there, and the handle has it open. */
static void used_before(struct scene *scene)
{
	assert_int_equal(acquire(scene->mine, RELOCK_EXCLUSIVE, 0), 0);
	assert_int_equal(relock_release(scene->mine), 0);
}

static void held_exclusively(struct scene *scene)
{
	assert_int_equal(acquire(scene->mine, RELOCK_EXCLUSIVE, 0), 0);
}

static void held_shared(struct scene *scene)
{
	assert_int_equal(acquire(scene->mine, RELOCK_SHARED, 0), 0);
}

static void held_shared_by_both(struct scene *scene)
{
	held_shared(scene);
	assert_int_equal(acquire(scene->other, RELOCK_SHARED, 0), 0);
}

static void held_by_the_other(struct scene *scene)
{
	assert_int_equal(acquire(scene->other, RELOCK_EXCLUSIVE, 0), 0);
}

static void expect_seen(const struct scene *scene, enum seen expected)
{
	assert_int_equal(look(scene), expected);
}

static void judge_acquired(struct scene *scene, int result)
{
	expect_seen(scene, result == 0 ? SEEN_EXCLUSIVE : SEEN_FREE);
	if (result == 0) {
		assert_int_equal(acquire(scene->other, RELOCK_EXCLUSIVE, 0), -EAGAIN);
		assert_int_equal(relock_release(scene->mine), 0);
	}
}

static void judge_acquired_shared(struct scene *scene, int result)
{
	expect_seen(scene, result == 0 ? SEEN_SHARED : SEEN_FREE);
	if (result == 0) {
		assert_int_equal(acquire(scene->other, RELOCK_EXCLUSIVE, 0), -EAGAIN);
		assert_int_equal(relock_release(scene->mine), 0);
	}
}

/* Held by another: no fault makes us a second holder, nor ends its hold. */
static void judge_kept_out(struct scene *scene, int result)
{
	assert_true(result < 0);
	expect_seen(scene, SEEN_EXCLUSIVE);
	assert_int_equal(relock_check(scene->other), 0);
	assert_int_equal(relock_release(scene->other), 0);
	expect_seen(scene, SEEN_FREE);
}

static void judge_released(struct scene *scene, int result)
{
	expect_seen(scene, SEEN_FREE);
	/* What is free must not be held according to the handle. */
	assert_int_equal(relock_check(scene->mine), -ENOENT);
}

/* It holds in the new mode, or in the old one, or not at all and knows. */
static void judge_mode(struct scene *scene, int result, enum seen before, enum seen after)
{
	expect_seen(scene, result == 0 ? after : result == -ESTALE ? SEEN_FREE : before);
	if (result != -ESTALE)
		assert_int_equal(relock_release(scene->mine), 0);
}

static void judge_upgraded(struct scene *scene, int result)
{
	judge_mode(scene, result, SEEN_SHARED, SEEN_EXCLUSIVE);
}

static void judge_downgraded(struct scene *scene, int result)
{
	judge_mode(scene, result, SEEN_EXCLUSIVE, SEEN_SHARED);
}

static void judge_not_upgraded(struct scene *scene, int result)
{
	assert_true(result < 0);
	expect_seen(scene, SEEN_SHARED);
	if (result != -ESTALE)
		assert_int_equal(relock_release(scene->mine), 0);
	assert_int_equal(relock_release(scene->other), 0);
}

/* A hold that nothing was to change. */
static void judge_still_held(struct scene *scene, int result)
{
	if (result == -ESTALE) {
		expect_seen(scene, SEEN_FREE);
		return;
	}
	expect_seen(scene, SEEN_EXCLUSIVE);
	assert_int_equal(relock_release(scene->mine), 0);
}

static void judge_other_still_holds(struct scene *scene, int result)
{
	expect_seen(scene, SEEN_EXCLUSIVE);
	assert_int_equal(relock_release(scene->other), 0);
}

/* Who has lost the lock is told; who has been told nothing has it. */
static void judge_broken(struct scene *scene, int result)
{
	enum seen seen = look(scene);

	if (result == 0)
		assert_int_equal(seen, SEEN_FREE);
	int released = relock_release(scene->other);
	if (seen == SEEN_FREE)
		assert_int_equal(released, -ESTALE);
	else
		assert_true(released == 0 || released == -ESTALE);
	expect_seen(scene, SEEN_FREE);
}

static int run_acquire(struct scene *scene)
{
	return acquire(scene->mine, RELOCK_EXCLUSIVE, 0);
}

static int run_acquire_shared(struct scene *scene)
{
	return acquire(scene->mine, RELOCK_SHARED, 0);
}

static int run_acquire_with_info(struct scene *scene)
{
	struct relock_request request = request_of(RELOCK_EXCLUSIVE, RELOCK_SECOND);

	request.info = "text";
	request.info_length = 4;
	return relock_acquire(scene->mine, &request);
}

static int run_acquire_to_inherit(struct scene *scene)
{
	struct relock_request request = request_of(RELOCK_EXCLUSIVE, 0);

	request.flags = RELOCK_INHERIT;
	return relock_acquire(scene->mine, &request);
}

static int run_wait(struct scene *scene)
{
	return acquire(scene->mine, RELOCK_EXCLUSIVE, RELOCK_MILLISECOND);
}

static int run_release(struct scene *scene)
{
	return relock_release(scene->mine);
}

static int run_leave(struct scene *scene)
{
	return relock_leave(scene->mine);
}

static int run_close(struct scene *scene)
{
	relock_lock_close(scene->mine);
	scene->mine = NULL;
	return 0;
}

static void judge_closed(struct scene *scene, int result)
{
	expect_seen(scene, SEEN_FREE);
	fault_disarm();
	assert_int_equal(relock_lock_open(&scene->mine, scene->store, "lock"), 0);
}

static int run_upgrade(struct scene *scene)
{
	return relock_convert(scene->mine, RELOCK_EXCLUSIVE, RELOCK_MILLISECOND);
}

static int run_downgrade(struct scene *scene)
{
	return relock_convert(scene->mine, RELOCK_SHARED, 0);
}

static int run_set_info(struct scene *scene)
{
	return relock_set_info(scene->mine, "another text", 12);
}

static int run_pass(struct scene *scene)
{
	const struct relock_on_behalf somebody = {RELOCK_VIA_MOUNT, 1, 0, 0, "command", "/mnt"};
	struct relock_request request = request_of(RELOCK_EXCLUSIVE, 0);

	request.on_behalf = &somebody;
	return relock_pass(scene->mine, &request);
}

static int run_check(struct scene *scene)
{
	return relock_check(scene->mine);
}

static int run_token(struct scene *scene)
{
	uint64_t token;

	return relock_token(scene->mine, &token);
}

static int run_status(struct scene *scene)
{
	struct relock_status *status = NULL;
	char *text = NULL;

	int result = relock_status(scene->store, "lock", &status);
	if (result == 0)
		result = relock_status_text(status, &text);
	free(text);
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

static int run_kernel_locks(struct scene *scene)
{
	struct relock_kernel_lock *locks = NULL;
	size_t count = 0;

	int result = relock_kernel_locks(scene->folder, &locks, &count);
	relock_kernel_locks_free(locks, count);
	return result;
}

static int run_prune(struct scene *scene)
{
	return relock_store_prune(scene->store, 0, NULL);
}

static int run_break(struct scene *scene)
{
	struct relock_status *broken = NULL;

	int result = relock_lock_break(scene->mine, &broken);
	relock_status_free(broken);
	return result;
}

/* A store and a handle of its own. */
static int run_open(struct scene *scene)
{
	relock_store *store = NULL;
	relock_lock *lock = NULL;

	int result = relock_store_open(&store, scene->url);
	if (result == 0)
		result = relock_lock_open(&lock, store, "lock");
	relock_lock_close(lock);
	relock_store_close(store);
	return result;
}

static int run_open_path(struct scene *scene)
{
	relock_lock *lock = NULL;
	char path[80];

	snprintf(path, sizeof path, "%s/lock", scene->folder);
	int result = relock_lock_open_path(&lock, NULL, path);
	relock_lock_close(lock);
	return result;
}

static void judge_free(struct scene *scene, int result)
{
	expect_seen(scene, SEEN_FREE);
}

static int open_region_file(const struct scene *scene)
{
	char path[80];

	snprintf(path, sizeof path, "%s/region", scene->folder);
	return open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
}

/* Bytes 0 to 9 are another's, 10 to 19 ours; a wait for 0 to 19 fails, and
 * leaves both as they were. */
static int run_region(struct scene *scene)
{
	int theirs = open_region_file(scene), ours = open_region_file(scene);
	struct flock lock = {.l_type = F_WRLCK, .l_len = 10};
	int result = -EMFILE;

	if (theirs >= 0 && ours >= 0 && fcntl(theirs, F_OFD_SETLK, &lock) == 0) {
		result = relock_region(ours, RELOCK_REGION_LOCK, 10, 10, 0);
		if (result == 0)
			result = relock_region(ours, RELOCK_REGION_LOCK, 0, 20, RELOCK_MILLISECOND);
		assert_true(result < 0);
	}
	if (theirs >= 0)
		close(theirs);
	if (ours >= 0)
		close(ours);
	return result;
}

static const struct operation operations[] = {
	{"open", nothing_before, run_open, judge_free},
	{"open by path", nothing_before, run_open_path, judge_free},
	{"acquire, new file", nothing_before, run_acquire, judge_acquired},
	{"acquire", used_before, run_acquire, judge_acquired},
	{"acquire shared, new file", nothing_before, run_acquire_shared, judge_acquired_shared},
	{"acquire shared", used_before, run_acquire_shared, judge_acquired_shared},
	{"acquire with info", used_before, run_acquire_with_info, judge_acquired},
	{"acquire to inherit", used_before, run_acquire_to_inherit, judge_acquired},
	{"acquire, held", held_by_the_other, run_acquire, judge_kept_out},
	{"wait", held_by_the_other, run_wait, judge_kept_out},
	{"release", held_exclusively, run_release, judge_released},
	{"release shared", held_shared, run_release, judge_released},
	{"leave", held_exclusively, run_leave, judge_released},
	{"close", held_exclusively, run_close, judge_closed},
	{"upgrade", held_shared, run_upgrade, judge_upgraded},
	{"upgrade, held", held_shared_by_both, run_upgrade, judge_not_upgraded},
	{"downgrade", held_exclusively, run_downgrade, judge_downgraded},
	{"set info", held_exclusively, run_set_info, judge_still_held},
	{"pass", held_exclusively, run_pass, judge_still_held},
	{"check", held_exclusively, run_check, judge_still_held},
	{"token", held_exclusively, run_token, judge_still_held},
	{"status, free", used_before, run_status, judge_free},
	{"status, held", held_by_the_other, run_status, judge_other_still_holds},
	{"list", held_by_the_other, run_list, judge_other_still_holds},
	{"kernel locks", held_by_the_other, run_kernel_locks, judge_other_still_holds},
	{"prune", used_before, run_prune, judge_free},
	{"prune, held", held_by_the_other, run_prune, judge_other_still_holds},
	{"break", held_by_the_other, run_break, judge_broken},
	{"region", nothing_before, run_region, judge_free},
};

/* One try */

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
	/* Thousands of folders: on a disk, that takes longer than the test. */
	snprintf(scene->folder, sizeof scene->folder, "%s/relock-faults-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(scene->folder));
	snprintf(scene->url, sizeof scene->url, "%s:%s", scheme, scene->folder);
	assert_int_equal(relock_store_open(&scene->store, scene->url), 0);
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
	if (result < 0 && !*relock_error_message() && operation->run != run_region)
		fail_msg("%d without a message", result);
	if (result > 0)
		fail_msg("result %d", result);
	operation->judge(&scene, result);
	/* And life goes on. */
	assert_int_equal(acquire(scene.mine, RELOCK_EXCLUSIVE, 0), 0);
	assert_int_equal(acquire(scene.other, RELOCK_EXCLUSIVE, 0), -EAGAIN);
	assert_int_equal(relock_release(scene.mine), 0);
	scene_close(&scene);
	assert_int_equal(count_descriptors(), descriptors);
	return hit;
}

static void try_operation(const struct operation *operation)
{
	/* Some walk through all of /proc, which can be long: the first calls
	 * are as good as the others. */
	enum { ENOUGH = 20 };

	for (int call = 0; call < FAULT_FILE_CALLS; call++) {
		for (const int *error = fault_errors((enum fault_call)call); *error; error++) {
			unsigned n = 1;
			do {
				/* For the reader of a failure. */
				if (getenv("FAULTS_VERBOSE"))
					print_message("%s: %s, call %u: %s\n", operation->name,
						      fault_name((enum fault_call)call), n,
						      *error < 0 ? "short"
								 : strerrorname_np(*error));
			} while (try_fault(operation, (enum fault_call)call, n, *error) &&
				 ++n <= ENOUGH);
		}
	}
}

static void each_operation_survives(void **state)
{
	try_operation(*state);
}

static int run_all(const char *of_scheme)
{
	enum { COUNT = sizeof operations / sizeof *operations };
	struct CMUnitTest tests[COUNT];

	scheme = of_scheme;
	for (size_t i = 0; i < COUNT; i++)
		tests[i] = (struct CMUnitTest){
			.name = operations[i].name,
			.test_func = each_operation_survives,
			.initial_state = (void *)&operations[i],
		};
	return cmocka_run_group_tests_name(scheme, tests, NULL, NULL);
}

int main(void)
{
	int failures = run_all("ofd");

	return failures + run_all("flock");
}
