/*
 * The store nfslock: as a program sees it: exclusion, ends of holders, what the
 * lock file says to Core_unix, and the calls that the protocol has no room for.
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "nfslock-info.h"

static const char *lock_file(const struct fixture *fixture, const char *name)
{
	static char path[400];

	snprintf(path, sizeof path, "%s/%s.nfs_lock", fixture->folder, name);
	return path;
}

static struct nfslock_info info_of(const struct fixture *fixture, const char *name)
{
	struct nfslock_info info = {0};
	char text[8192];
	FILE *file = fopen(lock_file(fixture, name), "re");

	assert_non_null(file);
	size_t length = fread(text, 1, sizeof text, file);
	fclose(file);
	assert_int_equal(nfslock_info_read(text, length, &info), 0);
	return info;
}

static int try_saying(relock_lock *lock, const char *text)
{
	struct relock_request request = RELOCK_REQUEST_INIT;

	request.timeout = 0;
	request.info = text;
	request.info_length = strlen(text);
	return relock_acquire(lock, &request);
}

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * RELOCK_SECOND + time.tv_nsec;
}

/* Names in the folder that are not of the lock file and the history. */
static size_t count_left_over(const struct fixture *fixture)
{
	char command[200];
	unsigned count = 0;

	snprintf(command, sizeof command, "find %s -name '.relock-*' | wc -l", fixture->folder);
	FILE *pipe = popen(command, "re");
	assert_non_null(pipe);
	assert_int_equal(fscanf(pipe, "%u", &count), 1);
	pclose(pipe);
	return count;
}

/* Exclusion */

static void one_handle_excludes_another(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *first = handle(fixture, "demo"), *second = handle(fixture, "demo");

	assert_int_equal(try_lock(first), 0);
	assert_int_equal(try_lock(second), -EAGAIN);
	assert_int_equal(lock_within(second, 30 * RELOCK_MILLISECOND), -ETIMEDOUT);
	assert_int_equal(relock_release(second), -EPERM);
	assert_int_equal(relock_check(first), 0);
	assert_int_equal(relock_release(first), 0);
	assert_int_equal(relock_release(first), -ENOENT);
	assert_int_equal(try_lock(second), 0);
	relock_lock_close(second);
	assert_int_equal(try_lock(first), 0);
	relock_lock_close(first);
	assert_int_equal(count_left_over(fixture), 0);
}

static void a_name_is_a_lock_of_its_own(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *first = handle(fixture, "one"), *second = handle(fixture, "two");

	assert_int_equal(try_lock(first), 0);
	assert_int_equal(try_lock(second), 0);
	relock_lock_close(first);
	relock_lock_close(second);
}

static void a_name_leaves_room_for_the_suffix(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = NULL;
	char name[300];

	memset(name, 'n', sizeof name);
	name[246] = '\0';
	assert_int_equal(relock_lock_open(&lock, fixture->store, name), 0);
	assert_int_equal(try_lock(lock), 0);
	uint64_t token;
	assert_int_equal(relock_token(lock, &token), 0);
	relock_lock_close(lock);
	name[246] = 'n';
	name[247] = '\0';
	assert_int_equal(relock_lock_open(&lock, fixture->store, name), -ENAMETOOLONG);
}

static void a_release_wakes_a_waiter_at_once(void **state)
{
	const struct fixture *fixture = *state;
	struct holding holding = {fixture, "demo", RELOCK_EXCLUSIVE};
	relock_lock *lock = handle(fixture, "demo");

	assert_int_equal(try_lock(lock), 0);
	struct peer peer = peer_start(hold_until_told, &holding);
	wait_until_blocked(peer.pid, SYS_ppoll);
	int64_t start = now();
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(peer_hear(&peer), 1);
	/* flufl.lock and Core_unix take 150 ms and more on average; a machine
	 * that is busy some. */
	assert_true(now() - start < RELOCK_SECOND);
	peer_say(&peer, 0);
	assert_int_equal(peer_hear(&peer), 2);
	peer_say(&peer, 0);
	assert_int_equal(peer_reap(&peer), 0);
	relock_lock_close(lock);
}

static void waiters_that_give_up_leave_nothing(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *holder = handle(fixture, "demo"), *waiter = handle(fixture, "demo");
	int before = count_descriptors();

	assert_int_equal(try_lock(holder), 0);
	for (int i = 0; i < 3; i++)
		assert_int_equal(lock_within(waiter, RELOCK_MILLISECOND), -ETIMEDOUT);
	assert_int_equal(relock_release(holder), 0);
	assert_int_equal(count_left_over(fixture), 0);
	relock_lock_close(waiter);
	relock_lock_close(holder);
	assert_int_equal(count_descriptors(), before);
}

/* Ends of holders */

static int end_with_the_lock(struct peer *self, void *argument)
{
	const struct fixture *fixture = argument;
	relock_lock *lock = handle(fixture, "demo");

	if (try_lock(lock) < 0)
		return 1;
	peer_say(self, 1);
	peer_hear(self);
	exit(0);
}

static void an_ordinary_end_releases(void **state)
{
	const struct fixture *fixture = *state;
	struct peer peer = peer_start(end_with_the_lock, *state);

	assert_int_equal(peer_hear(&peer), 1);
	assert_int_equal(try_elsewhere(fixture, "demo"), -EAGAIN);
	peer_say(&peer, 0);
	assert_int_equal(peer_reap(&peer), 0);
	assert_int_not_equal(access(lock_file(fixture, "demo"), F_OK), 0);
	assert_non_null(state_of(fixture, "demo", "released"));
}

static void the_child_of_a_holder_releases_nothing(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "demo");

	assert_int_equal(try_lock(lock), 0);
	pid_t child = fork();
	if (child == 0)
		exit(relock_check(lock) == -ENOENT ? 0 : 1);
	int status = 0;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_int_equal(relock_check(lock), 0);
	assert_int_equal(try_elsewhere(fixture, "demo"), -EAGAIN);
	assert_int_equal(relock_release(lock), 0);
	relock_lock_close(lock);
}

static struct peer killed_holder(const struct fixture *fixture)
{
	static struct holding holding;

	holding = (struct holding){fixture, "demo", RELOCK_EXCLUSIVE};
	struct peer peer = peer_start(hold_until_told, &holding);
	assert_int_equal(peer_hear(&peer), 1);
	peer_kill(&peer);
	return peer;
}

static void a_killed_holder_is_followed_at_once(void **state)
{
	const struct fixture *fixture = *state;

	killed_holder(fixture);
	assert_string_equal(state_of(fixture, "demo", "state"), "stale");
	relock_lock *lock = handle(fixture, "demo");
	assert_int_equal(try_lock(lock), 0);
	assert_string_equal(state_of(fixture, "demo", "state"), "held");
	relock_lock_close(lock);
	assert_int_equal(count_left_over(fixture), 0);
}

static void a_waiter_is_woken_by_the_holders_kill(void **state)
{
	const struct fixture *fixture = *state;
	struct holding holding = {fixture, "demo", RELOCK_EXCLUSIVE};
	struct peer holder = peer_start(hold_until_told, &holding);

	assert_int_equal(peer_hear(&holder), 1);
	struct peer waiter = peer_start(hold_until_told, &holding);
	wait_until_blocked(waiter.pid, SYS_ppoll);
	peer_kill(&holder);
	assert_int_equal(peer_hear(&waiter), 1);
	peer_kill(&waiter);
}

/* Two that see the same dead holder: one has the lock, the other not. */
static void one_of_many_follows_a_dead_holder(void **state)
{
	enum { MANY = 8 };
	const struct fixture *fixture = *state;
	struct holding holding = {fixture, "demo", RELOCK_EXCLUSIVE};
	struct peer holder = peer_start(hold_until_told, &holding), peers[MANY];

	assert_int_equal(peer_hear(&holder), 1);
	for (int i = 0; i < MANY; i++) {
		peers[i] = peer_start(hold_until_told, &holding);
		wait_until_blocked(peers[i].pid, SYS_ppoll);
	}
	peer_kill(&holder);
	for (int served = 0; served < MANY; served++) {
		int first = -1;
		while (first < 0)
			for (int i = 0; i < MANY && first < 0; i++)
				if (peers[i].pid && !peer_is_silent(&peers[i]))
					first = i;
		assert_int_equal(peer_hear(&peers[first]), 1);
		for (int i = 0; i < MANY; i++)
			assert_true(i == first || !peers[i].pid || peer_is_silent(&peers[i]));
		peer_kill(&peers[first]);
		peers[first].pid = 0;
	}
}

/* What others read */

static void the_lock_file_says_who_and_why(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "demo");
	char host[65] = "";
	struct stat status;

	gethostname(host, sizeof host - 1);
	assert_int_equal(try_saying(lock, "nightly \"full\" backup"), 0);
	struct nfslock_info info = info_of(fixture, "demo");
	assert_string_equal(info.host, host);
	assert_int_equal(info.pid, getpid());
	assert_string_equal(info.message, "nightly \"full\" backup");
	assert_true(info.started > 0);
	nfslock_info_free(&info);
	/* One name, and readable by all, whatever the umask. */
	assert_int_equal(stat(lock_file(fixture, "demo"), &status), 0);
	assert_int_equal(status.st_nlink, 1);
	assert_int_equal(status.st_mode & 0777, 0644);
	relock_lock_close(lock);
}

static void a_file_of_the_locks_name_is_left_alone(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "demo");
	char text[16] = "";

	int fd = open(path_of(fixture, "demo"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	assert_int_equal(write(fd, "data", 4), 4);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(pread(fd, text, sizeof text, 0), 4);
	assert_string_equal(text, "data");
	close(fd);
	assert_int_equal(access(path_of(fixture, "demo"), F_OK), 0);
	relock_lock_close(lock);
}

static void tokens_grow_over_releases_and_deaths(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "demo");
	uint64_t last = 0, token = 0;

	for (int i = 0; i < 4; i++) {
		assert_int_equal(try_lock(lock), 0);
		assert_int_equal(relock_token(lock, &token), 0);
		assert_true(token > last);
		last = token;
		assert_int_equal(relock_release(lock), 0);
		if (i == 1)
			killed_holder(fixture);
	}
	assert_int_equal(relock_token(lock, &token), -ENOENT);
	relock_lock_close(lock);
}

static void info_can_be_set_and_is_kept_as_history(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "demo");
	char *info = NULL;
	size_t length = 0;

	assert_int_equal(try_saying(lock, "first"), 0);
	assert_string_equal(state_of(fixture, "demo", "info"), "first");
	assert_int_equal(relock_set_info(lock, "second", 6), 0);
	assert_string_equal(state_of(fixture, "demo", "info"), "second");
	assert_int_equal(relock_info(lock, &info, &length), 0);
	assert_string_equal(info, "second");
	free(info);
	assert_int_equal(relock_release(lock), 0);
	assert_string_equal(state_of(fixture, "demo", "state"), "free");
	assert_string_equal(state_of(fixture, "demo", "last-info"), "second");
	relock_lock_close(lock);
}

static void a_status_has_all_of_the_holder(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "demo");
	char pid[16];

	snprintf(pid, sizeof pid, "%d", (int)getpid());
	assert_int_equal(try_lock(lock), 0);
	assert_string_equal(state_of(fixture, "demo", "state"), "held");
	assert_string_equal(state_of(fixture, "demo", "mode"), "exclusive");
	assert_string_equal(state_of(fixture, "demo", "pid"), pid);
	assert_non_null(state_of(fixture, "demo", "command"));
	assert_non_null(state_of(fixture, "demo", "host"));
	assert_non_null(state_of(fixture, "demo", "since"));
	assert_non_null(state_of(fixture, "demo", "token"));
	assert_null(state_of(fixture, "demo", "look-at"));
	relock_lock_close(lock);
}

static void a_list_has_the_held_and_the_free(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *held = handle(fixture, "held"), *freed = handle(fixture, "freed");
	struct relock_status **list = NULL;
	size_t count = 0;

	assert_int_equal(try_lock(held), 0);
	assert_int_equal(try_lock(freed), 0);
	assert_int_equal(relock_release(freed), 0);
	assert_int_equal(relock_list(fixture->store, 0, &list, &count), 0);
	assert_int_equal(count, 1);
	assert_string_equal(list[0]->name, "held");
	relock_list_free(list, count);
	assert_int_equal(relock_list(fixture->store, RELOCK_LIST_FREE, &list, &count), 0);
	assert_int_equal(count, 2);
	assert_string_equal(list[0]->name, "freed");
	relock_list_free(list, count);
	relock_lock_close(held);
	relock_lock_close(freed);
}

static void history_is_removed_when_it_is_old(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "demo");
	size_t removed = 0;

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_store_prune(fixture->store, 0, &removed), 0);
	assert_int_equal(removed, 0); /* held */
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(relock_store_prune(fixture->store, 3600 * RELOCK_SECOND, &removed), 0);
	assert_int_equal(removed, 0);
	assert_int_equal(relock_store_prune(fixture->store, 0, &removed), 0);
	assert_int_equal(removed, 1);
	relock_lock_close(lock);
}

/* The calls */

static void the_same_holder_may_ask_again(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	struct relock_request request = RELOCK_REQUEST_INIT;

	request.flags = RELOCK_SAME_HOLDER_OK;
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(try_lock(lock), -EALREADY);
	assert_int_equal(relock_acquire(lock, &request), 0);
	relock_lock_close(lock);
}

static void what_the_protocol_cannot_do_is_refused(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "demo");
	struct relock_request request = RELOCK_REQUEST_INIT;

	assert_int_equal(try_shared(lock), -EOPNOTSUPP);
	request.flags = RELOCK_INHERIT;
	assert_int_equal(relock_acquire(lock, &request), -EOPNOTSUPP);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_convert(lock, RELOCK_SHARED, 0), -EOPNOTSUPP);
	assert_int_equal(relock_convert(lock, RELOCK_EXCLUSIVE, 0), 0);
	assert_int_equal(relock_check(lock), 0);
	assert_int_equal(relock_lock_fd(lock), -1);
	relock_lock_close(lock);
}

static void a_hold_passes_from_one_to_the_next(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "demo");
	struct relock_request request = RELOCK_REQUEST_INIT;
	uint64_t first = 0, second = 0;

	request.info = "next";
	request.info_length = 4;
	assert_int_equal(try_saying(lock, "first"), 0);
	assert_int_equal(relock_token(lock, &first), 0);
	assert_int_equal(relock_pass(lock, &request), 0);
	assert_int_equal(relock_token(lock, &second), 0);
	assert_true(second > first);
	assert_string_equal(state_of(fixture, "demo", "info"), "next");
	assert_int_equal(relock_release(lock), 0);
	relock_lock_close(lock);
}

static void a_broken_holder_learns_of_it(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "demo"), *next = handle(fixture, "demo");
	uint64_t first = 0, second = 0;

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_token(lock, &first), 0);
	assert_int_equal(relock_break(fixture->store, "demo", NULL), 0);
	assert_string_equal(state_of(fixture, "demo", "state"), "free");
	assert_non_null(state_of(fixture, "demo", "broken-by"));
	assert_int_equal(try_lock(next), 0);
	assert_int_equal(relock_token(next, &second), 0);
	assert_true(second > first);
	assert_int_equal(relock_set_info(lock, "late", 4), -ESTALE);
	assert_int_equal(relock_check(lock), -ENOENT); /* told once */
	assert_int_equal(relock_check(next), 0);
	assert_null(state_of(fixture, "demo", "info"));
	relock_lock_close(next);
	relock_lock_close(lock);
}

static void a_late_release_leaves_the_next_holder_alone(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "demo"), *next = handle(fixture, "demo");
	uint64_t token;

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_break(fixture->store, "demo", NULL), 0);
	assert_int_equal(try_lock(next), 0);
	assert_int_equal(relock_token(lock, &token), -ESTALE);
	assert_int_equal(relock_release(lock), -ESTALE);
	assert_int_equal(relock_check(next), 0);
	assert_int_equal(try_elsewhere(fixture, "demo"), -EAGAIN);
	assert_int_equal(relock_release(next), 0);
	relock_lock_close(next);
	relock_lock_close(lock);
}

static void what_is_free_cannot_be_broken(void **state)
{
	const struct fixture *fixture = *state;

	assert_int_equal(relock_break(fixture->store, "demo", NULL), -ENOENT);
}

static int add_one(void *argument)
{
	++*(int *)argument;
	return 7;
}

static void a_critical_section_has_the_lock(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "demo");
	struct relock_request request = RELOCK_REQUEST_INIT;
	int count = 0, result = 0;

	request.timeout = RELOCK_SECOND;
	assert_int_equal(relock_critical_section(lock, &request, add_one, &count, &result), 0);
	assert_int_equal(count, 1);
	assert_int_equal(result, 7);
	assert_int_equal(try_elsewhere(fixture, "demo"), 0);
	relock_lock_close(lock);
}

/* A process that keeps the descriptors of another goes on with its hold. */
static void a_hold_is_adopted_by_who_keeps_it(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *first = handle(fixture, "demo"), *second = handle(fixture, "demo");
	struct relock_on_behalf on_behalf = {.via = RELOCK_VIA_MOUNT,
					     .pid = getpid(),
					     .uid = 0,
					     .path = "/locks",
					     .keeper_pid = getppid()};
	struct relock_request request = RELOCK_REQUEST_INIT;
	uint64_t token = 0, same = 0;

	request.on_behalf = &on_behalf;
	assert_int_equal(relock_acquire(first, &request), 0);
	assert_int_equal(relock_token(first, &token), 0);
	struct nfslock_info info = info_of(fixture, "demo");
	assert_int_equal(info.pid, getppid());
	nfslock_info_free(&info);
	int fd = fcntl(relock_lock_fd(first), F_DUPFD_CLOEXEC, 0);
	assert_true(fd >= 0);
	assert_int_equal(relock_adopt(second, fd, &request), 0);
	assert_int_equal(relock_token(second, &same), 0);
	assert_true(token == same);
	assert_int_equal(relock_release(second), 0);
	assert_int_equal(relock_release(first), -ESTALE);
	fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	assert_int_equal(relock_adopt(second, fd, &request), -ESTALE);
	relock_lock_close(second);
	relock_lock_close(first);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_nfslock(one_handle_excludes_another),
		test_nfslock(a_name_is_a_lock_of_its_own),
		test_nfslock(a_name_leaves_room_for_the_suffix),
		test_nfslock(a_release_wakes_a_waiter_at_once),
		test_nfslock(waiters_that_give_up_leave_nothing),
		test_nfslock(an_ordinary_end_releases),
		test_nfslock(the_child_of_a_holder_releases_nothing),
		test_nfslock(a_killed_holder_is_followed_at_once),
		test_nfslock(a_waiter_is_woken_by_the_holders_kill),
		test_nfslock(one_of_many_follows_a_dead_holder),
		test_nfslock(the_lock_file_says_who_and_why),
		test_nfslock(a_file_of_the_locks_name_is_left_alone),
		test_nfslock(tokens_grow_over_releases_and_deaths),
		test_nfslock(info_can_be_set_and_is_kept_as_history),
		test_nfslock(a_status_has_all_of_the_holder),
		test_nfslock(a_list_has_the_held_and_the_free),
		test_nfslock(history_is_removed_when_it_is_old),
		test_nfslock(the_same_holder_may_ask_again),
		test_nfslock(what_the_protocol_cannot_do_is_refused),
		test_nfslock(a_hold_passes_from_one_to_the_next),
		test_nfslock(a_broken_holder_learns_of_it),
		test_nfslock(a_late_release_leaves_the_next_holder_alone),
		test_nfslock(what_is_free_cannot_be_broken),
		test_nfslock(a_critical_section_has_the_lock),
		test_nfslock(a_hold_is_adopted_by_who_keeps_it),
	};

	return cmocka_run_group_tests_name("nfslock", tests, NULL, NULL);
}
