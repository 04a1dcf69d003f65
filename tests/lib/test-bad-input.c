/*
 * Bad input: names, stores, lock files, limits.  Each gets a clear error or a
 * documented lesser result, and never a second holder.
 */
#include "cleanup.h"
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

static void expect_message(void)
{
	assert_string_not_equal(relock_error_message(), "");
}

/* Names */

static void expect_bad_name(void **state, const char *name, int error)
{
	const struct fixture *fixture = *state;
	struct relock_status *status = NULL;
	relock_lock *lock = NULL;

	assert_int_equal(relock_lock_open(&lock, fixture->store, name), error);
	expect_message();
	assert_null(lock);
	assert_int_equal(relock_status(fixture->store, name, &status), error);
	assert_int_equal(relock_break(fixture->store, name, NULL), error);
}

static void names_that_are_none(void **state)
{
	char name[258];

	expect_bad_name(state, "", -EINVAL);
	expect_bad_name(state, ".", -EINVAL);
	expect_bad_name(state, "..", -EINVAL);
	expect_bad_name(state, ".hidden", -EINVAL);
	expect_bad_name(state, "a/b", -EINVAL);
	expect_bad_name(state, "/a", -EINVAL);
	expect_bad_name(state, "a\nb", -EINVAL);
	expect_bad_name(state, "a\x1b[2J", -EINVAL);
	/* ... and the message does not obey it. */
	assert_null(strchr(relock_error_message(), '\x1b'));
	expect_bad_name(state, "a\x7f", -EINVAL);
	memset(name, 'n', 256);
	name[256] = '\0';
	expect_bad_name(state, name, -ENAMETOOLONG);
}

static void longest_name_is_fine(void **state)
{
	char name[256];

	memset(name, 'n', 255);
	name[255] = '\0';
	relock_lock *lock = handle(*state, name);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(try_elsewhere(*state, name), -EAGAIN);
	relock_lock_close(lock);
}

static void names_need_not_be_ascii(void **state)
{
	relock_lock *lock = handle(*state, "sperre \xc3\xa4 \xff");

	assert_int_equal(try_lock(lock), 0);
	assert_string_equal(state_of(*state, "sperre \xc3\xa4 \xff", "lock"),
			    "sperre \xc3\xa4 \\xff");
	relock_lock_close(lock);
}

/* Paths */

static void path_is_a_lock_file_of_that_name(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = NULL, *same = handle(*state, "foo.lock");

	assert_int_equal(relock_lock_open_path(&lock, NULL, path_of(fixture, "foo.lock")), 0);
	assert_int_equal(try_lock(lock), 0);
	assert_string_equal(relock_lock_name(lock), "foo.lock");
	assert_int_equal(strncmp(fixture->url, "ofd:", 4) == 0 ? try_lock(same) : -EAGAIN, -EAGAIN);
	relock_lock_close(lock);
	relock_lock_close(same);
}

static void path_relative_to_here(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = NULL;
	CLEANUP_CLOSE int here = open(".", O_PATH | O_CLOEXEC);

	assert_int_equal(chdir(fixture->folder), 0);
	assert_int_equal(relock_lock_open_path(&lock, NULL, "./foo.lock"), 0);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(access("foo.lock", F_OK), 0);
	assert_int_equal(fchdir(here), 0);
	relock_lock_close(lock);
	assert_int_equal(relock_lock_open_path(&lock, NULL, "/nowhere/at/all"), -ENOENT);
	expect_message();
	assert_int_equal(relock_lock_open_path(&lock, NULL, "/tmp/"), -EINVAL);
	assert_int_equal(relock_lock_open_path(&lock, NULL, "/tmp/.."), -EINVAL);
}

static void path_may_be_a_file_with_contents(void **state)
{
	const char *path = path_of(*state, "data.db");
	char contents[32] = "";
	relock_lock *lock = NULL;
	uint64_t token;

	CLEANUP_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(write(fd, "precious data", 13), 13);
	assert_int_equal(relock_lock_open_path(&lock, NULL, path), 0);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_set_info(lock, "x", 1), -ENODATA);
	/* No record, so no token that is sure to grow. */
	assert_int_equal(relock_token(lock, &token), -ENODATA);
	assert_int_equal(try_elsewhere(*state, "data.db"), -EAGAIN);
	/* The holder is found all the same. */
	assert_int_equal(atoi(state_of(*state, "data.db", "pid")), getpid());
	assert_int_equal(relock_release(lock), 0);
	relock_lock_close(lock);
	assert_int_equal(pread(fd, contents, sizeof contents, 0), 13);
	assert_string_equal(contents, "precious data");
}

/* Stores */

static void expect_bad_store(const char *url, int error)
{
	relock_store *store = NULL;

	assert_int_equal(relock_store_open(&store, url), error);
	expect_message();
	assert_null(store);
}

static void stores_that_are_none(void **state)
{
	const struct fixture *fixture = *state;
	char url[200], path[100];

	expect_bad_store("", -EINVAL);
	expect_bad_store("nonsense", -EINVAL);
	expect_bad_store("ofd:", -EINVAL);
	expect_bad_store("carrier-pigeon:/tmp", -EPROTONOSUPPORT);
	assert_non_null(strstr(relock_error_message(), "carrier-pigeon"));
	expect_bad_store("of:/tmp", -EPROTONOSUPPORT);
	snprintf(url, sizeof url, "ofd:%s/missing", fixture->folder);
	expect_bad_store(url, -ENOENT);
	snprintf(path, sizeof path, "%s/link", fixture->folder);
	assert_int_equal(symlink("/tmp", path), 0);
	snprintf(url, sizeof url, "ofd:%s", path);
	expect_bad_store(url, -ELOOP);
	snprintf(url, sizeof url, "ofd:%s//", path);
	expect_bad_store(url, -ELOOP);
	snprintf(path, sizeof path, "%s/file", fixture->folder);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	snprintf(url, sizeof url, "ofd:%s", path);
	expect_bad_store(url, -ENOTDIR);
}

static void folder_of_another_user_is_refused(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(chown(fixture->folder, 12345, 0), 0);
	expect_bad_store(fixture->url, -EPERM);
	assert_non_null(strstr(relock_error_message(), "12345"));
}

static void folder_open_to_all_must_be_sticky(void **state)
{
	const struct fixture *fixture = *state;
	relock_store *store = NULL;

	assert_int_equal(chmod(fixture->folder, 0777), 0);
	expect_bad_store(fixture->url, -EPERM);
	assert_int_equal(chmod(fixture->folder, 01777), 0);
	assert_int_equal(relock_store_open(&store, fixture->url), 0);
	relock_store_close(store);
	/* The remedy of SECURITY.md: a folder for one group. */
	assert_int_equal(chmod(fixture->folder, 02770), 0);
	assert_int_equal(relock_store_open(&store, fixture->url), 0);
	relock_store_close(store);
}

static int as_nobody(void)
{
	return setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0 ? -1 : 0;
}

/* Default store: each step in a mount namespace of its own. */
static int default_store(struct peer *self, void *argument)
{
	char *url = NULL, *why = NULL;
	const char *tmpfs = "tmpfs";

	unsetenv("RELOCK_STORE");
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(tmpfs, "/run", tmpfs, 0, NULL) < 0 || mount(tmpfs, "/tmp", tmpfs, 0, NULL) < 0)
		return 1;
	/* root makes /run/relock, open to all and sticky. */
	struct stat status;
	if (relock_store_default(&url, &why) < 0 || strcmp(url, "ofd:/run/relock") != 0 || !*why)
		return 2;
	if (stat("/run/relock", &status) < 0 || (status.st_mode & 07777) != 01777)
		return 3;
	/* A folder of one's own goes before it, if it exists. */
	if (mkdir("/tmp/relock-0", 0700) < 0 || relock_store_default(&url, &why) < 0 ||
	    strcmp(url, "ofd:/tmp/relock-0") != 0)
		return 4;
	/* ... and is refused if others may write in it. */
	if (chmod("/tmp/relock-0", 0755) < 0 || relock_store_default(&url, &why) != -EPERM)
		return 5;
	/* RELOCK_STORE goes before all. */
	setenv("RELOCK_STORE", "flock:/tmp", 1);
	if (relock_store_default(&url, &why) < 0 || strcmp(url, "flock:/tmp") != 0)
		return 6;
	unsetenv("RELOCK_STORE");
	/* A user without /run/relock makes a folder of their own. */
	if (rmdir("/run/relock") < 0 || chmod("/tmp", 01777) < 0 || as_nobody() < 0)
		return 7;
	if (relock_store_default(&url, &why) < 0 || strcmp(url, "ofd:/tmp/relock-65534") != 0)
		return 8;
	if (stat("/tmp/relock-65534", &status) < 0 || (status.st_mode & 07777) != 0700)
		return 9;
	return 0;
}

static void default_store_is_as_documented(void **state)
{
	struct peer peer = peer_start(default_store, NULL);

	assert_int_equal(peer_reap(&peer), 0);
}

/* Lock files */

static void make(void **state, const char *name, const void *contents, size_t length)
{
	CLEANUP_CLOSE int fd =
		open(path_of(*state, name), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	assert_int_equal(write(fd, contents, length), length);
}

/* Such a file is locked and excludes, and can be looked at. */
static void expect_it_locks(void **state, const char *name)
{
	relock_lock *lock = handle(*state, name);

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(try_elsewhere(*state, name), -EAGAIN);
	assert_string_equal(state_of(*state, name, "state"), "held");
	assert_int_equal(atoi(state_of(*state, name, "pid")), getpid());
	assert_int_equal(relock_release(lock), 0);
	assert_string_equal(state_of(*state, name, "state"), "free");
	assert_int_equal(try_shared(lock), 0);
	assert_string_equal(state_of(*state, name, "mode"), "shared");
	relock_lock_close(lock);
}

static void garbage_in_the_file_is_left_as_it_is(void **state)
{
	char garbage[9000], after[9000];

	for (size_t i = 0; i < sizeof garbage; i++)
		garbage[i] = (char)(i * 7 + 13);
	make(state, "demo", garbage, sizeof garbage);
	expect_it_locks(state, "demo");
	CLEANUP_CLOSE int fd = open(path_of(*state, "demo"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, after, sizeof after), sizeof after);
	assert_memory_equal(garbage, after, sizeof garbage);
}

static void truncated_record_is_no_record(void **state)
{
	for (int length = 511; length >= 16; length -= 30) {
		relock_lock *lock = handle(*state, "demo");
		assert_int_equal(try_lock(lock), 0);
		assert_int_equal(truncate(path_of(*state, "demo"), length), 0);
		assert_string_equal(state_of(*state, "demo", "state"), "held");
		assert_int_equal(atoi(state_of(*state, "demo", "pid")), getpid());
		relock_lock_close(lock);
		/* Part of a record of ours: the next holder writes over it. */
		assert_int_equal(truncate(path_of(*state, "demo"), length), 0);
		lock = handle(*state, "demo");
		assert_int_equal(try_lock(lock), 0);
		assert_non_null(state_of(*state, "demo", "token"));
		relock_lock_close(lock);
	}
	expect_it_locks(state, "demo");
}

/* Too short to tell: somebody's own, for all we know. */
static void few_bytes_are_left_as_they_are(void **state)
{
	char contents[32] = "";

	make(state, "demo", "re", 2);
	expect_it_locks(state, "demo");
	CLEANUP_CLOSE int fd = open(path_of(*state, "demo"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(read(fd, contents, sizeof contents), 2);
}

static void truncation_under_the_holder_harms_nobody(void **state)
{
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(truncate(path_of(*state, "demo"), 0), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	assert_int_equal(relock_set_info(lock, "again", 5), 0);
	assert_string_equal(state_of(*state, "demo", "info"), "again");
	assert_int_equal(relock_release(lock), 0);
	relock_lock_close(lock);
}

static void not_a_regular_file_is_refused(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	const char *path = path_of(*state, "demo");
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	assert_int_equal(mkdir(path, 0777), 0);
	assert_int_equal(try_lock(lock), -EISDIR);
	expect_message();
	assert_int_equal(rmdir(path), 0);
	assert_int_equal(mkfifo(path, 0666), 0);
	assert_int_equal(try_lock(lock), -EBADF);
	assert_int_equal(try_shared(lock), -EBADF);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(symlink("/etc/passwd", path), 0);
	assert_int_equal(try_lock(lock), -ELOOP);
	assert_int_equal(unlink(path), 0);
	strcpy(address.sun_path, path);
	CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	assert_int_equal(try_lock(lock), -EBADF);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(try_lock(lock), 0);
	relock_lock_close(lock);
}

/* Another user's file that may only be read. */
static int lock_as_nobody(struct peer *self, void *argument)
{
	struct fixture *fixture = argument;

	if (as_nobody() < 0)
		return 1;
	relock_lock *lock = handle(fixture, "demo");
	peer_say(self, try_lock(lock));
	peer_say(self, try_shared(lock));
	peer_hear(self);
	relock_lock_close(lock);
	return 0;
}

static void file_that_may_not_be_written(void **state)
{
	struct fixture *fixture = *state;
	bool ofd = strncmp(fixture->url, "ofd:", 4) == 0;

	assert_int_equal(chmod(fixture->folder, 01777), 0);
	make(state, "demo", "", 0);
	assert_int_equal(chmod(path_of(*state, "demo"), 0644), 0);
	struct peer peer = peer_start(lock_as_nobody, fixture);
	/* An exclusive OFD lock needs write access, a flock does not. */
	assert_int_equal(peer_hear(&peer), ofd ? -EACCES : 0);
	assert_int_equal(peer_hear(&peer), ofd ? 0 : -EALREADY);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	peer_say(&peer, 0);
	assert_int_equal(peer_reap(&peer), 0);
	/* Nothing at all may be read. */
	assert_int_equal(chmod(path_of(*state, "demo"), 0600), 0);
	peer = peer_start(lock_as_nobody, fixture);
	assert_int_equal(peer_hear(&peer), -EACCES);
	assert_int_equal(peer_hear(&peer), -EACCES);
	peer_say(&peer, 0);
	assert_int_equal(peer_reap(&peer), 0);
}

static void new_file_is_for_all_whatever_the_umask(void **state)
{
	mode_t old = umask(0777);
	relock_lock *lock = handle(*state, "demo");
	struct stat status;

	assert_int_equal(try_lock(lock), 0);
	umask(old);
	assert_int_equal(stat(path_of(*state, "demo"), &status), 0);
	assert_int_equal(status.st_mode & 07777, 0666);
	relock_lock_close(lock);
}

static void file_with_two_names_is_not_written_to(void **state)
{
	char other[400];
	struct stat status;

	make(state, "demo", "", 0);
	snprintf(other, sizeof other, "%s", path_of(*state, "other"));
	assert_int_equal(link(path_of(*state, "demo"), other), 0);
	expect_it_locks(state, "demo");
	assert_int_equal(stat(other, &status), 0);
	assert_int_equal(status.st_size, 0);
}

/* The name leads elsewhere: the lock on the old file does not count. */
static void replaced_file_is_noticed(void **state)
{
	char other[400];
	relock_lock *lock = handle(*state, "demo"), *next = handle(*state, "demo");

	assert_int_equal(try_lock(lock), 0);
	make(state, "other", "", 0);
	snprintf(other, sizeof other, "%s", path_of(*state, "other"));
	assert_int_equal(rename(other, path_of(*state, "demo")), 0);
	assert_int_equal(relock_check(lock), -ESTALE);
	expect_message();
	assert_int_equal(relock_release(lock), -ENOENT);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(try_lock(next), -EAGAIN);
	relock_lock_close(lock);
	relock_lock_close(next);
}

/* Nor does the next one become a second holder. */
static void holder_of_a_removed_file_still_excludes(void **state)
{
	struct holding holding = {*state, "demo", RELOCK_EXCLUSIVE};
	struct peer peer = peer_start(hold_until_told, &holding);
	relock_lock *lock = handle(*state, "demo"), *other = handle(*state, "other");

	assert_int_equal(peer_hear(&peer), 1);
	assert_int_equal(unlink(path_of(*state, "demo")), 0);
	assert_int_equal(try_lock(lock), -EAGAIN);
	assert_int_equal(try_shared(lock), -EAGAIN);
	assert_int_equal(lock_within(lock, 5 * RELOCK_MILLISECOND), -ETIMEDOUT);
	/* Replaced, by an empty file and by one with contents. */
	make(state, "demo", "", 0);
	assert_int_equal(try_lock(lock), -EAGAIN);
	assert_int_equal(unlink(path_of(*state, "demo")), 0);
	make(state, "demo", "contents", 8);
	assert_int_equal(try_lock(lock), -EAGAIN);
	assert_int_equal(try_lock(other), 0); /* not to be mixed up with it */
	peer_say(&peer, 0);
	assert_int_equal(peer_hear(&peer), 2);
	assert_int_equal(try_lock(lock), 0);
	peer_kill(&peer);
	relock_lock_close(lock);
	relock_lock_close(other);
}

/* Each of them, in whatever order they leave. */
static void all_holders_of_removed_files_exclude(void **state)
{
	struct holding holding = {*state, "demo", RELOCK_SHARED};
	relock_lock *lock = handle(*state, "demo");
	struct peer first = peer_start(hold_until_told, &holding);

	assert_int_equal(peer_hear(&first), 1);
	assert_int_equal(unlink(path_of(*state, "demo")), 0);
	/* One that knows nothing of the first, as an older program might. */
	make(state, "demo", "", 0);
	int second = open(path_of(*state, "demo"), O_RDWR | O_CLOEXEC);
	struct flock shared = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
	assert_int_equal(fcntl(second, F_OFD_SETLK, &shared), 0);
	assert_int_equal(flock(second, LOCK_SH), 0);
	assert_int_equal(unlink(path_of(*state, "demo")), 0);
	assert_int_equal(try_lock(lock), -EAGAIN);
	peer_kill(&first);
	assert_int_equal(try_lock(lock), -EAGAIN);
	close(second);
	assert_int_equal(try_lock(lock), 0);
	relock_lock_close(lock);
}

static void holder_of_a_removed_file_is_waited_for(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(unlink(path_of(*state, "demo")), 0);
	struct peer peer = peer_start(wait_until_told, *state);
	wait_until_blocked(peer.pid, strncmp(fixture->url, "ofd:", 4) == 0 ? SYS_fcntl : SYS_flock);
	assert_true(peer_is_silent(&peer));
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(try_lock(lock), -EAGAIN);
	peer_kill(&peer);
	relock_lock_close(lock);
}

/* File systems and limits */

struct elsewhere {
	const char *options;
	unsigned long flags;
};

static int on_a_read_only_file_system(struct peer *self, void *argument)
{
	struct fixture *fixture = argument;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount(fixture->folder, fixture->folder, NULL, MS_BIND, NULL) < 0 ||
	    mount(NULL, fixture->folder, NULL, MS_BIND | MS_REMOUNT | MS_RDONLY, NULL) < 0)
		return 1;
	relock_store *store = NULL;
	if (relock_store_open(&store, fixture->url) < 0)
		return 2;
	relock_lock *missing = NULL, *there = NULL;
	if (relock_lock_open(&missing, store, "missing") < 0 ||
	    relock_lock_open(&there, store, "there") < 0)
		return 3;
	peer_say(self, try_lock(missing));
	peer_say(self, try_shared(there));
	relock_release(there);
	peer_say(self, try_lock(there));
	return 0;
}

static void read_only_file_system(void **state)
{
	struct fixture *fixture = *state;
	bool ofd = strncmp(fixture->url, "ofd:", 4) == 0;

	make(state, "there", "", 0);
	struct peer peer = peer_start(on_a_read_only_file_system, fixture);
	assert_int_equal(peer_hear(&peer), -EROFS);
	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(peer_hear(&peer), ofd ? -EROFS : 0);
	assert_int_equal(peer_reap(&peer), 0);
}

static int on_a_full_file_system(struct peer *self, void *argument)
{
	struct fixture *fixture = argument;
	char path[100], block[4096] = "";
	uint64_t token;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", fixture->folder, "tmpfs", 0, "size=64k,mode=0700") < 0)
		return 1;
	snprintf(path, sizeof path, "%s/filler", fixture->folder);
	int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	while (write(fd, block, sizeof block) > 0)
		;
	relock_store *store = NULL;
	relock_lock *lock = NULL, *other = NULL;
	if (relock_store_open(&store, fixture->url) < 0 ||
	    relock_lock_open(&lock, store, "demo") < 0 ||
	    relock_lock_open(&other, store, "demo") < 0)
		return 2;
	/* The lock without its record. */
	peer_say(self, try_lock(lock));
	peer_say(self, try_lock(other));
	peer_say(self, relock_token(lock, &token));
	peer_say(self, relock_set_info(lock, "x", 1));
	peer_say(self, relock_release(lock));
	/* With room again, all is as it should be. */
	unlink(path);
	close(fd);
	peer_say(self, try_lock(lock));
	peer_say(self, relock_token(lock, &token));
	return 0;
}

static void full_file_system(void **state)
{
	struct peer peer = peer_start(on_a_full_file_system, *state);

	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(peer_hear(&peer), -EAGAIN);
	assert_int_equal(peer_hear(&peer), -ENODATA);
	assert_int_equal(peer_hear(&peer), -ENODATA);
	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(peer_reap(&peer), 0);
}

static int without_descriptors(struct peer *self, void *argument)
{
	struct rlimit none = {0, 0};
	relock_lock *lock = handle(argument, "demo");

	if (setrlimit(RLIMIT_NOFILE, &none) < 0)
		return 1;
	peer_say(self, try_lock(lock));
	peer_say(self, strstr(relock_error_message(), "descriptors") != NULL);
	return 0;
}

static void descriptor_limit_reached(void **state)
{
	struct peer peer = peer_start(without_descriptors, *state);

	assert_int_equal(peer_hear(&peer), -EMFILE);
	assert_int_equal(peer_hear(&peer), 1);
	assert_int_equal(peer_reap(&peer), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
}

static int without_proc(struct peer *self, void *argument)
{
	struct fixture *fixture = argument;
	struct relock_status *status = NULL;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", "/proc", "tmpfs", 0, NULL) < 0)
		return 1;
	relock_lock *lock = handle(fixture, "demo"), *other = handle(fixture, "demo");
	struct relock_kernel_lock *locks = NULL;
	size_t count = 0;
	peer_say(self, try_lock(lock));
	peer_say(self, try_lock(other));
	peer_say(self, lock_within(other, 5 * RELOCK_MILLISECOND));
	/* The holder is as the record says. */
	peer_say(self, relock_lock_status(lock, &status));
	peer_say(self, status->state == RELOCK_HELD && status->holder_count == 1
			       ? status->holders[0].pid == getpid()
			       : -1);
	peer_say(self, relock_kernel_locks(NULL, &locks, &count));
	peer_say(self, relock_release(lock));
	return 0;
}

static void proc_not_mounted(void **state)
{
	struct peer peer = peer_start(without_proc, *state);

	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(peer_hear(&peer), -EAGAIN);
	assert_int_equal(peer_hear(&peer), -ETIMEDOUT);
	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(peer_hear(&peer), 1);
	assert_int_equal(peer_hear(&peer), -ENOSYS);
	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(peer_reap(&peer), 0);
}

/* hidepid=2: other users' processes look like none. */
static int with_hidepid(struct peer *self, void *argument)
{
	struct relock_status *status = NULL;

	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("proc", "/proc", "proc", 0, "hidepid=2") < 0 || as_nobody() < 0)
		return 1;
	relock_lock *lock = handle(argument, "demo");
	peer_say(self, try_lock(lock));
	if (relock_lock_status(lock, &status) < 0 || status->state != RELOCK_HELD)
		return 2;
	peer_say(self, status->holder_count == 1 ? status->holders[0].pid : 0);
	return 0;
}

static void proc_with_hidepid(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(chmod(fixture->folder, 01777), 0);
	assert_int_equal(try_lock(lock), 0);
	struct peer peer = peer_start(with_hidepid, *state);
	assert_int_equal(peer_hear(&peer), -EAGAIN);
	assert_int_equal(peer_hear(&peer), getpid());
	assert_int_equal(peer_reap(&peer), 0);
	relock_lock_close(lock);
}

/* In another pid namespace our pid means nothing: it is not shown, and not
 * tested; the lock is held all the same. */
static int in_another_pid_namespace(struct peer *self, void *argument)
{
	struct relock_status *status = NULL;

	if (unshare(CLONE_NEWPID) < 0)
		return 1;
	pid_t child = fork();
	if (child == 0) {
		relock_lock *lock = handle(argument, "demo");
		peer_say(self, try_lock(lock));
		if (relock_lock_status(lock, &status) < 0)
			_exit(2);
		peer_say(self, (int)status->state);
		peer_say(self, status->holder_count == 1 && status->holders[0].command
				       ? status->holders[0].pid
				       : -1);
		_exit(0);
	}
	peer_hear(self);
	return 0;
}

static void holder_of_another_pid_namespace(void **state)
{
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(try_lock(lock), 0);
	struct peer peer = peer_start(in_another_pid_namespace, *state);
	assert_int_equal(peer_hear(&peer), -EAGAIN);
	assert_int_equal(peer_hear(&peer), RELOCK_HELD);
	assert_int_equal(peer_hear(&peer), 0);
	peer_say(&peer, 0);
	assert_int_equal(peer_reap(&peer), 0);
	relock_lock_close(lock);
}

/* There, /proc/locks leaves out a flock whose maker has ended: `flock 9` in a
 * shell that goes on holding. */
static int look_at_flock_of_the_dead(struct peer *self, void *argument)
{
	if (unshare(CLONE_NEWPID | CLONE_NEWNS) < 0)
		return 1;
	pid_t child = fork();
	if (child == 0) {
		if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
		    mount("proc", "/proc", "proc", 0, NULL) < 0)
			_exit(1);
		int fd = open(path_of(argument, "demo"), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
		pid_t maker = fork();
		if (maker == 0)
			_exit(flock(fd, LOCK_EX));
		if (waitpid(maker, NULL, 0) < 0)
			_exit(2);
		struct relock_status *status = NULL;
		relock_lock *lock = handle(argument, "demo");
		peer_say(self, relock_lock_status(lock, &status));
		peer_say(self, status ? (int)status->state : -1);
		_exit(0);
	}
	peer_hear(self);
	return 0;
}

static void flock_of_the_dead_in_a_pid_namespace(void **state)
{
	struct peer peer = peer_start(look_at_flock_of_the_dead, *state);

	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(peer_hear(&peer), RELOCK_HELD);
	peer_say(&peer, 0);
	assert_int_equal(peer_reap(&peer), 0);
}

#define BOTH(f) test_ofd(f), test_flock(f)

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH(names_that_are_none),
		BOTH(longest_name_is_fine),
		BOTH(names_need_not_be_ascii),
		BOTH(path_is_a_lock_file_of_that_name),
		test_ofd(path_relative_to_here),
		test_ofd(path_may_be_a_file_with_contents),
		test_ofd(stores_that_are_none),
		BOTH(folder_of_another_user_is_refused),
		BOTH(folder_open_to_all_must_be_sticky),
		test_ofd(default_store_is_as_documented),
		BOTH(garbage_in_the_file_is_left_as_it_is),
		BOTH(truncated_record_is_no_record),
		BOTH(few_bytes_are_left_as_they_are),
		BOTH(truncation_under_the_holder_harms_nobody),
		BOTH(not_a_regular_file_is_refused),
		BOTH(file_that_may_not_be_written),
		BOTH(new_file_is_for_all_whatever_the_umask),
		BOTH(file_with_two_names_is_not_written_to),
		BOTH(replaced_file_is_noticed),
		BOTH(holder_of_a_removed_file_still_excludes),
		BOTH(all_holders_of_removed_files_exclude),
		BOTH(holder_of_a_removed_file_is_waited_for),
		BOTH(read_only_file_system),
		BOTH(full_file_system),
		BOTH(descriptor_limit_reached),
		BOTH(proc_not_mounted),
		BOTH(proc_with_hidepid),
		BOTH(holder_of_another_pid_namespace),
		test_flock(flock_of_the_dead_in_a_pid_namespace),
	};

	return cmocka_run_group_tests_name("bad input", tests, NULL, NULL);
}
