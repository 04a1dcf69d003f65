/*
 * `relock locks` in the library: every lock of the kernel with its true holder,
 * OFD included, and its waiters; and the line of /proc/locks it stands on.
 */
#include "fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "lock-line.h"

static bool parse(const char *text, struct lock_line *line)
{
	return lock_line_parse(text, strlen(text), line);
}

static void lines_of_the_kernel_are_understood(void **state)
{
	struct lock_line line;

	assert_true(parse("1: OFDLCK ADVISORY  WRITE -1 fe:00:1234 0 EOF\n", &line));
	assert_int_equal(line.number, 1);
	assert_int_equal(line.type, LOCK_LINE_OFD);
	assert_true(line.exclusive);
	assert_false(line.blocked);
	assert_int_equal(line.pid, -1);
	assert_int_equal(line.major, 0xfe);
	assert_int_equal(line.minor, 0);
	assert_int_equal(line.inode, 1234);
	assert_int_equal(line.start, 0);
	assert_true(line.end == INT64_MAX);
	assert_true(parse("17: -> POSIX  ADVISORY  READ  4711 00:1b:42 100 199", &line));
	assert_true(line.blocked);
	assert_false(line.exclusive);
	assert_int_equal(line.pid, 4711);
	assert_int_equal(line.minor, 0x1b);
	assert_int_equal(line.end, 199);
	assert_true(parse("lock:\t1: FLOCK  ADVISORY  WRITE 7 00:1b:42 0 EOF\n", &line));
	assert_int_equal(line.type, LOCK_LINE_FLOCK);
	assert_true(parse("3: LEASE  ACTIVE    READ  77 08:01:5 0 EOF", &line));
	assert_int_equal(line.type, LOCK_LINE_LEASE);
}

static void other_lines_are_not(void **state)
{
	static const char *const bad[] = {
		"",
		"\n",
		"1",
		"1:",
		"1: ",
		"pos:\t0",
		"mnt_id:\t12",
		"x: OFDLCK ADVISORY WRITE -1 fe:00:1234 0 EOF",
		"1: ODDLCK ADVISORY WRITE -1 fe:00:1234 0 EOF",
		"1: OFDLCK ADVISORY WRITE -1 fe:00 0 EOF",
		"1: OFDLCK ADVISORY WRITE -1 fe:00:1234 0",
		"1: OFDLCK ADVISORY WRITE -1 fe:00:99999999999999999999 0 EOF",
		"1: OFDLCK ADVISORY JUMP -1 fe:00:1234 0 EOF",
	};
	struct lock_line line;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(parse(bad[i], &line));
	/* Never beyond the length that was given. */
	const char *good = "1: OFDLCK ADVISORY  WRITE -1 fe:00:1234 0 EOF";
	for (size_t length = 0; length < strlen(good); length++)
		assert_false(lock_line_parse(good, length, &line) && line.end == INT64_MAX);
}

static const struct relock_kernel_lock *find(const struct relock_kernel_lock *locks, size_t count,
					     enum relock_kernel_type type, uint64_t start)
{
	for (size_t i = 0; i < count; i++)
		if (locks[i].type == type && locks[i].start == start)
			return &locks[i];
	return NULL;
}

static int hold_three_kinds(struct peer *self, void *argument)
{
	struct flock ofd = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 10};
	struct flock posix = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 200, .l_len = 1};
	int fd = open(argument, O_RDWR | O_CLOEXEC);

	peer_say(self, fcntl(fd, F_OFD_SETLK, &ofd) == 0 && fcntl(fd, F_SETLK, &posix) == 0 &&
			       flock(fd, LOCK_SH) == 0);
	peer_hear(self);
	return 0;
}

static int wait_for_range(struct peer *self, void *argument)
{
	struct flock ofd = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 105, .l_len = 1};
	int fd = open(argument, O_RDWR | O_CLOEXEC);

	return fcntl(fd, F_OFD_SETLKW, &ofd);
}

static void true_holders_and_waiters(void **state)
{
	char path[] = "/tmp/relock-test-XXXXXX";
	int fd = mkostemp(path, O_CLOEXEC);
	struct relock_kernel_lock *locks = NULL;
	size_t count = 0;

	assert_true(fd >= 0);
	struct peer holder = peer_start(hold_three_kinds, path);
	assert_int_equal(peer_hear(&holder), 1);
	struct peer waiter = peer_start(wait_for_range, path);
	wait_until_blocked(waiter.pid, SYS_fcntl);
	assert_int_equal(relock_kernel_locks(path, &locks, &count), 0);
	assert_int_equal(count, 3);
	const struct relock_kernel_lock *ofd = find(locks, count, RELOCK_KERNEL_OFD, 100);
	assert_non_null(ofd);
	assert_int_equal(ofd->mode, RELOCK_EXCLUSIVE);
	assert_int_equal(ofd->end, 109);
	assert_int_equal(ofd->holder_count, 1);
	assert_int_equal(ofd->holders[0].pid, holder.pid);
	assert_string_equal(ofd->path, path);
	assert_int_equal(ofd->waiter_count, 1);
	assert_int_equal(ofd->waiter_pid_count, 1);
	assert_int_equal(ofd->waiters[0].pid, waiter.pid);
	const struct relock_kernel_lock *posix = find(locks, count, RELOCK_KERNEL_POSIX, 200);
	assert_non_null(posix);
	assert_int_equal(posix->mode, RELOCK_SHARED);
	assert_int_equal(posix->holders[0].pid, holder.pid);
	const struct relock_kernel_lock *whole = find(locks, count, RELOCK_KERNEL_FLOCK, 0);
	assert_non_null(whole);
	assert_int_equal(whole->holders[0].pid, holder.pid);
	assert_true(whole->end == INT64_MAX);
	relock_kernel_locks_free(locks, count);
	/* Without a path: those of everybody, and these among them. */
	assert_int_equal(relock_kernel_locks(NULL, &locks, &count), 0);
	assert_true(count >= 3);
	relock_kernel_locks_free(locks, count);
	peer_kill(&waiter);
	peer_kill(&holder);
	close(fd);
	unlink(path);
	assert_true(relock_kernel_locks("/nowhere/at/all", &locks, &count) < 0);
	assert_string_not_equal(relock_error_message(), "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_of_the_kernel_are_understood),
		cmocka_unit_test(other_lines_are_not),
		cmocka_unit_test(true_holders_and_waiters),
	};

	return cmocka_run_group_tests_name("kernel locks", tests, NULL, NULL);
}
