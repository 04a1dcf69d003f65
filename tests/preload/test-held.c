/*
 * The locks of one's own description: the two ways to see them, by the kernel's
 * answer (Linux 6.6) and by /proc, must show the same.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "held.h"

typedef int held_each(int fd, shim_held_visit *visit, void *argument);

static int open_scratch(void)
{
	char path[] = "/tmp/relock-held-XXXXXX";
	int fd = mkstemp(path);

	assert_true(fd >= 0);
	unlink(path);
	return fd;
}

static void lock(int fd, short type, off_t start, off_t length)
{
	struct flock wanted = {.l_type = type, .l_start = start, .l_len = length};

	assert_int_equal(fcntl(fd, F_OFD_SETLK, &wanted), 0);
}

enum { LOCKS_MAX = 400 };

struct seen {
	int count, enough;
	struct flock locks[LOCKS_MAX];
};

static bool see(void *argument, const struct flock *held)
{
	struct seen *seen = argument;

	assert_in_range(seen->count, 0, LOCKS_MAX - 1);
	seen->locks[seen->count++] = *held;
	return seen->count != seen->enough;
}

static struct seen all_of(held_each *each, int fd)
{
	struct seen seen = {0};

	assert_int_equal(each(fd, see, &seen), 0);
	return seen;
}

static void check_lock(const struct flock *held, short type, off_t first, off_t last)
{
	assert_int_equal(held->l_type, type);
	assert_int_equal(held->l_whence, SEEK_SET);
	assert_int_equal(held->l_pid, 0);
	assert_true(held->l_start == first && shim_held_last(held) == last);
}

static void check_all(held_each *each)
{
	int fd = open_scratch();

	assert_int_equal(all_of(each, fd).count, 0);
	lock(fd, F_WRLCK, 100, 10);
	lock(fd, F_RDLCK, 10, 5);
	lock(fd, F_RDLCK, 1000, 0);
	struct seen seen = all_of(each, fd);
	assert_int_equal(seen.count, 3);
	check_lock(&seen.locks[0], F_RDLCK, 10, 14);
	check_lock(&seen.locks[1], F_WRLCK, 100, 109);
	check_lock(&seen.locks[2], F_RDLCK, 1000, INT64_MAX);
	lock(fd, F_UNLCK, 1000, 0);
	lock(fd, F_WRLCK, INT64_MAX, 1);
	seen = all_of(each, fd);
	assert_int_equal(seen.count, 3);
	check_lock(&seen.locks[2], F_WRLCK, INT64_MAX, INT64_MAX);
	/* Who has seen enough is shown no more. */
	seen = (struct seen){.enough = 2};
	assert_int_equal(each(fd, see, &seen), 0);
	assert_int_equal(seen.count, 2);
	close(fd);
}

/* More than one page of /proc, and of our buffer. */
static void check_many(held_each *each)
{
	enum { LOCKS = 300 };
	int fd = open_scratch();

	for (off_t i = 0; i < LOCKS; i++)
		lock(fd, i % 2 ? F_WRLCK : F_RDLCK, i * 1000000007, 1);
	struct seen seen = all_of(each, fd);
	assert_int_equal(seen.count, LOCKS);
	for (int i = 0; i < LOCKS; i++)
		assert_true(seen.locks[i].l_start == i * INT64_C(1000000007));
	close(fd);
}

static void by_the_kernel_or_proc(void **state)
{
	(void)state;
	check_all(shim_held_each);
	check_many(shim_held_each);
}

static void by_proc(void **state)
{
	(void)state;
	check_all(shim_held_each_by_proc);
	check_many(shim_held_each_by_proc);
}

static void locks_of_others_are_not_ours(void **state)
{
	int fd = open_scratch();
	char path[64];

	(void)state;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int other = open(path, O_RDWR | O_CLOEXEC);
	lock(fd, F_WRLCK, 0, 10);
	assert_int_equal(all_of(shim_held_each, other).count, 0);
	assert_int_equal(all_of(shim_held_each_by_proc, other).count, 0);
	/* Nor are legacy ones. */
	struct flock legacy = {.l_type = F_RDLCK, .l_start = 50, .l_len = 1};
	assert_int_equal(fcntl(other, F_SETLK, &legacy), 0);
	assert_int_equal(all_of(shim_held_each, other).count, 0);
	assert_int_equal(all_of(shim_held_each_by_proc, other).count, 0);
	close(other);
	close(fd);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(by_the_kernel_or_proc),
	cmocka_unit_test(by_proc),
	cmocka_unit_test(locks_of_others_are_not_ours),
};

int main(void)
{
	return cmocka_run_group_tests_name("held", tests, NULL, NULL);
}
