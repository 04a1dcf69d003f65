/*
 * The store nfslock: and files that Core_unix, the dead, other machines, and
 * accidents have left.  Whatever has the lock's name excludes; only what is proven
 * to be a dead holder's goes by itself; of the rest the message says which file to
 * look at.
 */
#include "fixture.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clock.h"
#include "nfslock.h"
#include "process.h"

/* Files */

static const char *lock_file(const struct fixture *fixture)
{
	static char path[400];

	snprintf(path, sizeof path, "%s/demo.nfs_lock", fixture->folder);
	return path;
}

static void write_file(const char *path, const char *text, size_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, length), length);
	close(fd);
}

/* A pid that nobody has. */
static pid_t dead_pid(void)
{
	pid_t pid = fork();

	if (pid == 0)
		_exit(0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	return pid;
}

static int64_t start_of(pid_t pid)
{
	uint64_t start_time = 0;

	assert_int_equal(process_start_time(pid, &start_time), 0);
	return nfslock_started(start_time);
}

/* As Core_unix on this host writes it. */
static void write_as_core(const char *path, pid_t pid, int64_t started)
{
	char host[65] = "";

	gethostname(host, sizeof host - 1);
	struct nfslock_info info = {.host = host,
				    .pid = pid,
				    .message = (char *)"as Core_unix",
				    .message_length = 12,
				    .started = started};
	char *text = nfslock_info_write(&info);
	write_file(path, text, strlen(text));
	free(text);
}

static int try_once(const struct fixture *fixture)
{
	return try_elsewhere(fixture, "demo");
}

/* It excludes, for a while too, and the message says which file it is. */
static void expect_stuck(const struct fixture *fixture)
{
	relock_lock *lock = handle(fixture, "demo");

	assert_int_equal(try_lock(lock), -EAGAIN);
	assert_non_null(strstr(relock_error_message(), lock_file(fixture)));
	assert_int_equal(lock_within(lock, 20 * RELOCK_MILLISECOND), -ETIMEDOUT);
	assert_non_null(strstr(relock_error_message(), lock_file(fixture)));
	assert_string_equal(state_of(fixture, "demo", "state"), "unknown");
	assert_string_equal(state_of(fixture, "demo", "look-at"), lock_file(fixture));
	assert_non_null(state_of(fixture, "demo", "why"));
	relock_lock_close(lock);
}

static void expect_breakable(const struct fixture *fixture)
{
	assert_int_equal(relock_break(fixture->store, "demo", NULL), 0);
	assert_int_equal(try_once(fixture), 0);
}

/* What Core_unix leaves */

static void a_living_holder_of_core_unix_excludes(void **state)
{
	const struct fixture *fixture = *state;

	write_as_core(lock_file(fixture), getppid(), start_of(getppid()));
	assert_int_equal(try_once(fixture), -EAGAIN);
	assert_string_equal(state_of(fixture, "demo", "state"), "held");
	assert_string_equal(state_of(fixture, "demo", "info"), "as Core_unix");
	/* The time that it computes may differ by a tick, and is not always there. */
	write_as_core(lock_file(fixture), getppid(), start_of(getppid()) + RELOCK_SECOND / 2);
	assert_int_equal(try_once(fixture), -EAGAIN);
	write_as_core(lock_file(fixture), getppid(), 0);
	assert_int_equal(try_once(fixture), -EAGAIN);
	assert_string_equal(state_of(fixture, "demo", "state"), "held");
	expect_breakable(fixture);
}

static void a_dead_one_of_the_second_version_is_followed_at_once(void **state)
{
	const struct fixture *fixture = *state;
	pid_t pid = dead_pid();

	write_as_core(lock_file(fixture), pid, moment_now());
	write_as_core(path_of(fixture, "demo"), pid, moment_now());
	assert_string_equal(state_of(fixture, "demo", "state"), "stale");
	assert_int_equal(try_once(fixture), 0);
	assert_int_not_equal(access(lock_file(fixture), F_OK), 0);
}

/* Its copy must not become the next one's first content; see nfslock-break.c. */
static void the_dead_ones_second_file_goes_with_its_lock(void **state)
{
	const struct fixture *fixture = *state;
	pid_t pid = dead_pid();
	int64_t started = moment_now();

	write_as_core(lock_file(fixture), pid, started);
	write_as_core(path_of(fixture, "demo"), pid, started);
	assert_int_equal(try_once(fixture), 0);
	assert_int_not_equal(access(path_of(fixture, "demo"), F_OK), 0);
	write_as_core(lock_file(fixture), pid, started);
	write_file(path_of(fixture, "demo"), "data", 4);
	assert_int_equal(try_once(fixture), 0);
	assert_int_equal(access(path_of(fixture, "demo"), F_OK), 0);
}

static enum nfslock_verdict verdict_at(const struct fixture *fixture, int64_t now)
{
	struct nfslock_store store = {.is_local = true, .path = (char *)fixture->folder};
	struct nfslock_look look = NFSLOCK_LOOK_NONE;

	store.dir_fd = open(fixture->folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(nfslock_look(&store, "demo", now, &look), 0);
	nfslock_look_end(&look);
	close(store.dir_fd);
	return look.verdict;
}

/* Documented bug 1: until its holder has written it, the file names the last one. */
static void one_of_the_first_version_has_time_to_write(void **state)
{
	const struct fixture *fixture = *state;
	char name[400];

	snprintf(name, sizeof name, "%s", path_of(fixture, "demo"));
	write_as_core(name, dead_pid(), moment_now());
	assert_int_equal(link(name, lock_file(fixture)), 0);
	assert_int_equal(try_once(fixture), -EAGAIN);
	assert_int_equal(verdict_at(fixture, moment_now() + 9 * RELOCK_SECOND), NFSLOCK_HELD);
	assert_int_equal(verdict_at(fixture, moment_now() + 11 * RELOCK_SECOND), NFSLOCK_GONE);
	/* Then its holder writes. */
	write_as_core(name, getppid(), start_of(getppid()));
	assert_int_equal(verdict_at(fixture, moment_now() + 11 * RELOCK_SECOND), NFSLOCK_HELD);
}

/* Documented bug 2: its holder lives, and has written elsewhere. */
static void an_empty_lock_file_stays(void **state)
{
	const struct fixture *fixture = *state;

	write_file(lock_file(fixture), "", 0);
	expect_stuck(fixture);
	expect_breakable(fixture);
}

static void copy_data(const struct fixture *fixture, const char *name)
{
	char path[400], text[1000];

	snprintf(path, sizeof path, "%s/%s", TEST_DATA, name);
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	size_t length = fread(text, 1, sizeof text, file);
	fclose(file);
	write_file(lock_file(fixture), text, length);
}

static void a_holder_on_another_host_excludes_and_is_named(void **state)
{
	const struct fixture *fixture = *state;
	static const char *const files[] = {"core-unix-v1.nfs_lock", "core-unix-v2.nfs_lock"};

	for (int i = 0; i < 2; i++) {
		copy_data(fixture, files[i]);
		expect_stuck(fixture);
		assert_string_equal(state_of(fixture, "demo", "pid"), "24817");
		assert_string_equal(state_of(fixture, "demo", "host"), "build7.example");
		assert_string_equal(state_of(fixture, "demo", "info"), "nightly \"full\" backup");
		assert_string_equal(state_of(fixture, "demo", "started"),
				    "2026-11-28T02:15:00.120+00:00");
		expect_breakable(fixture);
	}
}

/* Of a file of Core_unix's, the pid used again looks like the clock set: it counts
 * as proof only where the clock has not been set since the machine began. */
static void a_pid_that_began_at_another_time(void **state)
{
	const struct fixture *fixture = *state;
	const int64_t hour = 3600 * RELOCK_SECOND;

	/* It cannot have begun before its lock was taken: the clock was set. */
	write_as_core(lock_file(fixture), getppid(), start_of(getppid()) + hour);
	expect_stuck(fixture);
	write_as_core(lock_file(fixture), getppid(), start_of(getppid()) - hour);
	if (strcmp(state_of(fixture, "demo", "state"), "stale") != 0)
		expect_stuck(fixture);
	else
		assert_int_equal(try_once(fixture), 0);
}

/* Accidents */

static void what_is_no_lock_file_stays(void **state)
{
	const struct fixture *fixture = *state;
	static const char binary[] = "\177ELF\0\1\2\3((host vm)(pid 1)(message m))";
	enum { LONG = 1 << 20 };
	char *text = malloc(LONG);

	write_file(lock_file(fixture), binary, sizeof binary);
	expect_stuck(fixture);
	expect_breakable(fixture);
	write_file(lock_file(fixture), "not an s-expression (", 21);
	expect_stuck(fixture);
	expect_breakable(fixture);
	memset(text, '(', LONG);
	write_file(lock_file(fixture), text, LONG);
	expect_stuck(fixture);
	expect_breakable(fixture);
	free(text);
	assert_int_equal(mkfifo(lock_file(fixture), 0644), 0);
	expect_stuck(fixture);
	expect_breakable(fixture);
}

static void a_folder_of_that_name_stays(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(mkdir(lock_file(fixture), 0755), 0);
	expect_stuck(fixture);
	assert_true(relock_break(fixture->store, "demo", NULL) < 0);
	assert_non_null(strstr(relock_error_message(), lock_file(fixture)));
	assert_int_equal(rmdir(lock_file(fixture)), 0);
	assert_int_equal(try_once(fixture), 0);
}

static void a_symbolic_link_is_not_followed(void **state)
{
	const struct fixture *fixture = *state;
	char elsewhere[400];

	snprintf(elsewhere, sizeof elsewhere, "%s/elsewhere", fixture->folder);
	write_as_core(elsewhere, dead_pid(), moment_now());
	assert_int_equal(symlink(elsewhere, lock_file(fixture)), 0);
	expect_stuck(fixture);
	expect_breakable(fixture);
	assert_int_equal(access(elsewhere, F_OK), 0);
	assert_int_equal(symlink("/nonexistent", lock_file(fixture)), 0);
	expect_stuck(fixture);
	expect_breakable(fixture);
}

static int look_as_nobody(struct peer *self, void *argument)
{
	const struct fixture *fixture = argument;
	relock_store *store = NULL;
	relock_lock *lock = NULL;

	if (setuid(65534) < 0 || relock_store_open(&store, fixture->url) < 0 ||
	    relock_lock_open(&lock, store, "demo") < 0)
		return 1;
	int result = try_lock(lock);
	bool is_named = strstr(relock_error_message(), lock_file(fixture)) != NULL;
	relock_lock_close(lock);
	relock_store_close(store);
	return result == -EAGAIN && is_named ? 0 : 2;
}

static void one_that_may_not_be_read_stays(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(chmod(fixture->folder, 0755), 0);
	write_as_core(lock_file(fixture), dead_pid(), moment_now());
	assert_int_equal(chmod(lock_file(fixture), 0), 0);
	struct peer peer = peer_start(look_as_nobody, *state);
	assert_int_equal(peer_reap(&peer), 0);
}

/* Machines */

/* The record of the present hold. */
static const char *record_file(const struct fixture *fixture)
{
	static char path[400];
	DIR *dir = opendir(fixture->folder);
	bool found = false;

	for (struct dirent *entry; (entry = readdir(dir));) {
		if (strncmp(entry->d_name, ".relock-", 8) != 0)
			continue;
		assert_false(found);
		found = true;
		snprintf(path, sizeof path, "%s/%s", fixture->folder, entry->d_name);
	}
	closedir(dir);
	assert_true(found);
	return path;
}

static struct claim_owner owner_of(const struct fixture *fixture)
{
	struct claim_owner owner;
	char text[NAME_MAX + 1] = "";
	int fd = open(record_file(fixture), O_RDONLY | O_CLOEXEC);

	assert_true(pread(fd, text, NAME_MAX, SLOT_SIZE) > 0);
	close(fd);
	assert_true(claim_name_read(text, "hold", &owner));
	return owner;
}

static void set_owner(const struct fixture *fixture, const struct claim_owner *owner)
{
	char text[NAME_MAX + 1];
	int fd = open(record_file(fixture), O_RDWR | O_CLOEXEC);

	assert_int_equal(claim_name_write(text, "", "hold", owner), 0);
	assert_int_equal(ftruncate(fd, SLOT_SIZE), 0);
	assert_int_equal(pwrite(fd, text, strlen(text), SLOT_SIZE), strlen(text));
	close(fd);
}

static struct peer holder_of(const struct fixture *fixture)
{
	static struct holding holding;

	holding = (struct holding){fixture, "demo", RELOCK_EXCLUSIVE};
	struct peer peer = peer_start(hold_until_told, &holding);
	assert_int_equal(peer_hear(&peer), 1);
	return peer;
}

/* Its pid runs nowhere here, on a host of this name. */
static void another_machine_of_the_same_name_is_another(void **state)
{
	const struct fixture *fixture = *state;
	struct peer holder = holder_of(fixture);
	struct claim_owner owner = owner_of(fixture);

	owner.machine ^= 2;
	owner.boot ^= 2;
	set_owner(fixture, &owner);
	peer_kill(&holder);
	expect_stuck(fixture);
	expect_breakable(fixture);
}

static void a_holder_from_before_a_reboot_is_gone(void **state)
{
	const struct fixture *fixture = *state;
	const uint64_t first_namespace = 0xeffffffc; /* PROC_PID_INIT_INO */
	struct peer holder = holder_of(fixture);
	struct claim_owner owner = owner_of(fixture);
	bool is_told_apart = owner.machine != 0 && owner.pid_namespace == first_namespace;

	owner.boot ^= 2;
	set_owner(fixture, &owner);
	peer_kill(&holder);
	if (is_told_apart)
		assert_int_equal(try_once(fixture), 0);
	else
		expect_stuck(fixture);
}

/* The living holder of a pid that has been used again is another process. */
static void a_pid_that_was_used_again_is_told_apart(void **state)
{
	const struct fixture *fixture = *state;
	struct peer holder = holder_of(fixture);
	struct claim_owner owner = owner_of(fixture);

	assert_int_equal(try_once(fixture), -EAGAIN);
	owner.start_time--;
	set_owner(fixture, &owner);
	assert_int_equal(try_once(fixture), 0);
	peer_kill(&holder);
}

static int try_with_another_hostname(struct peer *self, void *argument)
{
	const struct fixture *fixture = argument;

	if (unshare(CLONE_NEWUTS) < 0 || sethostname("renamed", 7) < 0)
		return 255;
	process_forget_self(); /* known since before the fork */
	peer_say(self, -try_once(fixture));
	peer_hear(self);
	peer_say(self, -try_once(fixture));
	return 0;
}

static void a_renamed_host_knows_its_processes(void **state)
{
	const struct fixture *fixture = *state;
	struct peer holder = holder_of(fixture);
	struct peer other = peer_start(try_with_another_hostname, *state);

	assert_int_equal(peer_hear(&other), EAGAIN);
	peer_kill(&holder);
	peer_say(&other, 0);
	assert_int_equal(peer_hear(&other), 0);
	assert_int_equal(peer_reap(&other), 0);
}

static int try_in_another_pid_namespace(struct peer *self, void *argument)
{
	const struct fixture *fixture = argument;
	int status = 0;

	if (unshare(CLONE_NEWPID) < 0)
		return 255;
	pid_t child = fork();
	if (child == 0)
		_exit(-try_once(fixture));
	waitpid(child, &status, 0);
	return WEXITSTATUS(status);
}

static void a_container_does_not_judge_what_it_cannot_see(void **state)
{
	const struct fixture *fixture = *state;
	struct peer holder = holder_of(fixture);
	struct peer other = peer_start(try_in_another_pid_namespace, *state);

	assert_int_equal(WEXITSTATUS(peer_reap(&other)), EAGAIN);
	peer_kill(&holder);
	assert_int_equal(try_once(fixture), 0);
}

/* What is done under a holder's hands */

static void a_lock_file_that_was_removed_is_lost(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "demo");

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(unlink(lock_file(fixture)), 0);
	assert_int_equal(relock_check(lock), -ESTALE);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(unlink(lock_file(fixture)), 0);
	write_as_core(lock_file(fixture), getppid(), start_of(getppid()));
	assert_int_equal(relock_release(lock), -ESTALE);
	assert_int_equal(access(lock_file(fixture), F_OK), 0); /* another's */
	relock_lock_close(lock);
}

static void a_record_that_was_removed_leaves_the_lock(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "demo");

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(unlink(record_file(fixture)), 0);
	assert_int_equal(try_once(fixture), -EAGAIN);
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(try_once(fixture), 0);
	relock_lock_close(lock);
}

/* Between the rename and the unlink of claim-file.c: `record` or somebody's right
 * becomes the right of `remover`; its path. */
static const char *seize_as(const struct fixture *fixture, const struct claim_owner *remover,
			    const char *from)
{
	static char path[800];
	char prefix[NAME_MAX + 1], right[NAME_MAX + 1];
	const char *name = strrchr(record_file(fixture), '/') + 1;

	snprintf(prefix, sizeof prefix, "%s.", name);
	assert_int_equal(claim_name_write(right, prefix, "r", remover), 0);
	char *old = strdup(from);
	snprintf(path, sizeof path, "%s/%s", fixture->folder, right);
	assert_int_equal(rename(old, path), 0);
	free(old);
	return path;
}

static struct claim_owner myself(void)
{
	struct claim_owner owner;

	claim_owner_draw(&owner, NULL);
	return owner;
}

static void a_remover_that_died_is_followed(void **state)
{
	const struct fixture *fixture = *state;
	struct peer holder = holder_of(fixture);
	struct claim_owner remover = myself();

	const char *right = seize_as(fixture, &remover, record_file(fixture));
	/* It lives: it is about to. */
	assert_int_equal(try_once(fixture), -EAGAIN);
	remover.start_time--;
	seize_as(fixture, &remover, right);
	assert_int_equal(try_once(fixture), 0);
	peer_kill(&holder);
}

/* Who lives would go on to unlink the next one's. */
static void force_respects_a_remover_that_lives(void **state)
{
	const struct fixture *fixture = *state;
	struct peer holder = holder_of(fixture);
	struct claim_owner remover = myself();

	const char *right = seize_as(fixture, &remover, record_file(fixture));
	assert_int_equal(relock_break(fixture->store, "demo", NULL), -EAGAIN);
	assert_non_null(strstr(relock_error_message(), right));
	assert_int_equal(access(right, F_OK), 0);
	assert_int_equal(access(lock_file(fixture), F_OK), 0);
	remover.machine ^= 2;
	remover.boot ^= 2;
	right = seize_as(fixture, &remover, right);
	assert_int_equal(try_once(fixture), -EAGAIN);
	assert_int_equal(relock_break(fixture->store, "demo", NULL), 0);
	assert_int_equal(access(right, F_OK), -1);
	assert_int_equal(try_once(fixture), 0);
	peer_kill(&holder);
}

/* Without a record it is the flock that says that nobody else is at it. */
static void force_respects_the_flock_of_a_lock_without_a_record(void **state)
{
	const struct fixture *fixture = *state;

	write_as_core(lock_file(fixture), getppid(), start_of(getppid()));
	int fd = open(lock_file(fixture), O_RDWR | O_CLOEXEC);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	assert_int_equal(relock_break(fixture->store, "demo", NULL), -EAGAIN);
	assert_non_null(strstr(relock_error_message(), lock_file(fixture)));
	close(fd);
	assert_int_equal(relock_break(fixture->store, "demo", NULL), 0);
	assert_int_equal(try_once(fixture), 0);
}

/* Full and read-only file systems, in a mount of this process's own. */
static int on_own_tmpfs(const struct fixture *fixture, const char *options, relock_store **ret)
{
	if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("tmpfs", fixture->folder, "tmpfs", 0, options) < 0)
		return -errno;
	return relock_store_open(ret, fixture->url);
}

static int release_read_only(struct peer *self, void *argument)
{
	struct fixture fixture = *(const struct fixture *)argument;

	if (on_own_tmpfs(&fixture, "mode=755", &fixture.store) < 0)
		return 255;
	relock_lock *lock = handle(&fixture, "demo");
	if (try_lock(lock) < 0)
		return 1;
	/* The kernel does so by itself after an error; when asked, only while
	 * nothing is open for writing. */
	close(nfslock_lock_of(lock)->record.fd);
	nfslock_lock_of(lock)->record.fd = -1;
	if (mount(NULL, fixture.folder, NULL, MS_REMOUNT | MS_RDONLY, NULL) < 0)
		return 1;
	if (relock_check(lock) != 0 || try_once(&fixture) != -EAGAIN)
		return 2;
	if (relock_release(lock) != -EROFS || !strstr(relock_error_message(), lock_file(&fixture)))
		return 3;
	if (mount(NULL, fixture.folder, NULL, MS_REMOUNT, NULL) < 0)
		return 4;
	/* It was not given back, and whose it is lives. */
	if (try_once(&fixture) != -EAGAIN || relock_break(fixture.store, "demo", NULL) != 0 ||
	    try_once(&fixture) != 0)
		return 5;
	relock_lock_close(lock);
	relock_store_close(fixture.store);
	return 0;
}

static void a_file_system_that_becomes_read_only_keeps_the_lock(void **state)
{
	struct peer peer = peer_start(release_read_only, *state);

	assert_int_equal(peer_reap(&peer), 0);
}

static int acquire_on_full(struct peer *self, void *argument)
{
	struct fixture fixture = *(const struct fixture *)argument;

	/* Room for the claim, but not for its record. */
	if (on_own_tmpfs(&fixture, "mode=755,nr_inodes=2", &fixture.store) < 0)
		return 255;
	relock_lock *lock = handle(&fixture, "demo");
	int result = try_lock(lock);
	if (result != -ENOSPC || relock_release(lock) != -ENOENT)
		return 1;
	if (mount(NULL, fixture.folder, NULL, MS_REMOUNT, "nr_inodes=100") < 0)
		return 2;
	if (try_lock(lock) != 0 || relock_release(lock) != 0)
		return 3;
	relock_lock_close(lock);
	relock_store_close(fixture.store);
	return 0;
}

static void a_full_file_system_is_an_error_and_no_lock(void **state)
{
	struct peer peer = peer_start(acquire_on_full, *state);

	assert_int_equal(peer_reap(&peer), 0);
}

/* Killed while it waits for somebody who has just left. */
static void what_the_dead_have_left_is_removed(void **state)
{
	const struct fixture *fixture = *state;
	char path[400];
	size_t removed = 0;

	assert_int_equal(try_once(fixture), 0);
	snprintf(path, sizeof path, "%s/.relock-new-0123456789abcdef", fixture->folder);
	write_as_core(path, dead_pid(), moment_now());
	assert_int_equal(relock_store_prune(fixture->store, 0, &removed), 0);
	assert_int_not_equal(access(path, F_OK), 0);
	/* Of the living it stays. */
	write_as_core(path, getppid(), start_of(getppid()));
	assert_int_equal(try_once(fixture), 0);
	assert_int_equal(relock_store_prune(fixture->store, 0, &removed), 0);
	assert_int_equal(access(path, F_OK), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_nfslock(a_living_holder_of_core_unix_excludes),
		test_nfslock(a_dead_one_of_the_second_version_is_followed_at_once),
		test_nfslock(the_dead_ones_second_file_goes_with_its_lock),
		test_nfslock(one_of_the_first_version_has_time_to_write),
		test_nfslock(an_empty_lock_file_stays),
		test_nfslock(a_holder_on_another_host_excludes_and_is_named),
		test_nfslock(a_pid_that_began_at_another_time),
		test_nfslock(what_is_no_lock_file_stays),
		test_nfslock(a_folder_of_that_name_stays),
		test_nfslock(a_symbolic_link_is_not_followed),
		test_nfslock(one_that_may_not_be_read_stays),
		test_nfslock(another_machine_of_the_same_name_is_another),
		test_nfslock(a_holder_from_before_a_reboot_is_gone),
		test_nfslock(a_pid_that_was_used_again_is_told_apart),
		test_nfslock(a_renamed_host_knows_its_processes),
		test_nfslock(a_container_does_not_judge_what_it_cannot_see),
		test_nfslock(a_lock_file_that_was_removed_is_lost),
		test_nfslock(a_record_that_was_removed_leaves_the_lock),
		test_nfslock(a_remover_that_died_is_followed),
		test_nfslock(force_respects_a_remover_that_lives),
		test_nfslock(force_respects_the_flock_of_a_lock_without_a_record),
		test_nfslock(a_file_system_that_becomes_read_only_keeps_the_lock),
		test_nfslock(a_full_file_system_is_an_error_and_no_lock),
		test_nfslock(what_the_dead_have_left_is_removed),
	};

	return cmocka_run_group_tests_name("nfslock-files", tests, NULL, NULL);
}
