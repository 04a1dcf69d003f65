/*
 * relock locks: the true holder of every lock, and its waiters.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "command.h"
#include "peer.h"

/* What a peer locks: bytes 10 to 19 of the file, or with flock all of it. */
struct claim {
	const char *path;
	int command; /* F_OFD_SETLK, F_OFD_SETLKW, F_SETLK; 0: flock */
	short type;  /* F_WRLCK, F_RDLCK */
};

static int take(int fd, const struct claim *claim)
{
	struct flock range = {.l_type = claim->type, .l_start = 10, .l_len = 10};

	if (claim->command == 0)
		return flock(fd, claim->type == F_WRLCK ? LOCK_EX : LOCK_SH);
	return fcntl(fd, claim->command, &range);
}

/* Says 1 when it has the lock, and keeps it until told. */
static int hold(struct peer *self, void *argument)
{
	const struct claim *claim = argument;
	int fd = open(claim->path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || take(fd, claim) < 0)
		return 1;
	peer_say(self, 1);
	peer_hear(self);
	return 0;
}

static int wait_until_told(struct peer *self, void *argument)
{
	return peer_hear(self) == 1 ? 0 : 1;
}

/* The same, and its child has the open file description, too. */
static int hold_with_child(struct peer *self, void *argument)
{
	const struct claim *claim = argument;
	int fd = open(claim->path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || take(fd, claim) < 0)
		return 1;

	struct peer child = peer_start(wait_until_told, NULL);

	peer_say(self, (int)child.pid);
	peer_hear(self);
	peer_say(&child, 1);
	peer_reap(&child);
	return 0;
}

static void end_peer(struct peer *peer)
{
	peer_say(peer, 1);
	assert_int_equal(peer_reap(peer), 0);
}

static const char *make_file(void)
{
	const char *path = test_path("file");
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);

	assert_true(fd >= 0);
	close(fd);
	return path;
}

/* The locks on the file, in JSON; the value's owner is the caller. */
static struct json_object *locks_of(const char *path, struct json_object **ret_array)
{
	struct json_object *json = json_tokener_parse(EXPECT(0, "locks", "--json", path)->out);

	assert_non_null(json);
	assert_true(json_object_object_get_ex(json, "locks", ret_array));
	return json;
}

static struct json_object *value_of(struct json_object *object, const char *key)
{
	struct json_object *value = NULL;

	if (!json_object_object_get_ex(object, key, &value))
		fail_msg("no key %s in %s", key, json_object_to_json_string(object));
	return value;
}

static int pid_of(struct json_object *processes, size_t index)
{
	return json_object_get_int(value_of(json_object_array_get_idx(processes, index), "pid"));
}

static void locks_names_holder_and_waiter_of_an_ofd_lock(void **state)
{
	struct claim claim = {make_file(), F_OFD_SETLK, F_WRLCK};
	struct claim wait = {claim.path, F_OFD_SETLKW, F_WRLCK};
	struct peer holder = peer_start(hold, &claim);
	struct json_object *array = NULL;

	assert_int_equal(peer_hear(&holder), 1);

	struct peer waiter = peer_start(hold, &wait);

	wait_until_blocked(waiter.pid, SYS_fcntl);

	struct json_object *json = locks_of(claim.path, &array);

	assert_int_equal(json_object_array_length(array), 1);

	struct json_object *lock = json_object_array_get_idx(array, 0);

	assert_string_equal(json_object_get_string(value_of(lock, "type")), "OFD");
	assert_string_equal(json_object_get_string(value_of(lock, "mode")), "exclusive");
	assert_string_equal(json_object_get_string(value_of(lock, "path")), claim.path);
	assert_int_equal(json_object_get_int(value_of(lock, "start")), 10);
	assert_int_equal(json_object_get_int(value_of(lock, "end")), 19);
	assert_int_equal(json_object_array_length(value_of(lock, "holders")), 1);
	assert_int_equal(pid_of(value_of(lock, "holders"), 0), holder.pid);
	assert_int_equal(json_object_array_length(value_of(lock, "waiters")), 1);
	assert_int_equal(pid_of(value_of(lock, "waiters"), 0), waiter.pid);
	json_object_put(json);

	char row[64];

	snprintf(row, sizeof row, "%d OFD exclusive 10 19 %d\n", (int)holder.pid, (int)waiter.pid);
	assert_string_equal(EXPECT(0, "locks", "--raw", "-n", "-o",
				   "PID,TYPE,MODE,START,END,WAITERS", claim.path)
				    ->out,
			    row);
	end_peer(&holder);
	assert_int_equal(peer_hear(&waiter), 1);
	end_peer(&waiter);
	assert_string_equal(EXPECT(0, "locks", "-n", claim.path)->out, "");
}

static void locks_names_all_who_share_a_description(void **state)
{
	struct claim claim = {make_file(), F_OFD_SETLK, F_RDLCK};
	struct peer holder = peer_start(hold_with_child, &claim);
	pid_t child = peer_hear(&holder);
	struct json_object *array = NULL;
	struct json_object *json = locks_of(claim.path, &array);
	struct json_object *holders = value_of(json_object_array_get_idx(array, 0), "holders");

	assert_int_equal(json_object_array_length(array), 1);
	assert_int_equal(json_object_array_length(holders), 2);

	int one = pid_of(holders, 0), two = pid_of(holders, 1);

	assert_true((one == holder.pid && two == child) || (one == child && two == holder.pid));
	json_object_put(json);
	EXPECT_IN(EXPECT(0, "locks", claim.path)->out, "shared");
	end_peer(&holder);
}

static void expect_type(int command, const char *type)
{
	struct claim claim = {make_file(), command, F_WRLCK};
	struct peer holder = peer_start(hold, &claim);
	char row[32];

	assert_int_equal(peer_hear(&holder), 1);
	snprintf(row, sizeof row, "%d %s\n", (int)holder.pid, type);
	assert_string_equal(EXPECT(0, "locks", "--raw", "-n", "-o", "PID,TYPE", claim.path)->out,
			    row);
	end_peer(&holder);
}

static void locks_knows_the_kinds_of_locks(void **state)
{
	expect_type(F_OFD_SETLK, "OFD");
	expect_type(F_SETLK, "POSIX");
	expect_type(0, "FLOCK");
}

static void locks_shows_what_relock_run_holds(void **state)
{
	struct program holder = start_holder("a", NULL);
	char pid[16];

	snprintf(pid, sizeof pid, "%d", (int)holder.pid);
	EXPECT_IN(EXPECT(0, "locks", test_path("store/a"))->out, pid);
	/* And among all locks of the machine. */
	EXPECT_IN(EXPECT(0, "locks")->out, pid);

	struct outcome end = finish(&holder);

	outcome_free(&end);
}

static void locks_json_o_has_the_types_of_the_nested_form(void **state)
{
	struct claim claim = {make_file(), 0, F_WRLCK};
	struct peer holder = peer_start(hold, &claim);

	assert_int_equal(peer_hear(&holder), 1);

	struct json_object *json = json_tokener_parse(
		EXPECT(0, "locks", "-J", "-o", "PID,FD,END,WAITERS", claim.path)->out);
	struct json_object *lock = json_object_array_get_idx(value_of(json, "locks"), 0);
	struct json_object *pid = json_object_array_get_idx(value_of(lock, "pid"), 0);
	struct json_object *fd = json_object_array_get_idx(value_of(lock, "fd"), 0);

	assert_int_equal(json_object_get_type(pid), json_type_int);
	assert_int_equal(json_object_get_int(pid), holder.pid);
	assert_int_equal(json_object_get_type(fd), json_type_int);
	/* To the end of the file. */
	assert_null(value_of(lock, "end"));
	assert_int_equal(json_object_array_length(value_of(lock, "waiters")), 0);
	json_object_put(json);
	end_peer(&holder);
}

/* The kernel has no lock on the file in the mount. */
static void locks_in_a_mount_are_those_of_the_store(void **state)
{
	char mountpoint[128], path[160], pid[16];

	snprintf(mountpoint, sizeof mountpoint, "%s/locks", test_folder());
	snprintf(path, sizeof path, "%s/job", mountpoint);
	snprintf(pid, sizeof pid, "%d ", (int)getpid());
	assert_int_equal(mkdir(mountpoint, 0755), 0);
	EXPECT(0, "mount", mountpoint);

	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
	struct program program =
		START_RELOCK("locks", "--raw", "-n", "-o", "PID,TYPE,MODE,PATH", path);
	struct outcome outcome = finish(&program);

	/* Before anything can fail. */
	close(fd);
	assert_int_equal(umount2(mountpoint, 0), 0);
	assert_true(fd >= 0);
	assert_int_equal(outcome.code, 0);
	assert_memory_equal(outcome.out, pid, strlen(pid));
	EXPECT_IN(outcome.out, " OFD exclusive ");
	EXPECT_IN(outcome.out, test_path("store/job"));
	assert_string_equal(outcome.err, "");
	outcome_free(&outcome);
}

static void locks_of_a_missing_file_is_66(void **state)
{
	EXPECT_IN(EXPECT(66, "locks", test_path("missing"))->err, "missing");
	EXPECT(64, "locks", "one", "two");
	EXPECT(64, "locks", "--raw", "--json");
	EXPECT(64, "locks", "-o", "NOPE");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define CASE(function) cmocka_unit_test_setup_teardown(function, folder_setup, folder_teardown)
		CASE(locks_names_holder_and_waiter_of_an_ofd_lock),
		CASE(locks_names_all_who_share_a_description),
		CASE(locks_knows_the_kinds_of_locks),
		CASE(locks_shows_what_relock_run_holds),
		CASE(locks_json_o_has_the_types_of_the_nested_form),
		CASE(locks_in_a_mount_are_those_of_the_store),
		CASE(locks_of_a_missing_file_is_66),
	};

	return cmocka_run_group_tests_name("relock locks", tests, NULL, NULL);
}
