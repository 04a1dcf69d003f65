/*
 * Who may see and acquire: -o uid=, gid= and mode=.
 *
 * Each case mounts with the options it is about, and asks as somebody: another
 * process, since what a user may is decided by the kernel's word on the sender
 * of a request.
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { TO_HOLD = O_WRONLY | O_CREAT, TO_LOOK = O_RDONLY };
enum { OWNER = 12345, STRANGER = 12346, GROUP = 23456, OTHER_GROUP = 23457 };

/* Somebody, and the one thing they do. */
struct somebody {
	uid_t uid;
	gid_t gid, supplementary; /* 0: none */
	int (*act)(const char *path);
	const char *path;
};

static int somebody_main(struct peer *self, void *argument)
{
	const struct somebody *who = argument;

	if (setgroups(who->supplementary != 0, &who->supplementary) < 0 ||
	    setresgid(who->gid, who->gid, who->gid) < 0 ||
	    setresuid(who->uid, who->uid, who->uid) < 0)
		return 1;
	peer_say(self, who->act(who->path));
	return 0;
}

static int act_as(struct somebody who)
{
	struct peer peer = peer_start(somebody_main, &who);
	int result = peer_hear(&peer);

	assert_int_equal(peer_reap(&peer), 0);
	return result;
}

static int open_and_close(const char *path, int flags)
{
	int fd = open(path, flags | O_CLOEXEC, 0666);

	if (fd < 0)
		return errno;
	close(fd);
	return 0;
}

static int acquire(const char *path)
{
	return open_and_close(path, TO_HOLD | O_NONBLOCK);
}

static int acquire_and_read(const char *path)
{
	return open_and_close(path, O_RDWR | O_CREAT | O_NONBLOCK);
}

static int look(const char *path)
{
	return open_and_close(path, TO_LOOK);
}

static int look_with_creat(const char *path)
{
	return open_and_close(path, TO_LOOK | O_CREAT);
}

static int lock_with_flock(const char *path)
{
	int fd = open(path, TO_LOOK | O_CREAT | O_CLOEXEC, 0666);

	if (fd < 0)
		return errno;
	int result = flock(fd, LOCK_SH | LOCK_NB) < 0 ? errno : 0;
	close(fd);
	return result;
}

static int status_of(const char *path)
{
	struct stat status;

	return stat(path, &status) < 0 ? errno : 0;
}

static int list(const char *path)
{
	return open_and_close(path, O_RDONLY | O_DIRECTORY);
}

static int enter(const char *path)
{
	return chdir(path) < 0 ? errno : 0;
}

static int may_read(const char *path)
{
	return access(path, R_OK) < 0 ? errno : 0;
}

static int may_write(const char *path)
{
	return access(path, W_OK) < 0 ? errno : 0;
}

static int read_attribute(const char *path)
{
	char value[64];

	return getxattr(path, "user.relock.pid", value, sizeof value) < 0 ? errno : 0;
}

static int list_attributes(const char *path)
{
	return listxattr(path, NULL, 0) < 0 ? errno : 0;
}

static int break_it(const char *path)
{
	return unlink(path) < 0 ? errno : 0;
}

static const struct somebody root = {0, 0, 0, NULL, NULL},
			     owner = {OWNER, OTHER_GROUP, 0, NULL, NULL},
			     member = {STRANGER, GROUP, 0, NULL, NULL},
			     supplementary_member = {STRANGER, OTHER_GROUP, GROUP, NULL, NULL},
			     stranger = {STRANGER, OTHER_GROUP, OTHER_GROUP, NULL, NULL};

/* Fails the test unless `who` gets this errno. */
static void expect_as(struct somebody who, int (*act)(const char *path), const char *path,
		      int expected, const char *what)
{
	who.act = act;
	who.path = path;
	int result = act_as(who);
	if (result != expected)
		fail_msg("%s as user %u, group %u: %s, not %s", what, (unsigned)who.uid,
			 (unsigned)who.gid, strerror(result), strerror(expected));
}
#define EXPECT_AS(who, act, path, expected) expect_as(who, act, path, expected, #act)

static void without_options_everybody_may(void **state)
{
	const struct fixture *fixture = *state;
	const char *folder = fixture->daemon.mountpoint, *held = lock_path(fixture, "held"),
		   *free_one = lock_path(fixture, "free");
	struct stat status;

	int fd = open_lock(fixture, "held", TO_HOLD);
	EXPECT_AS(stranger, list, folder, 0);
	EXPECT_AS(stranger, look, held, 0);
	EXPECT_AS(stranger, acquire, held, EAGAIN);
	EXPECT_AS(stranger, acquire, free_one, 0);
	EXPECT_AS(stranger, lock_with_flock, free_one, 0);
	EXPECT_AS(stranger, may_write, held, 0);
	assert_int_equal(stat(folder, &status), 0);
	assert_int_equal(status.st_mode, S_IFDIR | 0777);
	assert_int_equal(status.st_uid, getuid());
	assert_int_equal(stat(held, &status), 0);
	assert_int_equal(status.st_mode, S_IFREG | 0644);
	close(fd);
}

static void mode_0660_is_for_owner_and_group(void **state)
{
	struct fixture *fixture = *state;
	const struct somebody may[] = {root, owner, member, supplementary_member};

	fixture_mount_with(fixture, "uid=12345,gid=23456,mode=0660");
	const char *folder = fixture->daemon.mountpoint, *held = lock_path(fixture, "held"),
		   *free_one = lock_path(fixture, "free");
	int fd = open_lock(fixture, "held", TO_HOLD);
	for (size_t i = 0; i < sizeof may / sizeof may[0]; i++) {
		EXPECT_AS(may[i], list, folder, 0);
		EXPECT_AS(may[i], enter, folder, 0);
		EXPECT_AS(may[i], look, held, 0);
		EXPECT_AS(may[i], look, free_one, ENOENT);
		EXPECT_AS(may[i], status_of, held, 0);
		EXPECT_AS(may[i], read_attribute, held, 0);
		EXPECT_AS(may[i], read_attribute, folder, 0);
		EXPECT_AS(may[i], acquire, held, EAGAIN);
		EXPECT_AS(may[i], acquire, free_one, 0);
		EXPECT_AS(may[i], acquire_and_read, free_one, 0);
		EXPECT_AS(may[i], lock_with_flock, free_one, 0);
		EXPECT_AS(may[i], may_write, held, 0);
	}
	close(fd);
}

static void mode_0660_is_not_for_others(void **state)
{
	struct fixture *fixture = *state;

	fixture_mount_with(fixture, "uid=12345,gid=23456,mode=0660");
	const char *folder = fixture->daemon.mountpoint, *held = lock_path(fixture, "held"),
		   *free_one = lock_path(fixture, "free");
	int fd = open_lock(fixture, "held", TO_HOLD);
	EXPECT_AS(stranger, list, folder, EACCES);
	EXPECT_AS(stranger, enter, folder, EACCES);
	EXPECT_AS(stranger, may_read, folder, EACCES);
	EXPECT_AS(stranger, look, held, EACCES);
	/* Not even whether it is there. */
	EXPECT_AS(stranger, look, free_one, EACCES);
	EXPECT_AS(stranger, status_of, held, EACCES);
	EXPECT_AS(stranger, status_of, free_one, EACCES);
	EXPECT_AS(stranger, read_attribute, held, EACCES);
	EXPECT_AS(stranger, read_attribute, folder, EACCES);
	EXPECT_AS(stranger, list_attributes, folder, EACCES);
	EXPECT_AS(stranger, acquire, held, EACCES);
	EXPECT_AS(stranger, acquire, free_one, EACCES);
	EXPECT_AS(stranger, acquire_and_read, free_one, EACCES);
	EXPECT_AS(stranger, look_with_creat, free_one, EACCES);
	EXPECT_AS(stranger, break_it, held, EACCES);
	EXPECT_AS(stranger, list, lock_path(fixture, ".history"), EACCES);
	assert_int_equal(fsync(fd), 0);
	close(fd);
	EXPECT_AS(stranger, look, lock_path(fixture, ".history/held"), EACCES);
	EXPECT_AS(member, look, lock_path(fixture, ".history/held"), 0);
}

static void mode_0664_lets_others_see(void **state)
{
	struct fixture *fixture = *state;

	fixture_mount_with(fixture, "uid=12345,gid=23456,mode=0664");
	const char *folder = fixture->daemon.mountpoint, *held = lock_path(fixture, "held"),
		   *free_one = lock_path(fixture, "free");
	int fd = open_lock(fixture, "held", TO_HOLD);
	EXPECT_AS(stranger, list, folder, 0);
	EXPECT_AS(stranger, enter, folder, 0);
	EXPECT_AS(stranger, look, held, 0);
	EXPECT_AS(stranger, status_of, held, 0);
	EXPECT_AS(stranger, read_attribute, held, 0);
	EXPECT_AS(stranger, may_read, held, 0);
	EXPECT_AS(stranger, may_write, held, EACCES);
	EXPECT_AS(stranger, acquire, held, EACCES);
	EXPECT_AS(stranger, acquire, free_one, EACCES);
	EXPECT_AS(stranger, acquire_and_read, held, EACCES);
	EXPECT_AS(stranger, look_with_creat, free_one, 0);
	/* Shared holders keep exclusive ones out. */
	EXPECT_AS(stranger, lock_with_flock, free_one, EACCES);
	EXPECT_AS(stranger, break_it, held, EACCES);
	close(fd);
}

static void mode_0622_lets_others_acquire_unseen(void **state)
{
	struct fixture *fixture = *state;

	fixture_mount_with(fixture, "mode=0622");
	const char *folder = fixture->daemon.mountpoint, *held = lock_path(fixture, "held");
	int fd = open_lock(fixture, "held", TO_HOLD);
	EXPECT_AS(stranger, list, folder, EACCES);
	EXPECT_AS(stranger, look, held, EACCES);
	EXPECT_AS(stranger, read_attribute, held, EACCES);
	EXPECT_AS(stranger, acquire, held, EAGAIN);
	EXPECT_AS(stranger, acquire_and_read, held, EACCES);
	EXPECT_AS(stranger, acquire, lock_path(fixture, "free"), 0);
	close(fd);
}

/* The owner's bits are the owner's, also where others have more. */
static void owner_and_group_come_before_others(void **state)
{
	struct fixture *fixture = *state;

	fixture_mount_with(fixture, "uid=12345,gid=23456,mode=0046");
	const char *folder = fixture->daemon.mountpoint, *free_one = lock_path(fixture, "free");
	EXPECT_AS(root, acquire, free_one, 0);
	EXPECT_AS(owner, list, folder, EACCES);
	EXPECT_AS(owner, acquire, free_one, EACCES);
	EXPECT_AS(member, list, folder, 0);
	EXPECT_AS(member, acquire, free_one, EACCES);
	EXPECT_AS(supplementary_member, acquire, free_one, EACCES);
	EXPECT_AS(stranger, acquire, free_one, 0);
}

static void root_alone_with_mode_0(void **state)
{
	struct fixture *fixture = *state;

	fixture_mount_with(fixture, "mode=0");
	const char *folder = fixture->daemon.mountpoint, *free_one = lock_path(fixture, "free");
	EXPECT_AS(root, list, folder, 0);
	EXPECT_AS(root, acquire, free_one, 0);
	EXPECT_AS(owner, list, folder, EACCES);
	EXPECT_AS(owner, acquire, free_one, EACCES);
}

/* The holder's user may break their own lock, as always. */
static void rm_needs_both_the_right_and_the_user(void **state)
{
	struct fixture *fixture = *state;

	fixture_mount_with(fixture, "gid=23456,mode=0660");
	const char *held = lock_path(fixture, "held");
	assert_int_equal(setegid(GROUP), 0);
	assert_int_equal(seteuid(OWNER), 0);
	int fd = open_lock(fixture, "held", TO_HOLD);
	assert_int_equal(seteuid(0), 0);
	assert_int_equal(setegid(0), 0);
	EXPECT_AS(member, break_it, held, EPERM);
	struct somebody holder = member;
	holder.uid = OWNER;
	EXPECT_AS(holder, break_it, held, 0);
	assert_int_equal(fsync(fd), -1);
	assert_int_equal(errno, ESTALE);
	close(fd);
}

/* An open descriptor is a right of its own, but not to take the lock. */
static int flock_inherited(const char *path)
{
	return flock(atoi(path), LOCK_EX | LOCK_NB) < 0 ? errno : 0;
}

static void flock_asks_who_calls_it(void **state)
{
	struct fixture *fixture = *state;
	char number[16];

	fixture_mount_with(fixture, "mode=0600");
	int fd = open_lock(fixture, "backup", TO_LOOK | O_CREAT);
	snprintf(number, sizeof number, "%d", fd);
	EXPECT_AS(stranger, flock_inherited, number, EACCES);
	EXPECT_AS(root, flock_inherited, number, 0);
	close(fd);
}

static void modes_and_owner_are_shown(void **state)
{
	struct fixture *fixture = *state;
	struct stat status;

	/* x has no meaning: as one would write it for a folder. */
	fixture_mount_with(fixture, "uid=12345,gid=23456,mode=0750");
	assert_int_equal(stat(fixture->daemon.mountpoint, &status), 0);
	assert_int_equal(status.st_mode, S_IFDIR | 0750);
	assert_int_equal(status.st_uid, OWNER);
	assert_int_equal(status.st_gid, GROUP);
	assert_int_equal(stat(lock_path(fixture, ".history"), &status), 0);
	assert_int_equal(status.st_mode, S_IFDIR | 0550);
	int fd = open_lock(fixture, "held", TO_HOLD);
	assert_int_equal(stat(lock_path(fixture, "held"), &status), 0);
	assert_int_equal(status.st_mode, S_IFREG | 0640);
	/* The holder's, as ever. */
	assert_int_equal(status.st_uid, getuid());
	close(fd);
}

static void names_of_users_and_groups(void **state)
{
	struct fixture *fixture = *state;
	struct stat status;

	fixture_mount_with(fixture, "uid=nobody,gid=daemon");
	assert_int_equal(stat(fixture->daemon.mountpoint, &status), 0);
	assert_int_equal(status.st_mode, S_IFDIR | 0777);
	assert_int_equal(shell(fixture, "test \"$(stat -c %U:%G $LOCKS)\" = nobody:daemon"), 0);
}

static void bad_values_are_usage_errors(void **state)
{
	static const struct {
		const char *option, *said;
	} bad[] = {
		{"uid=no-such-user", "uid=no-such-user: there is no such user"},
		{"uid=", "uid=: there is no such user"},
		{"uid=-1", "uid=-1: there is no such user"},
		{"uid=4294967295", "no such user"},
		{"uid=12x", "no such user"},
		{"gid=no-such-group", "gid=no-such-group: there is no such group"},
		{"gid=99999999999999999999", "no such group"},
		{"mode=", "mode=: a mode is an octal number"},
		{"mode=0888", "octal"},
		{"mode=u+rw", "octal"},
		{"mode=01777", "octal"},
		{"mode=0x1ff", "octal"},
		{"mode=00000000000000000000000000777", "octal"},
	};
	const struct fixture *fixture = *state;
	char command[512];

	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		snprintf(command, sizeof command,
			 "$RELOCKFS -o %s $LOCKS/../store 2>$LOCKS/../store/said", bad[i].option);
		if (shell(fixture, command) != 64)
			fail_msg("%s is accepted", bad[i].option);
		snprintf(command, sizeof command, "grep -qF -e '%s' $LOCKS/../store/said",
			 bad[i].said);
		if (shell(fixture, command) != 0)
			fail_msg("%s: it does not say \"%s\"", bad[i].option, bad[i].said);
	}
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(without_options_everybody_may),
		CASE(mode_0660_is_for_owner_and_group),
		CASE(mode_0660_is_not_for_others),
		CASE(mode_0664_lets_others_see),
		CASE(mode_0622_lets_others_acquire_unseen),
		CASE(owner_and_group_come_before_others),
		CASE(root_alone_with_mode_0),
		CASE(rm_needs_both_the_right_and_the_user),
		CASE(flock_asks_who_calls_it),
		CASE(modes_and_owner_are_shown),
		CASE(names_of_users_and_groups),
		CASE(bad_values_are_usage_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
