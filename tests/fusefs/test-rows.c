/*
 * What a program does with /locks/NAME, and what it means: the table of the
 * contract, a row a test.
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum { TO_HOLD = O_WRONLY | O_CREAT };

static void row01_open_for_writing_acquires(void **state)
{
	const struct fixture *fixture = *state;
	char pid[16];

	int fd = open_lock(fixture, "backup", TO_HOLD);
	char *text = read_lock(fixture, "backup");
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	assert_value(text, "state", "held");
	assert_value(text, "mode", "exclusive");
	assert_value(text, "pid", pid);
	free(text);
	close(fd);
	assert_null(read_lock(fixture, "backup"));
}

static void row01_open_for_both_acquires_and_reads(void **state)
{
	const struct fixture *fixture = *state;
	char text[4096] = "";

	int fd = open_lock(fixture, "backup", O_RDWR | O_CREAT);
	assert_true(read(fd, text, sizeof text - 1) > 0);
	assert_value(text, "lock", "backup");
	assert_value(text, "state", "held");
	close(fd);
}

static void row01_open_waits_for_its_turn(void **state)
{
	const struct fixture *fixture = *state;
	struct opener waiter;

	int fd = open_lock(fixture, "backup", TO_HOLD);
	opener_start(&waiter, fixture, "backup", TO_HOLD);
	wait_until_blocked(waiter.peer.pid, SYS_openat);
	await_waiters(fixture, "backup", 1);
	assert_true(peer_is_silent(&waiter.peer));
	close(fd);
	assert_int_equal(peer_hear(&waiter.peer), 0);
	opener_close(&waiter);
}

static void row01_without_creat_a_free_name_is_not_there(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(try_open(fixture, "free", O_WRONLY), ENOENT);
	assert_int_equal(try_open(fixture, "free", O_RDWR), ENOENT);
}

static void row01_without_creat_a_held_one_is_waited_for(void **state)
{
	const struct fixture *fixture = *state;
	struct opener waiter;

	int fd = open_lock(fixture, "backup", TO_HOLD);
	opener_start(&waiter, fixture, "backup", O_WRONLY);
	await_waiters(fixture, "backup", 1);
	close(fd);
	assert_int_equal(peer_hear(&waiter.peer), 0);
	opener_close(&waiter);
}

static void row01_the_holder_itself_is_told_of_the_deadlock(void **state)
{
	const struct fixture *fixture = *state;
	int fd = open_lock(fixture, "backup", TO_HOLD);

	assert_int_equal(try_open(fixture, "backup", TO_HOLD), EDEADLK);
	close(fd);
	assert_int_equal(try_open(fixture, "backup", TO_HOLD), 0);
}

static int open_leave_to_child_and_open_again(struct peer *self, void *path)
{
	int fd = open(path, TO_HOLD | O_CLOEXEC, 0666);
	pid_t child = fork();

	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pause();
		_exit(0);
	}
	close(fd);
	peer_say(self, child);
	peer_say(self, open(path, TO_HOLD | O_CLOEXEC, 0666) < 0 ? errno : 0);
	return 0;
}

/* Whoever opened it has closed it, and its child holds on: to wait is right. */
static void row01_one_whose_child_holds_it_waits(void **state)
{
	const struct fixture *fixture = *state;
	char path[PATH_MAX];

	strcpy(path, lock_path(fixture, "backup"));
	struct peer peer = peer_start(open_leave_to_child_and_open_again, path);
	pid_t child = peer_hear(&peer);
	await_waiters(fixture, "backup", 1);
	kill(child, SIGKILL);
	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(peer_reap(&peer), 0);
}

static void row02_nonblock_refuses(void **state)
{
	const struct fixture *fixture = *state;

	int fd = open_lock(fixture, "backup", TO_HOLD | O_NONBLOCK);
	assert_int_equal(try_open(fixture, "backup", TO_HOLD | O_NONBLOCK), EAGAIN);
	assert_int_equal(try_open(fixture, "backup", O_WRONLY | O_NONBLOCK), EAGAIN);
	close(fd);
	assert_int_equal(try_open(fixture, "backup", TO_HOLD | O_NONBLOCK), 0);
}

static void row03_excl_refuses(void **state)
{
	const struct fixture *fixture = *state;

	int fd = open_lock(fixture, "backup", TO_HOLD | O_EXCL);
	assert_int_equal(try_open(fixture, "backup", TO_HOLD | O_EXCL), EEXIST);
	close(fd);
	assert_int_equal(try_open(fixture, "backup", TO_HOLD | O_EXCL), 0);
}

static void row03_excl_in_shells_and_python(void **state)
{
	const struct fixture *fixture = *state;
	static const char *const tries[] = {
		"bash -c 'set -C; exec 9>$LOCKS/backup' 2>/dev/null",
		"dash -c 'set -C; exec 9>$LOCKS/backup' 2>/dev/null",
		("python3 -c 'import os; open(os.environ[\"LOCKS\"] + \"/backup\", \"x\")' "
		 "2>/dev/null"),
	};

	for (size_t i = 0; i < sizeof tries / sizeof *tries; i++) {
		int fd = open_lock(fixture, "backup", TO_HOLD);
		assert_int_not_equal(shell(fixture, tries[i]), 0);
		close(fd);
		assert_int_equal(shell(fixture, tries[i]), 0);
	}
}

static void row04_open_for_reading_looks(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(try_open(fixture, "backup", O_RDONLY), ENOENT);
	int fd = open_lock(fixture, "backup", TO_HOLD);
	int look = open_lock(fixture, "backup", O_RDONLY);
	close(fd);
	/* The look holds nothing. */
	assert_int_equal(try_open(fixture, "backup", TO_HOLD | O_NONBLOCK), 0);
	char text[4096] = "";
	assert_true(pread(look, text, sizeof text - 1, 0) > 0);
	assert_value(text, "state", "free");
	close(look);
}

static void row05_open_for_reading_with_creat_holds_nothing(void **state)
{
	const struct fixture *fixture = *state;

	int fd = open_lock(fixture, "backup", O_RDONLY | O_CREAT);
	assert_int_equal(access(lock_path(fixture, "backup"), F_OK), -1);
	assert_int_equal(try_open(fixture, "backup", TO_HOLD | O_NONBLOCK), 0);
	close(fd);
	int holder = open_lock(fixture, "backup", TO_HOLD);
	assert_int_equal(try_open(fixture, "backup", O_RDONLY | O_CREAT), 0);
	assert_int_equal(try_open(fixture, "backup", O_RDONLY | O_CREAT | O_EXCL), EEXIST);
	close(holder);
}

static void row06_read_shows_the_state(void **state)
{
	static const char *const keys[] = {"lock",    "state", "mode",     "pid",
					   "started", "via",   "command",  "user",
					   "host",    "since", "held-for", "token"};
	const struct fixture *fixture = *state;
	struct opener waiters[3];
	char expected[64];

	int fd = open_lock(fixture, "backup", TO_HOLD);
	for (size_t i = 0; i < 3; i++) {
		opener_start(&waiters[i], fixture, "backup", TO_HOLD);
		await_waiters(fixture, "backup", i + 1);
	}
	char *text = read_lock(fixture, "backup");
	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
		char *value = value_of(text, keys[i]);
		if (!value)
			fail_msg("no key \"%s\" in:\n%s", keys[i], text);
		free(value);
	}
	snprintf(expected, sizeof expected, "%d %d %d", (int)waiters[0].peer.pid,
		 (int)waiters[1].peer.pid, (int)waiters[2].peer.pid);
	assert_value(text, "waiters", expected);
	assert_value(text, "user", "root");
	free(text);
	close(fd);
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(peer_hear(&waiters[i].peer), 0);
		opener_close(&waiters[i]);
	}
}

/* BusyBox's cat reads so: at once after open, without a stat. */
static void row06_sendfile_shows_the_state(void **state)
{
	const struct fixture *fixture = *state;
	int out = memfd_create("out", MFD_CLOEXEC);
	char text[4096] = "";

	assert_true(out >= 0);
	int holder = open_lock(fixture, "backup", TO_HOLD);
	assert_int_equal(write(holder, "nightly\n", 8), 8);
	int fd = open_lock(fixture, "backup", O_RDONLY);
	ssize_t sent = sendfile(out, fd, NULL, 1 << 20);
	assert_true(sent > 0);
	assert_int_equal(sendfile(out, fd, NULL, 1 << 20), 0);
	assert_int_equal(pread(out, text, sizeof text - 1, 0), sent);
	assert_value(text, "lock", "backup");
	assert_value(text, "info", "nightly");
	close(fd);

	/* Nothing of it is kept for the next open. */
	assert_int_equal(write(holder, "weekly\n", 7), 7);
	fd = open_lock(fixture, "backup", O_RDONLY);
	sent = sendfile(out, fd, NULL, 1 << 20);
	assert_true(sent > 0);
	memset(text, 0, sizeof text);
	assert_true(pread(out, text, sizeof text - 1, lseek(out, 0, SEEK_CUR) - sent) == sent);
	assert_value(text, "info", "weekly");
	close(fd);
	close(holder);
	close(out);
}

static void row06_the_same_keys_as_the_store(void **state)
{
	const struct fixture *fixture = *state;
	struct relock_status *status;
	char *of_store;

	int fd = open_lock(fixture, "backup", TO_HOLD);
	assert_int_equal(write(fd, "hello", 5), 5);
	assert_int_equal(relock_status(fixture->store, "backup", &status), 0);
	assert_int_equal(relock_status_text(status, &of_store), 0);
	char *of_mount = read_lock(fixture, "backup");
	const char *store_line = of_store, *mount_line = of_mount;
	while (*store_line && *mount_line) {
		size_t key = strcspn(store_line, ":");
		assert_memory_equal(store_line, mount_line, key);
		store_line += strcspn(store_line, "\n") + 1;
		mount_line += strcspn(mount_line, "\n") + 1;
	}
	assert_string_equal(store_line, mount_line);
	static const char *const equal[] = {"pid",   "command", "user", "host",
					    "token", "via",     "info"};
	for (size_t i = 0; i < sizeof equal / sizeof *equal; i++) {
		char *value = value_of(of_store, equal[i]);
		assert_non_null(value);
		assert_value(of_mount, equal[i], value);
		free(value);
	}
	free(of_mount);
	free(of_store);
	relock_status_free(status);
	close(fd);
}

static void row07_write_sets_the_info(void **state)
{
	const struct fixture *fixture = *state;

	int fd = open_lock(fixture, "backup", TO_HOLD);
	assert_int_equal(write(fd, "first\n", 6), 6);
	char *text = read_lock(fixture, "backup");
	assert_value(text, "info", "first");
	free(text);
	/* Offsets do not matter: this one is at 6. */
	assert_int_equal(write(fd, "a\tb\nc", 5), 5);
	text = read_lock(fixture, "backup");
	assert_value(text, "info", "a\\tb\\nc");
	free(text);
	assert_int_equal(ftruncate(fd, 0), 0);
	text = read_lock(fixture, "backup");
	assert_null(value_of(text, "info"));
	free(text);
	close(fd);
}

static void row07_info_of_4096_bytes_and_one_more(void **state)
{
	const struct fixture *fixture = *state;
	char info[4098];

	memset(info, 'i', sizeof info);
	int fd = open_lock(fixture, "backup", TO_HOLD);
	assert_int_equal(write(fd, info, 4096), 4096);
	char *text = read_lock(fixture, "backup"), *value = value_of(text, "info");
	assert_int_equal(strlen(value), 4096);
	free(value);
	free(text);
	assert_int_equal(write(fd, info, 4097), -1);
	assert_int_equal(errno, EFBIG);
	info[4096] = '\n';
	assert_int_equal(write(fd, info, 4097), 4097);
	close(fd);
}

static void row07_echo_and_exec(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(shell(fixture, "exec 9>$LOCKS/backup; echo at work >&9;"
					"grep -q '^info: at work$' $LOCKS/backup"),
			 0);
	assert_int_equal(
		shell(fixture, "bash -c 'echo x > $LOCKS/backup'; test ! -e $LOCKS/backup"), 0);
}

static void row07_a_reader_cannot_write(void **state)
{
	const struct fixture *fixture = *state;

	int fd = open_lock(fixture, "backup", TO_HOLD);
	assert_int_equal(flock(fd, LOCK_UN), 0);
	assert_int_equal(write(fd, "x", 1), -1);
	assert_int_equal(errno, EPERM);
	close(fd);
}

static void row08_flock_is_the_same_lock(void **state)
{
	const struct fixture *fixture = *state;
	struct opener waiter;

	int fd = open_lock(fixture, "backup", O_RDONLY | O_CREAT);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(try_open(fixture, "backup", TO_HOLD | O_NONBLOCK), EAGAIN);
	opener_start(&waiter, fixture, "backup", TO_HOLD);
	await_waiters(fixture, "backup", 1);
	assert_int_equal(flock(fd, LOCK_UN), 0);
	assert_int_equal(peer_hear(&waiter.peer), 0);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), -1);
	assert_int_equal(errno, EWOULDBLOCK);
	opener_close(&waiter);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	close(fd);
}

static void row08_flock_shared(void **state)
{
	const struct fixture *fixture = *state;
	struct opener writer;

	int first = open_lock(fixture, "backup", O_RDONLY | O_CREAT);
	assert_int_equal(flock(first, LOCK_SH), 0);
	int second = open_lock(fixture, "backup", O_RDONLY | O_CREAT);
	assert_int_equal(flock(second, LOCK_SH | LOCK_NB), 0);
	char *text = read_lock(fixture, "backup");
	assert_value(text, "mode", "shared");
	free(text);
	assert_int_equal(flock(second, LOCK_EX | LOCK_NB), -1);
	assert_int_equal(errno, EWOULDBLOCK);
	opener_start(&writer, fixture, "backup", TO_HOLD);
	await_waiters(fixture, "backup", 1);
	/* First come, first served: the writer goes before a later reader. */
	int third = open_lock(fixture, "backup", O_RDONLY | O_CREAT);
	assert_int_equal(flock(third, LOCK_SH | LOCK_NB), -1);
	assert_int_equal(errno, EWOULDBLOCK);
	close(first);
	assert_true(peer_is_silent(&writer.peer));
	close(second);
	assert_int_equal(peer_hear(&writer.peer), 0);
	opener_close(&writer);
	close(third);
}

static void row08_flock_on_a_descriptor_that_holds(void **state)
{
	const struct fixture *fixture = *state;

	int fd = open_lock(fixture, "backup", O_RDWR | O_CREAT);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	assert_int_equal(flock(fd, LOCK_SH), 0);
	char *text = read_lock(fixture, "backup");
	assert_value(text, "mode", "shared");
	free(text);
	int other = open_lock(fixture, "backup", O_RDONLY);
	assert_int_equal(flock(other, LOCK_SH | LOCK_NB), 0);
	close(other);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	text = read_lock(fixture, "backup");
	assert_value(text, "mode", "exclusive");
	free(text);
	assert_int_equal(flock(fd, LOCK_UN), 0);
	assert_null(read_lock(fixture, "backup"));
	close(fd);
}

static void row08_flock_command(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(shell(fixture, "flock $LOCKS/backup sh -c '"
					"flock -n $LOCKS/backup true; test $? = 1'"),
			 0);
	assert_int_equal(shell(fixture, "flock -s $LOCKS/backup flock -s -n $LOCKS/backup true"),
			 0);
	assert_int_equal(shell(fixture, "test -e $LOCKS/backup"), 1);
}

static void row09_last_close_of_a_duplicate_releases(void **state)
{
	const struct fixture *fixture = *state;

	int fd = open_lock(fixture, "backup", TO_HOLD);
	int duplicate = dup(fd);
	close(fd);
	assert_int_equal(try_open(fixture, "backup", O_WRONLY | O_NONBLOCK), EAGAIN);
	close(duplicate);
	assert_int_equal(try_open(fixture, "backup", O_WRONLY | O_NONBLOCK), ENOENT);
}

static void row09_exit_releases(void **state)
{
	const struct fixture *fixture = *state;
	struct opener holder;

	opener_start(&holder, fixture, "backup", TO_HOLD);
	assert_int_equal(peer_hear(&holder.peer), 0);
	peer_say(&holder.peer, EXIT_OPEN);
	assert_int_equal(peer_reap(&holder.peer), 0);
	assert_int_equal(try_open(fixture, "backup", TO_HOLD | O_NONBLOCK), 0);
}

static void row09_sigkill_releases_to_the_next(void **state)
{
	const struct fixture *fixture = *state;
	struct opener holder, waiter;

	opener_start(&holder, fixture, "backup", TO_HOLD);
	assert_int_equal(peer_hear(&holder.peer), 0);
	opener_start(&waiter, fixture, "backup", TO_HOLD);
	await_waiters(fixture, "backup", 1);
	peer_kill(&holder.peer);
	assert_int_equal(peer_hear(&waiter.peer), 0);
	opener_close(&waiter);
}

static void row10_ls_shows_the_locks_held_now(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(count_names(fixture), 0);
	int first = open_lock(fixture, "first", TO_HOLD);
	int second = open_lock(fixture, "second", TO_HOLD);
	assert_int_equal(count_names(fixture), 2);
	assert_int_equal(shell(fixture, "test \"$(ls $LOCKS | tr '\\n' ' ')\" = 'first second '"),
			 0);
	close(first);
	assert_int_equal(count_names(fixture), 1);
	assert_int_equal(shell(fixture, "test -e $LOCKS/second && test ! -e $LOCKS/first"), 0);
	close(second);
	assert_int_equal(count_names(fixture), 0);
}

static void row10_rewinding_lists_anew(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(shell(fixture, "find $LOCKS -type f | grep -q . && exit 1; exit 0"), 0);
	int fd = open_lock(fixture, "first", TO_HOLD);
	assert_int_equal(shell(fixture, "find $LOCKS -type f | grep -q /first$"), 0);
	close(fd);
}

static void row10_stat_shows_owner_time_and_size(void **state)
{
	const struct fixture *fixture = *state;
	struct timespec before, after;
	struct stat status;
	enum { SOMEBODY = 12345, SOME_GROUP = 23456 };

	assert_int_equal(setegid(SOME_GROUP), 0);
	assert_int_equal(seteuid(SOMEBODY), 0);
	clock_gettime(CLOCK_REALTIME, &before);
	int fd = open(lock_path(fixture, "backup"), TO_HOLD | O_CLOEXEC, 0666);
	clock_gettime(CLOCK_REALTIME, &after);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(setegid(0), 0);
	assert_true(fd >= 0);
	assert_int_equal(stat(lock_path(fixture, "backup"), &status), 0);
	assert_true(S_ISREG(status.st_mode));
	assert_int_equal(status.st_uid, SOMEBODY);
	assert_int_equal(status.st_gid, SOME_GROUP);
	assert_int_equal(status.st_nlink, 1);
	assert_true(status.st_mtim.tv_sec >= before.tv_sec &&
		    status.st_mtim.tv_sec <= after.tv_sec);
	char *text = read_lock(fixture, "backup");
	assert_int_equal(status.st_size, strlen(text));
	assert_value(text, "user", "12345");
	free(text);
	struct stat by_descriptor;
	assert_int_equal(fstat(fd, &by_descriptor), 0);
	assert_int_equal(by_descriptor.st_ino, status.st_ino);
	close(fd);
	assert_int_equal(stat(lock_path(fixture, "backup"), &status), -1);
	assert_int_equal(errno, ENOENT);
}

static void row11_rm_breaks(void **state)
{
	const struct fixture *fixture = *state;
	struct opener holder, waiter;

	opener_start(&holder, fixture, "backup", O_RDWR | O_CREAT);
	assert_int_equal(peer_hear(&holder.peer), 0);
	opener_start(&waiter, fixture, "backup", TO_HOLD);
	await_waiters(fixture, "backup", 1);
	assert_int_equal(unlink(lock_path(fixture, "backup")), 0);
	assert_int_equal(peer_hear(&waiter.peer), 0);
	assert_int_equal(opener_ask(&holder, READ_ERRNO), ESTALE);
	assert_int_equal(opener_ask(&holder, WRITE_ERRNO), ESTALE);
	assert_int_equal(opener_ask(&holder, FSYNC_ERRNO), ESTALE);
	assert_int_equal(opener_ask(&waiter, WRITE_ERRNO), 0);
	/* The old holder's close is not the new one's release. */
	opener_close(&holder);
	assert_int_equal(try_open(fixture, "backup", TO_HOLD | O_NONBLOCK), EAGAIN);
	opener_close(&waiter);
	assert_int_equal(unlink(lock_path(fixture, "backup")), -1);
	assert_int_equal(errno, ENOENT);
}

static void row11_history_says_who_broke_it(void **state)
{
	const struct fixture *fixture = *state;
	struct relock_status *status = NULL;
	struct opener holder;

	opener_start(&holder, fixture, "backup", O_RDWR | O_CREAT);
	assert_int_equal(peer_hear(&holder.peer), 0);
	assert_int_equal(unlink(lock_path(fixture, "backup")), 0);
	assert_int_equal(relock_status(fixture->store, "backup", &status), 0);
	assert_int_equal(status->state, RELOCK_FREE);
	assert_int_equal(status->last_end, RELOCK_END_BROKEN);
	assert_int_equal(status->broken_by_pid, getpid());
	relock_status_free(status);
	opener_close(&holder);
}

static void row11_rm_is_for_root_and_the_holders_user(void **state)
{
	const struct fixture *fixture = *state;

	int fd = open_lock(fixture, "backup", TO_HOLD);
	assert_int_equal(seteuid(12345), 0);
	assert_int_equal(unlink(lock_path(fixture, "backup")), -1);
	assert_int_equal(errno, EPERM);
	int own = open(lock_path(fixture, "own"), TO_HOLD | O_CLOEXEC, 0666);
	assert_true(own >= 0);
	assert_int_equal(unlink(lock_path(fixture, "own")), 0);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(fsync(own), -1);
	assert_int_equal(errno, ESTALE);
	close(own);
	close(fd);
}

static void row11_relock_break_goes_through_the_mount(void **state)
{
	const struct fixture *fixture = *state;
	struct relock_status *before = NULL;

	int fd = open_lock(fixture, "backup", TO_HOLD);
	assert_int_equal(relock_break(fixture->store, "backup", &before), 0);
	assert_int_equal(before->holders[0].pid, getpid());
	relock_status_free(before);
	assert_int_equal(fsync(fd), -1);
	assert_int_equal(errno, ESTALE);
	assert_null(read_lock(fixture, "backup"));
	close(fd);
}

static void row12_extended_attributes(void **state)
{
	const struct fixture *fixture = *state;
	char value[64], pid[16];

	int fd = open_lock(fixture, "backup", TO_HOLD);
	assert_int_equal(write(fd, "hello", 5), 5);
	const char *path = lock_path(fixture, "backup");
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	assert_int_equal(getxattr(path, "user.relock.pid", value, sizeof value), strlen(pid));
	assert_memory_equal(value, pid, strlen(pid));
	assert_int_equal(getxattr(path, "user.relock.info", NULL, 0), 5);
	assert_int_equal(getxattr(path, "user.relock.info", value, 4), -1);
	assert_int_equal(errno, ERANGE);
	assert_int_equal(getxattr(path, "user.relock.nonsense", value, sizeof value), -1);
	assert_int_equal(errno, ENODATA);
	assert_int_equal(setxattr(path, "user.relock.info", "x", 1, 0), -1);
	assert_int_equal(errno, EPERM);
	/* One for each line of the text. */
	assert_int_equal(shell(fixture, "test $(getfattr -d $LOCKS/backup 2>/dev/null | grep -c "
					"^user.relock) = $(wc -l <$LOCKS/backup)"),
			 0);
	assert_int_equal(shell(fixture, "getfattr -d $LOCKS/backup 2>/dev/null | "
					"grep -q '^user.relock.mode=\"exclusive\"$'"),
			 0);
	close(fd);
}

static void row14_poll_wakes_on_every_change(void **state)
{
	const struct fixture *fixture = *state;
	char text[4096];

	int look = open_lock(fixture, "backup", O_RDONLY | O_CREAT);
	struct pollfd poll_fd = {.fd = look, .events = POLLPRI};
	assert_true(pread(look, text, sizeof text, 0) > 0);
	assert_int_equal(poll(&poll_fd, 1, 0), 0);
	int fd = open_lock(fixture, "backup", TO_HOLD);
	assert_int_equal(poll(&poll_fd, 1, 10000), 1);
	assert_true(pread(look, text, sizeof text, 0) > 0);
	assert_int_equal(poll(&poll_fd, 1, 0), 0);
	assert_int_equal(write(fd, "x", 1), 1);
	assert_int_equal(poll(&poll_fd, 1, 10000), 1);
	assert_true(pread(look, text, sizeof text, 0) > 0);
	close(fd);
	assert_int_equal(poll(&poll_fd, 1, 10000), 1);
	close(look);
}

static void row15_record_locks(void **state)
{
	const struct fixture *fixture = *state;
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	int fd = open_lock(fixture, "backup", O_RDWR | O_CREAT);
	assert_int_equal(fcntl(fd, F_SETLK, &lock), 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	assert_int_equal(fcntl(fd, F_GETLK, &lock), 0);
	assert_int_equal(lock.l_type, F_UNLCK);
	assert_int_equal(lockf(fd, F_LOCK, 0), 0);
	int look = open_lock(fixture, "backup", O_RDONLY);
	lock.l_type = F_RDLCK;
	assert_int_equal(fcntl(look, F_SETLK, &lock), -1);
	assert_int_equal(errno, EOPNOTSUPP);
	close(look);
	close(fd);
}

static void row16_the_rest_is_refused(void **state)
{
	const struct fixture *fixture = *state;
	char other[PATH_MAX];

	int fd = open_lock(fixture, "backup", TO_HOLD);
	const char *path = lock_path(fixture, "backup");
	snprintf(other, sizeof other, "%s2", path);
	assert_int_equal(rename(path, other), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(link(path, other), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(symlink("x", other), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(mkdir(other, 0777), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(mkfifo(other, 0777), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(truncate(path, 0), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(chmod(path, 0777), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(open(path, O_RDONLY | O_TRUNC), -1);
	assert_int_equal(errno, EPERM);
	assert_int_equal(ftruncate(fd, 5), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(fallocate(fd, 0, 0, 5), -1);
	assert_int_equal(errno, EOPNOTSUPP);
	assert_int_equal(count_names(fixture), 1);
	close(fd);
}

static void row16_bad_names(void **state)
{
	const struct fixture *fixture = *state;
	char longest[257];

	memset(longest, 'n', sizeof longest);
	longest[256] = '\0';
	assert_int_equal(try_open(fixture, longest, TO_HOLD), ENAMETOOLONG);
	longest[255] = '\0';
	assert_int_equal(try_open(fixture, longest, TO_HOLD), 0);
	assert_int_equal(try_open(fixture, ".hidden", TO_HOLD), EINVAL);
	assert_int_equal(try_open(fixture, "a\nb", TO_HOLD), EINVAL);
	assert_int_equal(try_open(fixture, "a\x7f", TO_HOLD), EINVAL);
	assert_int_equal(try_open(fixture, ".hidden", O_RDONLY), ENOENT);
	assert_int_equal(try_open(fixture, "b\xc3\xa4r \\ *", TO_HOLD), 0);
}

/* Opens the lock, leaves it to a child, and ends; the child ends when the test
 * closes its side. */
static int heir_main(struct peer *self, void *path)
{
	int fd = open(path, TO_HOLD | O_CLOEXEC, 0666);
	pid_t child = fd < 0 ? -1 : fork();

	if (child == 0) {
		peer_say(self, 0);
		(void)peer_hear(self);
	}
	return child < 0;
}

static void row06_names_no_process_that_is_gone(void **state)
{
	const struct fixture *fixture = *state;
	char path[PATH_MAX];
	siginfo_t info;

	strcpy(path, lock_path(fixture, "backup"));
	struct peer holder = peer_start(heir_main, path);
	assert_int_equal(peer_hear(&holder), 0);
	/* Ended, and not reaped: its child would be left alone. */
	assert_int_equal(waitid(P_PID, (id_t)holder.pid, &info, WEXITED | WNOWAIT), 0);
	char *text = read_lock(fixture, "backup");
	assert_value(text, "state", "held");
	assert_value(text, "user", "root");
	assert_null(value_of(text, "pid"));
	assert_null(value_of(text, "started"));
	free(text);
	assert_int_equal(try_open(fixture, "backup", TO_HOLD | O_NONBLOCK), EAGAIN);
	assert_int_equal(peer_reap(&holder), 0);
	await_state(fixture, "backup", false);
}

#define ROW(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ROW(row01_open_for_writing_acquires),
		ROW(row01_open_for_both_acquires_and_reads),
		ROW(row01_open_waits_for_its_turn),
		ROW(row01_without_creat_a_free_name_is_not_there),
		ROW(row01_without_creat_a_held_one_is_waited_for),
		ROW(row01_the_holder_itself_is_told_of_the_deadlock),
		ROW(row01_one_whose_child_holds_it_waits),
		ROW(row02_nonblock_refuses),
		ROW(row03_excl_refuses),
		ROW(row03_excl_in_shells_and_python),
		ROW(row04_open_for_reading_looks),
		ROW(row05_open_for_reading_with_creat_holds_nothing),
		ROW(row06_read_shows_the_state),
		ROW(row06_sendfile_shows_the_state),
		ROW(row06_the_same_keys_as_the_store),
		ROW(row06_names_no_process_that_is_gone),
		ROW(row07_write_sets_the_info),
		ROW(row07_info_of_4096_bytes_and_one_more),
		ROW(row07_echo_and_exec),
		ROW(row07_a_reader_cannot_write),
		ROW(row08_flock_is_the_same_lock),
		ROW(row08_flock_shared),
		ROW(row08_flock_on_a_descriptor_that_holds),
		ROW(row08_flock_command),
		ROW(row09_last_close_of_a_duplicate_releases),
		ROW(row09_exit_releases),
		ROW(row09_sigkill_releases_to_the_next),
		ROW(row10_ls_shows_the_locks_held_now),
		ROW(row10_rewinding_lists_anew),
		ROW(row10_stat_shows_owner_time_and_size),
		ROW(row11_rm_breaks),
		ROW(row11_history_says_who_broke_it),
		ROW(row11_rm_is_for_root_and_the_holders_user),
		ROW(row11_relock_break_goes_through_the_mount),
		ROW(row12_extended_attributes),
		ROW(row14_poll_wakes_on_every_change),
		ROW(row15_record_locks),
		ROW(row16_the_rest_is_refused),
		ROW(row16_bad_names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
