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

typedef int held_next(int fd, off_t from, struct flock *ret);

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

static void check_next(held_next *next, int fd, off_t from, short type, off_t first, off_t last)
{
	struct flock held;

	assert_int_equal(next(fd, from, &held), 1);
	assert_int_equal(held.l_type, type);
	assert_int_equal(held.l_whence, SEEK_SET);
	assert_true(held.l_start == first && shim_held_last(&held) == last);
}

static void check_none(held_next *next, int fd, off_t from)
{
	struct flock held;

	assert_int_equal(next(fd, from, &held), 0);
}

static void check_all(held_next *next)
{
	int fd = open_scratch();

	check_none(next, fd, 0);
	lock(fd, F_WRLCK, 100, 10);
	lock(fd, F_RDLCK, 10, 5);
	lock(fd, F_RDLCK, 1000, 0);
	check_next(next, fd, 0, F_RDLCK, 10, 14);
	check_next(next, fd, 14, F_RDLCK, 10, 14);
	check_next(next, fd, 15, F_WRLCK, 100, 109);
	check_next(next, fd, 110, F_RDLCK, 1000, INT64_MAX);
	check_next(next, fd, INT64_MAX, F_RDLCK, 1000, INT64_MAX);
	lock(fd, F_UNLCK, 1000, 0);
	check_none(next, fd, 110);
	close(fd);
}

/* More than one page of /proc, and of our buffer. */
static void check_many(held_next *next)
{
	enum { LOCKS = 300 };
	int fd = open_scratch();
	struct flock held;
	off_t from = 0;
	int count = 0;

	for (off_t i = 0; i < LOCKS; i++)
		lock(fd, i % 2 ? F_WRLCK : F_RDLCK, i * 1000000007, 1);
	while (next(fd, from, &held) == 1) {
		assert_true(held.l_start == count * INT64_C(1000000007));
		count++;
		from = shim_held_last(&held) + 1;
	}
	assert_int_equal(count, LOCKS);
	close(fd);
}

static void by_the_kernel_or_proc(void **state)
{
	(void)state;
	check_all(shim_held_next);
	check_many(shim_held_next);
}

static void by_proc(void **state)
{
	(void)state;
	check_all(shim_held_next_by_proc);
	check_many(shim_held_next_by_proc);
}

static void locks_of_others_are_not_ours(void **state)
{
	int fd = open_scratch();
	char path[64];

	(void)state;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	int other = open(path, O_RDWR | O_CLOEXEC);
	lock(fd, F_WRLCK, 0, 10);
	check_none(shim_held_next, other, 0);
	check_none(shim_held_next_by_proc, other, 0);
	/* Nor are legacy ones. */
	struct flock legacy = {.l_type = F_RDLCK, .l_start = 50, .l_len = 1};
	assert_int_equal(fcntl(other, F_SETLK, &legacy), 0);
	check_none(shim_held_next, other, 0);
	check_none(shim_held_next_by_proc, other, 0);
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
