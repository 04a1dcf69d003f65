/*
 * Regions: lockf's four operations on a byte range of the caller's own file.
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

struct files {
	char path[64];
	int mine, other;
};

static int setup(void **state)
{
	static struct files files;

	strcpy(files.path, "/tmp/relock-test-XXXXXX");
	files.mine = mkostemp(files.path, O_CLOEXEC);
	files.other = open(files.path, O_RDWR | O_CLOEXEC);
	assert_true(files.mine >= 0 && files.other >= 0);
	*state = &files;
	return 0;
}

static int teardown(void **state)
{
	struct files *files = *state;

	close(files->mine);
	close(files->other);
	unlink(files->path);
	return 0;
}

static int lock(int fd, off_t start, off_t length)
{
	return relock_region(fd, RELOCK_REGION_TRY, start, length, 0);
}

static int unlock(int fd, off_t start, off_t length)
{
	return relock_region(fd, RELOCK_REGION_UNLOCK, start, length, 0);
}

static int look_for_free(int fd, off_t start, off_t length)
{
	return relock_region(fd, RELOCK_REGION_TEST, start, length, 0);
}

static void ranges_exclude_where_they_meet(void **state)
{
	const struct files *files = *state;

	assert_int_equal(lock(files->mine, 100, 50), 0);
	assert_int_equal(lock(files->other, 149, 1), -EAGAIN);
	assert_int_equal(lock(files->other, 150, 10), 0);
	assert_int_equal(lock(files->other, 0, 100), 0);
	assert_int_equal(look_for_free(files->other, 100, 1), -EAGAIN);
	assert_int_equal(look_for_free(files->mine, 100, 1), 0); /* one's own */
	assert_int_equal(unlock(files->mine, 100, 25), 0);
	assert_int_equal(look_for_free(files->other, 100, 25), 0);
	assert_int_equal(look_for_free(files->other, 100, 26), -EAGAIN);
}

static void length_0_is_to_the_end_and_negative_before(void **state)
{
	const struct files *files = *state;

	assert_int_equal(lock(files->mine, 1000, 0), 0);
	assert_int_equal(look_for_free(files->other, INT64_MAX - 1, 1), -EAGAIN);
	assert_int_equal(look_for_free(files->other, 0, 1000), 0);
	assert_int_equal(unlock(files->mine, 0, 0), 0);
	assert_int_equal(lock(files->mine, 1000, -10), 0);
	assert_int_equal(look_for_free(files->other, 1000, 1), 0);
	assert_int_equal(look_for_free(files->other, 990, 1), -EAGAIN);
	assert_int_equal(look_for_free(files->other, 989, 1), 0);
}

static void bad_ranges_and_descriptors(void **state)
{
	const struct files *files = *state;
	int read_only = open(files->path, O_RDONLY | O_CLOEXEC);

	assert_int_equal(lock(files->mine, -1, 1), -EINVAL);
	assert_int_equal(lock(files->mine, 5, -6), -EINVAL);
	assert_int_equal(lock(files->mine, INT64_MAX, 2), -EOVERFLOW);
	assert_int_equal(lock(-1, 0, 1), -EBADF);
	assert_int_equal(lock(read_only, 0, 1), -EBADF);
	assert_int_equal(look_for_free(read_only, 0, 1), 0);
	assert_int_equal(relock_region(files->mine, (enum relock_region_operation)9, 0, 1, 0),
			 -EINVAL);
	assert_int_equal(relock_region(files->mine, RELOCK_REGION_LOCK, 0, 1, -2), -EINVAL);
	assert_string_not_equal(relock_error_message(), "");
	close(read_only);
}

static void closing_another_descriptor_keeps_it(void **state)
{
	const struct files *files = *state;

	assert_int_equal(lock(files->mine, 0, 0), 0);
	close(open(files->path, O_RDONLY | O_CLOEXEC));
	assert_int_equal(look_for_free(files->other, 0, 0), -EAGAIN);
}

static void wait_ends_at_the_deadline(void **state)
{
	const struct files *files = *state;

	assert_int_equal(lock(files->other, 10, 10), 0);
	assert_int_equal(relock_region(files->mine, RELOCK_REGION_LOCK, 0, 100, 0), -EAGAIN);
	assert_int_equal(
		relock_region(files->mine, RELOCK_REGION_LOCK, 0, 100, 10 * RELOCK_MILLISECOND),
		-ETIMEDOUT);
	assert_int_equal(look_for_free(files->other, 0, 100), 0);
}

/* Locks that were there before a wait that failed are there after it. */
static void wait_that_fails_leaves_what_was_there(void **state)
{
	const struct files *files = *state;
	struct flock shared = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 40, .l_len = 10};

	assert_int_equal(lock(files->mine, 0, 10), 0);
	assert_int_equal(fcntl(files->mine, F_OFD_SETLK, &shared), 0);
	assert_int_equal(lock(files->other, 90, 10), 0);
	for (int i = 0; i < 50; i++)
		assert_int_equal(
			relock_region(files->mine, RELOCK_REGION_LOCK, 0, 100, 20000 + i * 1000),
			-ETIMEDOUT);
	assert_int_equal(look_for_free(files->other, 0, 10), -EAGAIN);
	assert_int_equal(look_for_free(files->other, 10, 30), 0);
	shared.l_len = 1;
	assert_int_equal(fcntl(files->other, F_OFD_SETLK, &shared), 0); /* still shared */
	assert_int_equal(look_for_free(files->other, 40, 10), -EAGAIN);
	assert_int_equal(look_for_free(files->other, 50, 40), 0);
}

static void wait_that_fails_keeps_thousands_of_locks(void **state)
{
	const struct files *files = *state;

	for (off_t at = 0; at < 3000; at += 2)
		assert_int_equal(lock(files->mine, at, 1), 0);
	assert_int_equal(lock(files->other, 5000, 1), 0);
	assert_int_equal(
		relock_region(files->mine, RELOCK_REGION_LOCK, 0, 6000, 2 * RELOCK_MILLISECOND),
		-ETIMEDOUT);
	for (off_t at = 0; at < 3000; at += 2) {
		assert_int_equal(look_for_free(files->other, at, 1), -EAGAIN);
		assert_int_equal(look_for_free(files->other, at + 1, 1), 0);
	}
}

static void *wait_for_range(void *argument)
{
	const struct files *files = argument;

	return (void *)(intptr_t)relock_region(files->mine, RELOCK_REGION_LOCK, 0, 100,
					       20 * RELOCK_SECOND);
}

static void unlock_wakes_the_waiter(void **state)
{
	struct files *files = *state;
	pthread_t thread;
	void *result;

	assert_int_equal(lock(files->other, 50, 1), 0);
	assert_int_equal(pthread_create(&thread, NULL, wait_for_range, files), 0);
	wait_until_blocked(getpid(), SYS_fcntl);
	assert_int_equal(unlock(files->other, 50, 1), 0);
	pthread_join(thread, &result);
	assert_ptr_equal(result, NULL);
	assert_int_equal(look_for_free(files->other, 0, 100), -EAGAIN);
}

#define region_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		region_test(ranges_exclude_where_they_meet),
		region_test(length_0_is_to_the_end_and_negative_before),
		region_test(bad_ranges_and_descriptors),
		region_test(closing_another_descriptor_keeps_it),
		region_test(wait_ends_at_the_deadline),
		region_test(wait_that_fails_leaves_what_was_there),
		region_test(wait_that_fails_keeps_thousands_of_locks),
		region_test(unlock_wakes_the_waiter),
	};

	return cmocka_run_group_tests_name("region", tests, NULL, NULL);
}
