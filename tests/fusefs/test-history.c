/*
 * The folder .history: who held a lock last, and what it left behind.
 */
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum { TO_HOLD = O_WRONLY | O_CREAT };

static void hold_once(const struct fixture *fixture, const char *name, const char *info)
{
	int fd = open_lock(fixture, name, TO_HOLD);

	assert_int_equal(write(fd, info, strlen(info)), strlen(info));
	close(fd);
	await_state(fixture, name, false);
}

static size_t count_history(const struct fixture *fixture)
{
	DIR *dir = opendir(lock_path(fixture, ".history"));
	size_t count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count - 2;
}

static void row13_shows_the_last_holder_and_its_info(void **state)
{
	const struct fixture *fixture = *state;
	char pid[16];

	snprintf(pid, sizeof pid, "%d", (int)getpid());
	assert_null(read_lock(fixture, ".history/backup"));
	hold_once(fixture, "backup", "nightly");
	assert_null(read_lock(fixture, "backup"));
	char *text = read_lock(fixture, ".history/backup");
	assert_value(text, "lock", "backup");
	assert_value(text, "state", "free");
	assert_value(text, "last-pid", pid);
	assert_value(text, "last-info", "nightly");
	char *released = value_of(text, "released");
	assert_non_null(released);
	free(released);
	free(text);
}

/* Byte for byte what `relock state` prints, which is relock_status_text(). */
static void row13_the_same_text_as_the_store(void **state)
{
	const struct fixture *fixture = *state;
	struct relock_status *status;
	char *expected;

	hold_once(fixture, "backup", "nightly");
	char *text = read_lock(fixture, ".history/backup");
	assert_int_equal(relock_status(fixture->store, "backup", &status), 0);
	assert_int_equal(relock_status_text(status, &expected), 0);
	assert_string_equal(text, expected);
	relock_status_free(status);
	free(expected);
	free(text);
}

static void row13_shows_holds_outside_the_mount(void **state)
{
	const struct fixture *fixture = *state;
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock;

	request.info = "outside";
	request.info_length = 7;
	assert_int_equal(relock_lock_open(&lock, fixture->store, "backup"), 0);
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_null(read_lock(fixture, ".history/backup"));
	assert_int_equal(count_history(fixture), 0);
	assert_int_equal(relock_release(lock), 0);
	relock_lock_close(lock);
	char *text = read_lock(fixture, ".history/backup");
	assert_value(text, "last-info", "outside");
	assert_null(value_of(text, "last-via"));
	free(text);
	assert_int_equal(count_history(fixture), 1);
}

static void row13_says_who_broke_it(void **state)
{
	const struct fixture *fixture = *state;
	struct opener holder;
	char pid[32];

	opener_start(&holder, fixture, "broken", TO_HOLD);
	assert_int_equal(peer_hear(&holder.peer), 0);
	assert_int_equal(unlink(lock_path(fixture, "broken")), 0);
	snprintf(pid, sizeof pid, "pid %d,", (int)getpid());
	char *text = read_lock(fixture, ".history/broken"), *by = value_of(text, "broken-by");
	assert_non_null(by);
	assert_non_null(strstr(by, pid));
	free(by);
	free(text);
	opener_close(&holder);
}

/* The record is overwritten by the next hold: there is nothing to show. */
static void row13_is_not_there_while_it_is_held_again(void **state)
{
	const struct fixture *fixture = *state;

	hold_once(fixture, "backup", "first");
	int looking = open_lock(fixture, ".history/backup", O_RDONLY);
	int fd = open_lock(fixture, "backup", TO_HOLD);
	struct stat status;
	char byte;

	assert_int_equal(try_open(fixture, ".history/backup", O_RDONLY), ENOENT);
	assert_int_equal(stat(lock_path(fixture, ".history/backup"), &status), -1);
	assert_int_equal(errno, ENOENT);
	/* One that was open cannot tell of it either. */
	assert_int_equal(pread(looking, &byte, 1, 0), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(count_history(fixture), 0);
	close(fd);
	await_state(fixture, "backup", false);
	assert_int_equal(pread(looking, &byte, 1, 0), 1);
	close(looking);
	assert_int_equal(count_history(fixture), 1);
}

static void row13_lists_the_names_that_have_a_history(void **state)
{
	const struct fixture *fixture = *state;

	hold_once(fixture, "first", "1");
	hold_once(fixture, "second", "2");
	int fd = open_lock(fixture, "third", TO_HOLD);
	assert_int_equal(shell(fixture, "test \"$(ls $LOCKS/.history | tr '\\n' ' ')\" = "
					"'first second '"),
			 0);
	assert_int_equal(shell(fixture, "test \"$(cat $LOCKS/.history/* | grep -c ^lock:)\" = 2"),
			 0);
	close(fd);
}

/* "find /locks -name backup" asks whether the lock is held. */
static void row10_find_and_ls_show_no_history(void **state)
{
	const struct fixture *fixture = *state;
	struct stat status;

	hold_once(fixture, "backup", "x");
	assert_int_equal(shell(fixture, "find $LOCKS -mindepth 1 | grep -q . && exit 1; exit 0"),
			 0);
	assert_int_equal(shell(fixture, "test -z \"$(ls -A $LOCKS)\""), 0);
	assert_int_equal(stat(lock_path(fixture, ".history"), &status), 0);
	assert_true(S_ISDIR(status.st_mode));
	assert_int_equal(status.st_mode & 0222, 0);
	assert_int_equal(shell(fixture, "test \"$(cd $LOCKS/.history/.. && pwd)\" = $LOCKS"), 0);
}

static void row13_stat_shows_owner_time_and_size(void **state)
{
	const struct fixture *fixture = *state;
	struct timespec before, after;
	struct stat status;
	enum { SOMEBODY = 12345 };

	assert_int_equal(seteuid(SOMEBODY), 0);
	int fd = open(lock_path(fixture, "backup"), TO_HOLD | O_CLOEXEC, 0666);
	assert_int_equal(seteuid(0), 0);
	assert_true(fd >= 0);
	clock_gettime(CLOCK_REALTIME_COARSE, &before);
	close(fd);
	await_state(fixture, "backup", false);
	clock_gettime(CLOCK_REALTIME, &after);
	assert_int_equal(stat(lock_path(fixture, ".history/backup"), &status), 0);
	assert_int_equal(status.st_mode, S_IFREG | 0444);
	assert_int_equal(status.st_uid, SOMEBODY);
	assert_true(status.st_mtim.tv_sec >= before.tv_sec &&
		    status.st_mtim.tv_sec <= after.tv_sec);
	char *text = read_lock(fixture, ".history/backup");
	assert_int_equal(status.st_size, strlen(text));
	free(text);
}

static void row13_extended_attributes(void **state)
{
	const struct fixture *fixture = *state;
	char value[64];

	hold_once(fixture, "backup", "nightly");
	const char *path = lock_path(fixture, ".history/backup");
	assert_int_equal(getxattr(path, "user.relock.last-info", value, sizeof value), 7);
	assert_memory_equal(value, "nightly", 7);
	assert_int_equal(getxattr(path, "user.relock.info", value, sizeof value), -1);
	assert_int_equal(errno, ENODATA);
}

static int errno_of(int result)
{
	return result < 0 ? errno : 0;
}

static void row13_nothing_can_be_written_removed_or_locked(void **state)
{
	const struct fixture *fixture = *state;
	char path[PATH_MAX], folder[PATH_MAX], other[PATH_MAX];

	hold_once(fixture, "backup", "nightly");
	strcpy(path, lock_path(fixture, ".history/backup"));
	strcpy(folder, lock_path(fixture, ".history"));
	strcpy(other, lock_path(fixture, ".history/other"));
	char *before = read_lock(fixture, ".history/backup");
	assert_int_equal(try_open(fixture, ".history/backup", O_WRONLY), EPERM);
	assert_int_equal(try_open(fixture, ".history/backup", O_RDWR), EPERM);
	assert_int_equal(try_open(fixture, ".history/backup", O_WRONLY | O_NONBLOCK), EPERM);
	assert_int_equal(try_open(fixture, ".history/backup", O_RDONLY | O_TRUNC), EPERM);
	assert_int_equal(try_open(fixture, ".history/backup", TO_HOLD | O_EXCL), EEXIST);
	assert_int_equal(try_open(fixture, ".history/other", TO_HOLD), EPERM);
	assert_int_equal(try_open(fixture, ".history/other", O_RDONLY | O_CREAT), EPERM);
	assert_int_equal(errno_of(unlink(path)), EPERM);
	assert_int_equal(errno_of(truncate(path, 0)), EPERM);
	assert_int_equal(errno_of(rename(path, other)), EPERM);
	assert_int_equal(errno_of(link(path, other)), EPERM);
	assert_int_equal(errno_of(symlink("x", other)), EPERM);
	assert_int_equal(errno_of(mkdir(other, 0755)), EPERM);
	assert_int_equal(errno_of(chmod(path, 0644)), EPERM);
	assert_int_equal(errno_of(chmod(folder, 0755)), EPERM);
	assert_int_equal(errno_of(rmdir(folder)), EPERM);
	assert_int_equal(errno_of(mkdir(folder, 0755)), EEXIST);
	assert_int_equal(errno_of(setxattr(path, "user.relock.info", "x", 1, 0)), EPERM);
	int fd = open_lock(fixture, ".history/backup", O_RDONLY);
	assert_int_equal(errno_of(flock(fd, LOCK_EX | LOCK_NB)), EOPNOTSUPP);
	assert_int_equal(errno_of(flock(fd, LOCK_SH)), EOPNOTSUPP);
	struct flock range = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
	assert_int_equal(errno_of(fcntl(fd, F_SETLK, &range)), EOPNOTSUPP);
	/* A file that is always ready, as files are. */
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
	assert_int_equal(poll(&poll_fd, 1, 0), 1);
	close(fd);
	char *after = read_lock(fixture, ".history/backup");
	assert_string_equal(after, before);
	assert_int_equal(count_names(fixture), 0);
	free(after);
	free(before);
}

static void row16_bad_names_have_no_history(void **state)
{
	const struct fixture *fixture = *state;
	char longest[300];

	assert_int_equal(try_open(fixture, ".history/.history", O_RDONLY), ENOENT);
	assert_int_equal(try_open(fixture, ".history/.backup", O_RDONLY), ENOENT);
	assert_int_equal(try_open(fixture, ".history/nobody", O_RDONLY), ENOENT);
	assert_int_equal(try_open(fixture, ".history", O_WRONLY), EISDIR);
	/* The longest, which here stands behind the folder's name. */
	memset(longest, 'n', sizeof longest);
	longest[RELOCK_NAME_MAX] = '\0';
	hold_once(fixture, longest, "x");
	char path[sizeof longest + 16];
	snprintf(path, sizeof path, ".history/%s", longest);
	char *text = read_lock(fixture, path);
	assert_value(text, "lock", longest);
	free(text);
}

/* The inode of a file that is not open is there until the kernel forgets it:
 * the daemon says how many names that is. */
static long names_known(const struct fixture *fixture)
{
	char value[32] = "";

	assert_true(getxattr(fixture->daemon.mountpoint, "user.relock.names", value,
			     sizeof value - 1) > 0);
	return atol(value);
}

static void fact02_names_of_the_history_are_forgotten(void **state)
{
	const struct fixture *fixture = *state;
	enum { NAMES = 300 };
	char name[48];

	for (int i = 0; i < NAMES; i++) {
		snprintf(name, sizeof name, "name-%d", i);
		int fd = open_lock(fixture, name, TO_HOLD);
		close(fd);
	}
	assert_int_equal(shell(fixture, "ls -l $LOCKS/.history >/dev/null"), 0);
	assert_true(names_known(fixture) > 0);
	/* No event tells of it. */
	time_t deadline = time(NULL) + 20;
	while (names_known(fixture) > 0) {
		assert_true(time(NULL) < deadline);
		sched_yield();
	}
	assert_int_equal(count_history(fixture), NAMES);
	char *text = read_lock(fixture, ".history/name-7");
	assert_value(text, "lock", "name-7");
	free(text);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROW(row13_shows_the_last_holder_and_its_info),
		ROW(row13_the_same_text_as_the_store),
		ROW(row13_shows_holds_outside_the_mount),
		ROW(row13_says_who_broke_it),
		ROW(row13_is_not_there_while_it_is_held_again),
		ROW(row13_lists_the_names_that_have_a_history),
		ROW(row10_find_and_ls_show_no_history),
		ROW(row13_stat_shows_owner_time_and_size),
		ROW(row13_extended_attributes),
		ROW(row13_nothing_can_be_written_removed_or_locked),
		ROW(row16_bad_names_have_no_history),
		ROW(fact02_names_of_the_history_are_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
