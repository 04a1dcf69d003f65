/*
 * Looks at one lock again and again: what they may leave out, and that they leave
 * out nothing else.
 */
#include "fixture.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { TO_HOLD = O_WRONLY | O_CREAT, PATIENCE_MS = 20000, AGE_MS = 100 };

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Often enough for all to be known that is remembered from one look to the next. */
static void look_often(const struct fixture *fixture)
{
	for (int i = 0; i < 5; i++) {
		char *text = read_lock(fixture, "backup");
		assert_non_null(text);
		free(text);
	}
}

static void assert_pid(const struct fixture *fixture, pid_t pid)
{
	char *text = read_lock(fixture, "backup"), expected[16];

	snprintf(expected, sizeof expected, "%d", (int)pid);
	assert_value(text, "pid", expected);
	free(text);
}

static void assert_process(const struct fixture *fixture, const char *format, pid_t opener)
{
	char *text = read_lock(fixture, "backup"), expected[128];

	snprintf(expected, sizeof expected, format, (int)opener);
	assert_value(text, "process", expected);
	char *pid = value_of(text, "pid");
	assert_null(pid);
	free(text);
}

static const char has_ended[] = "pid %d, which has ended; its descriptor is still open",
		  has_handed_on[] = "pid %d, which has handed its descriptor on";

/* What goes on outside */

struct outside {
	const char *store_url;
	enum relock_mode mode;
};

/* Acquires as soon as it is told, says so, and gives back when it is told. */
static int outside_main(struct peer *self, void *argument)
{
	const struct outside *outside = argument;
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_store *store;
	relock_lock *lock;

	request.mode = outside->mode;
	if (relock_store_open(&store, outside->store_url) < 0 ||
	    relock_lock_open(&lock, store, "backup") < 0)
		return 1;
	(void)peer_hear(self);
	peer_say(self, relock_acquire(lock, &request));
	(void)peer_hear(self);
	relock_lock_close(lock);
	relock_store_close(store);
	return 0;
}

static bool shows(const struct fixture *fixture, pid_t waiter)
{
	char *text = read_lock(fixture, "backup"), *waiters = value_of(text, "waiters");
	bool is_shown = waiters && atoi(waiters) == waiter;

	free(waiters);
	free(text);
	return is_shown;
}

/* A look that begins a tenth of a second after somebody has begun to wait shows
 * that, however many there were before. */
static void a_waiter_outside_shows_within_a_tenth_of_a_second(void **state)
{
	struct fixture *fixture = *state;
	struct outside outside = {fixture->store_url, RELOCK_EXCLUSIVE};
	struct peer waiter = peer_start(outside_main, &outside);
	int fd = open_lock(fixture, "backup", TO_HOLD);

	for (int round = 0; round < 3; round++) {
		look_often(fixture);
		peer_say(&waiter, 0);
		wait_until_blocked(waiter.pid, SYS_fcntl);
		int64_t deadline = now_ms() + AGE_MS;
		while (now_ms() <= deadline)
			(void)shows(fixture, waiter.pid);
		assert_true(shows(fixture, waiter.pid));
		/* One that is shown is looked for each time. */
		peer_kill(&waiter);
		assert_false(shows(fixture, waiter.pid));
		waiter = peer_start(outside_main, &outside);
	}
	peer_kill(&waiter);
	close(fd);
}

/* No more is left out: a holder outside is there at the next look. */
static void a_holder_outside_shows_at_the_next_look(void **state)
{
	struct fixture *fixture = *state;
	struct outside outside = {fixture->store_url, RELOCK_SHARED};
	struct peer holder = peer_start(outside_main, &outside);
	int fd = open_lock(fixture, "backup", O_RDONLY | O_CREAT);
	char line[32];

	assert_int_equal(flock(fd, LOCK_SH), 0);
	snprintf(line, sizeof line, "\npid: %d\n", (int)holder.pid);
	look_often(fixture);
	peer_say(&holder, 0);
	assert_int_equal(peer_hear(&holder), 0);
	char *text = read_lock(fixture, "backup");
	assert_non_null(strstr(text, line));
	free(text);
	peer_say(&holder, 0);
	assert_int_equal(peer_reap(&holder), 0);
	text = read_lock(fixture, "backup");
	assert_null(strstr(text, line));
	free(text);
	close(fd);
}

/* How often the daemon's other threads have gone to sleep. */
static long count_sleeps_of_others(pid_t pid)
{
	char path[64];
	long count = 0;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);
	assert_non_null(tasks);
	for (const struct dirent *task; (task = readdir(tasks));) {
		char text[4096] = "";
		if (!isdigit((unsigned char)*task->d_name) || atoi(task->d_name) == pid)
			continue;
		snprintf(path, sizeof path, "/proc/%d/task/%.16s/status", (int)pid, task->d_name);
		int fd = open(path, O_RDONLY | O_CLOEXEC);
		assert_true(fd >= 0 && read(fd, text, sizeof text - 1) > 0);
		close(fd);
		const char *found = strstr(text, "\nvoluntary_ctxt_switches:");
		assert_non_null(found);
		count += strtol(found + sizeof "\nvoluntary_ctxt_switches:", NULL, 10);
	}
	closedir(tasks);
	return count;
}

/* Looks that find nothing new are answered by the session thread itself; another
 * goes for the kernel's list twice in the time that it counts, and once to see the
 * holder. */
static void looks_in_a_row_need_no_other_thread(void **state)
{
	enum { LOOKS = 400, SLEEPS_OF_AN_ERRAND = 10 };
	struct fixture *fixture = *state;
	int fd = open_lock(fixture, "backup", TO_HOLD);

	look_often(fixture);
	long before = count_sleeps_of_others(fixture->daemon.pid);
	int64_t start = now_ms();
	for (int i = 0; i < LOOKS; i++)
		free(read_lock(fixture, "backup"));
	long sleeps = count_sleeps_of_others(fixture->daemon.pid) - before;
	int64_t errands = 3 + 3 * (now_ms() - start) / AGE_MS;
	if (sleeps > errands * SLEEPS_OF_AN_ERRAND)
		fail_msg("%ld sleeps of other threads in %d looks, for %ld errands", sleeps, LOOKS,
			 (long)errands);
	close(fd);
}

/* Holders */

enum step { FORK = 1, END, CLOSE_IT, MOVE, OPEN_ANOTHER, WRITE };

struct life {
	char path[PATH_MAX], other_path[PATH_MAX];
	int test[2]; /* a pipe, whose other end the test has as long as it lives */
};

static pid_t leave_to_heir(const struct life *life)
{
	pid_t child = fork();

	if (child == 0) {
		char byte;
		prctl(PR_SET_PDEATHSIG, 0);
		(void)!read(life->test[0], &byte, 1);
		_exit(0);
	}
	return child;
}

/* Holds, and does what it is told.  The answer to FORK is the child's pid. */
static int holder_main(struct peer *self, void *argument)
{
	const struct life *life = argument;
	int fd = open(life->path, TO_HOLD, 0666), moved = -1, other;

	close(life->test[1]);
	peer_say(self, fd < 0 ? errno : 0);
	for (;;)
		switch (peer_hear(self)) {
		case FORK:
			peer_say(self, leave_to_heir(life));
			break;
		case CLOSE_IT:
			peer_say(self, close(fd) < 0);
			break;
		case MOVE:
			moved = fcntl(fd, F_DUPFD_CLOEXEC, 100);
			close(fd);
			peer_say(self, moved < 0);
			break;
		case OPEN_ANOTHER:
			other = open(life->other_path, TO_HOLD, 0666);
			peer_say(self, dup2(other, fd) < 0);
			close(other);
			break;
		case WRITE:
			peer_say(self, write(fd, "text", 4) != 4);
			break;
		default:
			return 0;
		}
}

static struct peer start_holder(struct life *life, const struct fixture *fixture)
{
	strcpy(life->path, lock_path(fixture, "backup"));
	strcpy(life->other_path, lock_path(fixture, "printer"));
	assert_int_equal(pipe2(life->test, O_CLOEXEC), 0);
	struct peer peer = peer_start(holder_main, life);
	assert_int_equal(peer_hear(&peer), 0);
	return peer;
}

static int ask(struct peer *peer, int step)
{
	peer_say(peer, step);
	return peer_hear(peer);
}

/* The heir, if there is one, ends, and with it the hold; the holder has to have
 * been told so before. */
static void end_life(struct life *life, const struct fixture *fixture)
{
	close(life->test[0]);
	close(life->test[1]);
	await_state(fixture, "backup", false);
}

static void a_holder_that_ends_is_not_shown_at_the_next_look(void **state)
{
	const struct fixture *fixture = *state;
	struct life life;
	struct peer peer = start_holder(&life, fixture);
	pid_t opener = peer.pid;

	assert_true(ask(&peer, FORK) > 0);
	look_often(fixture);
	assert_pid(fixture, opener);
	peer_say(&peer, END);
	assert_int_equal(peer_reap(&peer), 0);
	assert_process(fixture, has_ended, opener);
	end_life(&life, fixture);
}

static void a_holder_that_hands_on_is_not_shown_at_the_next_look(void **state)
{
	const struct fixture *fixture = *state;
	struct life life;
	struct peer peer = start_holder(&life, fixture);

	assert_true(ask(&peer, FORK) > 0);
	look_often(fixture);
	assert_pid(fixture, peer.pid);
	assert_int_equal(ask(&peer, CLOSE_IT), 0);
	assert_process(fixture, has_handed_on, peer.pid);
	look_often(fixture);
	assert_process(fixture, has_handed_on, peer.pid);
	end_life(&life, fixture);
	peer_say(&peer, END);
	assert_int_equal(peer_reap(&peer), 0);
}

/* The number is that of another file of the same mount. */
static void a_number_that_is_used_again_deceives_for_a_tenth_of_a_second(void **state)
{
	const struct fixture *fixture = *state;
	struct life life;
	struct peer peer = start_holder(&life, fixture);

	assert_true(ask(&peer, FORK) > 0);
	look_often(fixture);
	assert_int_equal(ask(&peer, OPEN_ANOTHER), 0);
	int64_t deadline = now_ms() + AGE_MS;
	while (now_ms() <= deadline)
		free(read_lock(fixture, "backup"));
	assert_process(fixture, has_handed_on, peer.pid);
	end_life(&life, fixture);
	peer_say(&peer, END);
	assert_int_equal(peer_reap(&peer), 0);
}

static void a_holder_that_has_it_by_another_number_is_shown(void **state)
{
	const struct fixture *fixture = *state;
	struct life life;
	struct peer peer = start_holder(&life, fixture);

	look_often(fixture);
	assert_int_equal(ask(&peer, MOVE), 0);
	assert_pid(fixture, peer.pid);
	look_often(fixture);
	assert_pid(fixture, peer.pid);
	peer_say(&peer, END);
	assert_int_equal(peer_reap(&peer), 0);
	end_life(&life, fixture);
}

static void what_a_holder_writes_is_shown_at_the_next_look(void **state)
{
	const struct fixture *fixture = *state;
	struct life life;
	struct peer peer = start_holder(&life, fixture);

	look_often(fixture);
	assert_int_equal(ask(&peer, WRITE), 0);
	char *text = read_lock(fixture, "backup");
	assert_value(text, "info", "text");
	free(text);
	assert_pid(fixture, peer.pid);
	peer_say(&peer, END);
	assert_int_equal(peer_reap(&peer), 0);
	end_life(&life, fixture);
}

/* Parent and child share an open file, and hold by it one after the other. */
static void the_next_holder_by_the_same_open_file_is_shown(void **state)
{
	const struct fixture *fixture = *state;
	int fd = open_lock(fixture, "backup", O_RDONLY | O_CREAT), done[2];
	char byte;

	assert_int_equal(pipe2(done, O_CLOEXEC), 0);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	look_often(fixture);
	assert_pid(fixture, getpid());
	assert_int_equal(flock(fd, LOCK_UN), 0);
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		byte = flock(fd, LOCK_EX) < 0;
		(void)!write(done[1], &byte, 1);
		for (;;)
			pause();
	}
	assert_int_equal(read(done[0], &byte, 1), 1);
	assert_int_equal(byte, 0);
	assert_pid(fixture, child);
	/* Gone, it is not shown, although the first one has the file as it had. */
	kill(child, SIGKILL);
	assert_int_equal(waitpid(child, NULL, 0), child);
	assert_process(fixture, has_ended, child);
	close(fd);
	close(done[0]);
	close(done[1]);
}

static size_t count_descriptors_of(pid_t pid)
{
	char path[64];
	size_t count = 0;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	DIR *folder = opendir(path);
	assert_non_null(folder);
	while (readdir(folder))
		count++;
	closedir(folder);
	return count;
}

static void nothing_is_kept_open_when_nobody_looks_any_more(void **state)
{
	struct fixture *fixture = *state;
	int fd = open_lock(fixture, "backup", TO_HOLD);
	size_t before = count_descriptors_of(fixture->daemon.pid);
	int64_t deadline = now_ms() + PATIENCE_MS;

	look_often(fixture);
	assert_true(count_descriptors_of(fixture->daemon.pid) > before);
	while (count_descriptors_of(fixture->daemon.pid) > before && now_ms() < deadline)
		sched_yield();
	assert_int_equal(count_descriptors_of(fixture->daemon.pid), before);
	close(fd);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, fixture_setup, fixture_teardown)
	const struct CMUnitTest tests[] = {
		TEST(a_waiter_outside_shows_within_a_tenth_of_a_second),
		TEST(a_holder_outside_shows_at_the_next_look),
		TEST(looks_in_a_row_need_no_other_thread),
		TEST(a_holder_that_ends_is_not_shown_at_the_next_look),
		TEST(a_holder_that_hands_on_is_not_shown_at_the_next_look),
		TEST(a_number_that_is_used_again_deceives_for_a_tenth_of_a_second),
		TEST(a_holder_that_has_it_by_another_number_is_shown),
		TEST(what_a_holder_writes_is_shown_at_the_next_look),
		TEST(the_next_holder_by_the_same_open_file_is_shown),
		TEST(nothing_is_kept_open_when_nobody_looks_any_more),
	};

	return cmocka_run_group_tests_name("looks", tests, NULL, NULL);
}
