/*
 * What is particular to the store "sem:": other programs use the very semaphore,
 * by sem_open(3) and its kin, and know nothing of relock; and everything may be
 * wrong with the objects.
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "private-shm.h"
#include "semaphores.h"

static const char *semaphore_path(const char *name)
{
	static char path[300];

	snprintf(path, sizeof path, "/dev/shm/sem.%s", name);
	return path;
}

/* A holder of relock's, killed while it holds. */
static void die_with_it(const struct fixture *fixture, const char *name)
{
	struct holding holding = {fixture, name, RELOCK_EXCLUSIVE};
	struct peer peer = peer_start(hold_until_told, &holding);

	assert_int_equal(peer_hear(&peer), 1);
	peer_kill(&peer);
}

static void assert_message_names(const char *part)
{
	if (!strstr(relock_error_message(), part))
		fail_msg("\"%s\" does not name %s", relock_error_message(), part);
}

/* The store */

static void nothing_follows_the_colon(void **state)
{
	relock_store *store = NULL;

	assert_int_equal(relock_store_open(&store, "sem:/dev/shm"), -EINVAL);
	assert_message_names("nothing follows");
	assert_int_equal(relock_store_open(&store, "ofd:"), -EINVAL);
}

static void shared_mode_is_refused(void **state)
{
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(try_shared(lock), -EOPNOTSUPP);
	assert_message_names("ofd:");
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_convert(lock, RELOCK_SHARED, 0), -EOPNOTSUPP);
	assert_int_equal(relock_check(lock), 0);
	assert_int_equal(relock_release(lock), 0);
	relock_lock_close(lock);
}

static void names_have_251_bytes(void **state)
{
	const struct fixture *fixture = *state;
	char name[253];
	relock_lock *lock = NULL;

	memset(name, 'n', sizeof name);
	name[252] = '\0';
	assert_int_equal(relock_lock_open(&lock, fixture->store, name), -ENAMETOOLONG);
	name[251] = '\0';
	lock = handle(fixture, name);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(value_of_semaphore(semaphore_of(name)), 0);
	relock_lock_close(lock);
}

static void objects_are_as_resourcelock_makes_them(void **state)
{
	struct stat status;

	umask(0);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
	umask(022);
	assert_int_equal(stat("/dev/shm/demo", &status), 0);
	assert_int_equal(status.st_size, 4096);
	assert_int_equal(status.st_mode, S_IFREG | 0600);
	assert_int_equal(stat(semaphore_path("demo"), &status), 0);
	assert_int_equal(status.st_mode, S_IFREG | 0600);
}

static void status_has_the_value(void **state)
{
	relock_lock *lock = handle(*state, "demo");

	assert_null(state_of(*state, "demo", "value"));
	assert_int_equal(try_lock(lock), 0);
	assert_string_equal(state_of(*state, "demo", "value"), "0");
	assert_int_equal(relock_release(lock), 0);
	assert_string_equal(state_of(*state, "demo", "value"), "1");
	relock_lock_close(lock);
}

static void semaphores_that_are_no_locks_are_not_listed(void **state)
{
	const struct fixture *fixture = *state;
	struct relock_status **list = NULL;
	size_t count = 0;
	sem_t *other = semaphore_of("somebody-elses");
	relock_lock *lock = handle(fixture, "demo");

	assert_int_equal(sem_wait(other), 0);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_list(fixture->store, RELOCK_LIST_FREE, &list, &count), 0);
	assert_int_equal(count, 1);
	assert_string_equal(list[0]->name, "demo");
	relock_list_free(list, count);
	relock_lock_close(lock);
	sem_close(other);
}

/* Other programs */

static void others_and_we_exclude_each_other(void **state)
{
	sem_t *semaphore = semaphore_of("demo");
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(sem_trywait(semaphore), 0);
	assert_int_equal(try_lock(lock), -EAGAIN);
	assert_int_equal(lock_within(lock, 5 * RELOCK_MILLISECOND), -ETIMEDOUT);
	assert_int_equal(relock_release(lock), -EPERM);
	assert_int_equal(sem_post(semaphore), 0);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(sem_trywait(semaphore), -1);
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(value_of_semaphore(semaphore), 1);
	sem_close(semaphore);
	relock_lock_close(lock);
}

static int wait_on_semaphore(struct peer *self, void *argument)
{
	sem_t *semaphore = sem_open(argument, 0);

	peer_say(self, semaphore != SEM_FAILED && sem_wait(semaphore) == 0);
	peer_hear(self);
	sem_post(semaphore);
	return 0;
}

static void our_release_wakes_them(void **state)
{
	char name[] = "demo";
	relock_lock *lock = handle(*state, name);

	assert_int_equal(try_lock(lock), 0);
	struct peer peer = peer_start(wait_on_semaphore, name);
	wait_until_blocked(peer.pid, SYS_futex);
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(peer_hear(&peer), 1);
	peer_say(&peer, 1);
	assert_int_equal(peer_reap(&peer), 0);
	assert_int_equal(try_lock(lock), 0);
	relock_lock_close(lock);
}

static void their_post_wakes_us(void **state)
{
	sem_t *semaphore = semaphore_of("demo");

	assert_int_equal(sem_wait(semaphore), 0);
	struct peer peer = peer_start(wait_until_told, *state);
	wait_until_blocked(peer.pid, SYS_futex);
	assert_int_equal(sem_post(semaphore), 0);
	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(value_of_semaphore(semaphore), 0);
	peer_say(&peer, 1);
	assert_int_equal(peer_reap(&peer), 0);
	assert_int_equal(value_of_semaphore(semaphore), 1);
	sem_close(semaphore);
}

static void killed_waiters_cost_nobody_anything(void **state)
{
	sem_t *semaphore = semaphore_of("demo");

	assert_int_equal(sem_wait(semaphore), 0);
	struct peer first = peer_start(wait_until_told, *state);
	wait_until_blocked(first.pid, SYS_futex);
	struct peer second = peer_start(wait_until_told, *state);
	wait_until_blocked(second.pid, SYS_futex);
	peer_kill(&first);
	assert_int_equal(sem_post(semaphore), 0);
	assert_int_equal(peer_hear(&second), 0);
	peer_say(&second, 1);
	assert_int_equal(peer_reap(&second), 0);
	assert_int_equal(value_of_semaphore(semaphore), 1);
	sem_close(semaphore);
}

static void text_says_what_resourcelock_reads(void **state)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = handle(*state, "demo");
	char text[100] = "", moment[32];

	request.info = "tempmon.measure_loop #3";
	request.info_length = strlen(request.info);
	assert_int_equal(relock_acquire(lock, &request), 0);
	int fd = open("/dev/shm/demo", O_RDONLY | O_CLOEXEC);
	assert_true(pread(fd, text, sizeof text - 1, 0) > 0);
	assert_int_equal(sscanf(text, "%31[0-9 :.-]", moment), 1);
	assert_int_equal(strlen(moment), strlen("2025-11-06 10:38:11.545309 - "));
	assert_string_equal(text + strlen(moment), "tempmon.measure_loop #3");
	assert_int_equal(relock_set_info(lock, "other", 5), 0);
	assert_true(pread(fd, text, sizeof text - 1, 0) > 0);
	assert_string_equal(text + strlen(moment), "other");
	/* It stays, for history. */
	assert_int_equal(relock_release(lock), 0);
	assert_true(pread(fd, text, sizeof text - 1, 0) > 0);
	assert_string_equal(text + strlen(moment), "other");
	close(fd);
	relock_lock_close(lock);
}

static void write_text(const char *text)
{
	int fd = open("/dev/shm/demo", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat status;

	assert_int_equal(fstat(fd, &status), 0);
	if (status.st_size < 4096)
		assert_int_equal(ftruncate(fd, 4096), 0);
	assert_int_equal(pwrite(fd, text, strlen(text) + 1, 0), (ssize_t)strlen(text) + 1);
	close(fd);
}

static void their_text_is_our_info(void **state)
{
	sem_t *semaphore = semaphore_of("demo");

	assert_int_equal(sem_wait(semaphore), 0);
	write_text("2025-11-06 10:39:00.512996 - cli");
	assert_string_equal(state_of(*state, "demo", "state"), "held");
	assert_string_equal(state_of(*state, "demo", "info"), "cli");
	assert_int_equal(strncmp(state_of(*state, "demo", "since"), "2025-11-06T10:39:00.512", 23),
			 0);
	assert_null(state_of(*state, "demo", "pid"));
	assert_int_equal(sem_post(semaphore), 0);
	assert_string_equal(state_of(*state, "demo", "state"), "free");
	assert_string_equal(state_of(*state, "demo", "last-info"), "cli");
	sem_close(semaphore);
}

static void break_posts_for_them(void **state)
{
	const struct fixture *fixture = *state;
	sem_t *semaphore = semaphore_of("demo");

	assert_int_equal(relock_break(fixture->store, "demo", NULL), -ENOENT);
	assert_int_equal(sem_wait(semaphore), 0);
	assert_int_equal(relock_break(fixture->store, "demo", NULL), 0);
	assert_int_equal(value_of_semaphore(semaphore), 1);
	assert_int_equal(relock_break(fixture->store, "demo", NULL), -ENOENT);
	assert_int_equal(value_of_semaphore(semaphore), 1);
	sem_close(semaphore);
}

/* As `resourcelock demo unget` does. */
static void a_post_over_our_head_frees_it(void **state)
{
	relock_lock *lock = handle(*state, "demo"), *next = handle(*state, "demo");
	sem_t *semaphore = semaphore_of("demo");
	uint64_t token;

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(sem_post(semaphore), 0);
	assert_string_equal(state_of(*state, "demo", "state"), "free");
	assert_int_equal(try_lock(next), 0);
	assert_int_equal(relock_token(next, &token), 0);
	assert_int_equal(relock_token(lock, &token), -ESTALE);
	assert_int_equal(value_of_semaphore(semaphore), 0);
	assert_int_equal(relock_check(lock), -ESTALE);
	assert_int_equal(relock_check(next), 0);
	assert_int_equal(relock_release(next), 0);
	assert_int_equal(value_of_semaphore(semaphore), 1);
	/* And without anybody between. */
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(sem_post(semaphore), 0);
	assert_int_equal(relock_release(lock), -ESTALE);
	assert_message_names("/dev/shm/sem.demo");
	assert_int_equal(value_of_semaphore(semaphore), 1);
	sem_close(semaphore);
	relock_lock_close(lock);
	relock_lock_close(next);
}

static void who_takes_what_was_given_away_keeps_it(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	sem_t *semaphore = semaphore_of("demo");

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(sem_post(semaphore), 0);
	assert_int_equal(sem_wait(semaphore), 0);
	write_text("2025-11-06 10:39:00.512996 - cli");
	assert_string_equal(state_of(*state, "demo", "info"), "cli");
	assert_int_equal(relock_release(lock), -ESTALE);
	assert_int_equal(value_of_semaphore(semaphore), 0);
	assert_int_equal(try_lock(lock), -EAGAIN);
	assert_int_equal(sem_post(semaphore), 0);
	assert_int_equal(try_lock(lock), 0);
	sem_close(semaphore);
	relock_lock_close(lock);
}

static void a_dead_holder_whose_lock_was_given_away_leaves_none(void **state)
{
	sem_t *semaphore = semaphore_of("demo");
	relock_lock *lock = handle(*state, "demo");
	struct holding holding = {*state, "demo", RELOCK_EXCLUSIVE};
	struct peer peer = peer_start(hold_until_told, &holding);

	assert_int_equal(peer_hear(&peer), 1);
	assert_int_equal(sem_post(semaphore), 0);
	assert_int_equal(sem_wait(semaphore), 0);
	write_text("2025-11-06 10:39:00.512996 - cli");
	peer_kill(&peer);
	assert_int_equal(try_lock(lock), -EAGAIN);
	assert_string_equal(state_of(*state, "demo", "info"), "cli");
	assert_int_equal(sem_post(semaphore), 0);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(value_of_semaphore(semaphore), 1);
	sem_close(semaphore);
	relock_lock_close(lock);
}

static void a_value_above_1_admits_one(void **state)
{
	relock_lock *lock = handle(*state, "demo"), *other = handle(*state, "demo");
	sem_t *semaphore = semaphore_of("demo");

	assert_int_equal(sem_post(semaphore), 0);
	assert_int_equal(sem_post(semaphore), 0);
	assert_string_equal(state_of(*state, "demo", "value"), "3");
	assert_string_equal(state_of(*state, "demo", "look-at"), "/dev/shm/sem.demo");
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(sem_trywait(semaphore), -1);
	assert_int_equal(try_lock(other), -EAGAIN);
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(value_of_semaphore(semaphore), 1);
	sem_close(semaphore);
	relock_lock_close(lock);
	relock_lock_close(other);
}

/* Who dies */

static void a_dead_holders_lock_is_had_once(void **state)
{
	sem_t *semaphore = semaphore_of("demo");
	relock_lock *first = handle(*state, "demo"), *second = handle(*state, "demo");

	for (int i = 0; i < 20; i++) {
		die_with_it(*state, "demo");
		assert_int_equal(value_of_semaphore(semaphore), 0);
		assert_string_equal(state_of(*state, "demo", "state"), "free");
		assert_non_null(state_of(*state, "demo", "died"));
		assert_int_equal(try_lock(first), 0);
		assert_int_equal(try_lock(second), -EAGAIN);
		assert_int_equal(sem_trywait(semaphore), -1);
		assert_int_equal(relock_release(first), 0);
		assert_int_equal(value_of_semaphore(semaphore), 1);
	}
	sem_close(semaphore);
	relock_lock_close(first);
	relock_lock_close(second);
}

static void a_waiter_notices_that_the_holder_died(void **state)
{
	struct holding holding = {*state, "demo", RELOCK_EXCLUSIVE};
	struct peer holder = peer_start(hold_until_told, &holding);

	assert_int_equal(peer_hear(&holder), 1);
	struct peer waiter = peer_start(wait_until_told, *state);
	wait_until_blocked(waiter.pid, SYS_futex);
	peer_kill(&holder);
	assert_int_equal(peer_hear(&waiter), 0);
	peer_say(&waiter, 1);
	assert_int_equal(peer_reap(&waiter), 0);
}

/* pid 1 of a namespace of its own; it ends with the peer. */
static int hold_in_a_namespace(struct peer *self, void *argument)
{
	int status;

	if (unshare(CLONE_NEWPID) < 0)
		return 1;
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		peer_say(self, try_lock(handle(argument, "demo")));
		for (;;)
			pause();
	}
	peer_hear(self);
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	peer_say(self, 2);
	peer_hear(self);
	return 0;
}

static void a_holder_in_another_pid_namespace_lives(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	struct peer peer = peer_start(hold_in_a_namespace, *state);

	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(try_lock(lock), -EAGAIN);
	assert_non_null(state_of(*state, "demo", "pid-namespace"));
	peer_say(&peer, 1);
	assert_int_equal(peer_hear(&peer), 2);
	assert_int_equal(try_lock(lock), 0);
	peer_say(&peer, 1);
	assert_int_equal(peer_reap(&peer), 0);
	relock_lock_close(lock);
}

/* What a command under `relock run` has inherited ends with it, and whoever ran it
 * gives back: nobody else may come who could. */
static int inherit_and_wait(struct peer *self, void *argument)
{
	peer_say(self, 1);
	peer_hear(self);
	return 0;
}

static void the_last_who_leaves_gives_back(void **state)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = handle(*state, "demo");
	sem_t *semaphore = semaphore_of("demo");

	request.flags = RELOCK_INHERIT;
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_int_equal(relock_leave(lock), 0);
	assert_int_equal(value_of_semaphore(semaphore), 1);
	/* And while somebody is left: that one has it. */
	assert_int_equal(relock_acquire(lock, &request), 0);
	struct peer peer = peer_start(inherit_and_wait, NULL);
	assert_int_equal(peer_hear(&peer), 1);
	assert_int_equal(relock_leave(lock), 0);
	assert_int_equal(value_of_semaphore(semaphore), 0);
	assert_int_equal(try_lock(lock), -EAGAIN);
	peer_say(&peer, 1);
	assert_int_equal(peer_reap(&peer), 0);
	assert_int_equal(try_lock(lock), 0);
	sem_close(semaphore);
	relock_lock_close(lock);
}

static int acquire_and_exit(struct peer *self, void *argument)
{
	relock_lock *lock = handle(argument, "demo");

	exit(try_lock(lock) == 0 ? 0 : 1);
}

static void who_exits_gives_back(void **state)
{
	sem_t *semaphore = semaphore_of("demo");
	struct peer peer = peer_start(acquire_and_exit, *state);

	assert_int_equal(peer_reap(&peer), 0);
	assert_int_equal(value_of_semaphore(semaphore), 1);
	sem_close(semaphore);
}

/* Objects that are not as they should be */

static void a_semaphore_removed_under_its_holder(void **state)
{
	relock_lock *holder = handle(*state, "demo"), *other = handle(*state, "demo");

	assert_int_equal(try_lock(holder), 0);
	assert_int_equal(sem_unlink("demo"), 0);
	/* The next one would make another, and be the second holder. */
	assert_int_equal(try_lock(other), -EAGAIN);
	assert_int_equal(relock_check(holder), -ESTALE);
	assert_message_names("/dev/shm/sem.demo");
	assert_int_equal(try_lock(other), 0);
	assert_int_equal(try_lock(holder), -EAGAIN);
	relock_lock_close(holder);
	relock_lock_close(other);
}

static void a_semaphore_replaced_meanwhile_is_found(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	const struct timespec trusted = {.tv_nsec = 2 * RELOCK_MILLISECOND};

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(sem_unlink("demo"), 0);
	sem_t *semaphore = semaphore_of("demo");
	assert_int_equal(sem_wait(semaphore), 0);
	/* Names are believed for a millisecond, and nothing tells when that is over. */
	nanosleep(&trusted, NULL);
	assert_int_equal(try_lock(lock), -EAGAIN);
	assert_int_equal(sem_post(semaphore), 0);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(value_of_semaphore(semaphore), 0);
	sem_close(semaphore);
	relock_lock_close(lock);
}

static void a_waiter_finds_the_new_semaphore(void **state)
{
	sem_t *old = semaphore_of("demo");

	assert_int_equal(sem_wait(old), 0);
	struct peer peer = peer_start(wait_until_told, *state);
	wait_until_blocked(peer.pid, SYS_futex);
	assert_int_equal(sem_unlink("demo"), 0);
	assert_int_equal(peer_hear(&peer), 0);
	peer_say(&peer, 1);
	assert_int_equal(peer_reap(&peer), 0);
	sem_close(old);
}

static void make_file(const char *path, const void *content, size_t length, off_t size, mode_t mode)
{
	int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, content, length, 0), (ssize_t)length);
	if (size)
		assert_int_equal(ftruncate(fd, size), 0);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
}

static void assert_refused(const struct fixture *fixture, int error)
{
	relock_lock *lock = handle(fixture, "demo");
	struct relock_status *status = NULL;

	assert_int_equal(try_lock(lock), error);
	assert_message_names("/dev/shm/sem.demo");
	assert_int_equal(relock_lock_status(lock, &status), error);
	assert_message_names("/dev/shm/sem.demo");
	relock_lock_close(lock);
}

static void what_is_no_semaphore_is_refused(void **state)
{
	static char garbage[20000];

	memset(garbage, 0xa7, sizeof garbage);
	make_file(semaphore_path("demo"), garbage, 0, 0, 0600);
	assert_refused(*state, -EBADMSG);
	unlink(semaphore_path("demo"));
	make_file(semaphore_path("demo"), garbage, 31, 0, 0600);
	assert_refused(*state, -EBADMSG);
	unlink(semaphore_path("demo"));
	make_file(semaphore_path("demo"), garbage, 32, 0, 0600);
	assert_refused(*state, -EBADMSG);
	unlink(semaphore_path("demo"));
	make_file(semaphore_path("demo"), garbage, sizeof garbage, 0, 0600);
	assert_refused(*state, -EBADMSG);
	unlink(semaphore_path("demo"));
	assert_int_equal(mkdir(semaphore_path("demo"), 0700), 0);
	relock_lock *lock = handle(*state, "demo");
	assert_int_equal(try_lock(lock), -EISDIR);
	assert_message_names("/dev/shm/sem.demo");
	relock_lock_close(lock);
	rmdir(semaphore_path("demo"));
	assert_int_equal(symlink("/dev/shm/other", semaphore_path("demo")), 0);
	assert_refused(*state, -ELOOP);
}

/* A lock is as good without its text. */
static void the_text_may_be_anything(void **state)
{
	static char garbage[1 << 20];

	memset(garbage, 0xff, sizeof garbage);
	make_file("/dev/shm/demo", garbage, 0, 0, 0600);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
	unlink("/dev/shm/demo");
	make_file("/dev/shm/demo", garbage, sizeof garbage, 0, 0600);
	assert_non_null(state_of(*state, "demo", "last-info"));
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
	struct stat status;
	assert_int_equal(stat("/dev/shm/demo", &status), 0);
	assert_int_equal(status.st_size, sizeof garbage);
	unlink("/dev/shm/demo");
	make_file("/dev/shm/demo", garbage, 10, 0, 0600);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
	unlink("/dev/shm/demo");
	assert_int_equal(mkdir("/dev/shm/demo", 0700), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
	rmdir("/dev/shm/demo");
	assert_int_equal(symlink("/etc/passwd", "/dev/shm/demo"), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
	assert_string_equal(state_of(*state, "demo", "state"), "free");
}

static int acquire_as_nobody(struct peer *self, void *argument)
{
	relock_lock *lock = handle(argument, "demo");

	if (setresgid(65534, 65534, 65534) < 0 || setresuid(65534, 65534, 65534) < 0)
		return 1;
	peer_say(self, try_lock(lock));
	peer_say(self, strstr(relock_error_message(), "/dev/shm/sem.demo") != NULL);
	const struct fixture *fixture = argument;
	peer_say(self, relock_break(fixture->store, "demo", NULL));
	relock_lock_close(lock);
	return 0;
}

static void another_users_semaphore_is_not_ours(void **state)
{
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(try_lock(lock), 0);
	struct peer peer = peer_start(acquire_as_nobody, *state);
	assert_int_equal(peer_hear(&peer), -EACCES);
	assert_int_equal(peer_hear(&peer), 1);
	assert_int_equal(peer_hear(&peer), -EACCES);
	assert_int_equal(peer_reap(&peer), 0);
	assert_int_equal(relock_check(lock), 0);
	relock_lock_close(lock);
}

static void an_unreadable_text_leaves_the_lock(void **state)
{
	relock_lock *lock = handle(*state, "demo");

	make_file("/dev/shm/demo", "secret", 7, 4096, 0000);
	assert_int_equal(chown("/dev/shm/demo", 65534, 65534), 0);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	relock_lock_close(lock);
}

/* A /dev/shm without room: of one page that the semaphore has. */
static void without_room_the_lock_has_no_record(void **state)
{
	const struct fixture *fixture = *state;
	relock_store *store = NULL;
	relock_lock *lock = NULL, *other = NULL;
	uint64_t token;

	assert_int_equal(mount("relock-test", "/dev/shm", "tmpfs", 0, "size=4k,mode=1777"), 0);
	assert_int_equal(relock_store_open(&store, "sem:"), 0);
	assert_int_equal(relock_lock_open(&lock, store, "demo"), 0);
	assert_int_equal(relock_lock_open(&other, store, "demo"), 0);
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_token(lock, &token), -ENODATA);
	assert_int_equal(relock_set_info(lock, "x", 1), -ENODATA);
	assert_message_names("/dev/shm/sem.demo");
	assert_int_equal(try_lock(other), -EAGAIN);
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(try_lock(other), 0);
	relock_lock_close(other);
	/* And where there is none for a semaphore: no lock, and why. */
	relock_lock_close(lock);
	assert_int_equal(relock_lock_open(&lock, store, "another"), 0);
	assert_int_equal(try_lock(lock), -ENOSPC);
	assert_message_names("/dev/shm/sem.another");
	relock_lock_close(lock);
	relock_store_close(store);
	assert_int_equal(umount2("/dev/shm", MNT_DETACH), 0);
	assert_non_null(fixture);
}

static void ignore(int signal)
{
}

static int wait_with_handler(struct peer *self, void *argument)
{
	struct sigaction action = {.sa_handler = ignore, .sa_flags = SA_RESTART};
	relock_lock *lock = handle(argument, "demo");

	sigaction(SIGUSR1, &action, NULL);
	peer_say(self, 100);
	peer_say(self, lock_within(lock, RELOCK_FOREVER));
	peer_say(self, lock_within(lock, 3600 * RELOCK_SECOND));
	relock_lock_close(lock);
	return 0;
}

/* As sem_timedwait(3); SA_RESTART does not help. */
static void any_signal_handler_ends_a_wait(void **state)
{
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(try_lock(lock), 0);
	struct peer peer = peer_start(wait_with_handler, *state);
	assert_int_equal(peer_hear(&peer), 100);
	for (int i = 0; i < 2; i++) {
		wait_until_blocked(peer.pid, SYS_futex);
		kill(peer.pid, SIGUSR1);
		assert_int_equal(peer_hear(&peer), -EINTR);
	}
	assert_int_equal(peer_reap(&peer), 0);
	relock_lock_close(lock);
}

static void *wait_to_be_cancelled(void *argument)
{
	lock_within(argument, RELOCK_FOREVER);
	return NULL;
}

static void cancel_a_wait(relock_lock *lock)
{
	pthread_t thread;
	void *ended;

	assert_int_equal(pthread_create(&thread, NULL, wait_to_be_cancelled, lock), 0);
	wait_until_blocked(getpid(), SYS_futex);
	pthread_cancel(thread);
	pthread_join(thread, &ended);
	assert_ptr_equal(ended, PTHREAD_CANCELED);
}

static void a_cancelled_wait_for_them_leaves_no_turn(void **state)
{
	sem_t *semaphore = semaphore_of("demo");
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(sem_wait(semaphore), 0);
	cancel_a_wait(lock);
	assert_int_equal(sem_post(semaphore), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
	/* Nobody is counted as a waiter any more. */
	uint64_t word = 0;
	int fd = open(semaphore_path("demo"), O_RDONLY | O_CLOEXEC);
	assert_int_equal(pread(fd, &word, sizeof word, 0), sizeof word);
	close(fd);
	assert_int_equal(word, 1);
	sem_close(semaphore);
	relock_lock_close(lock);
}

static void tokens_grow(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	uint64_t last = 0, token = 0;

	for (int i = 0; i < 100; i++) {
		if (i % 10 == 9)
			die_with_it(*state, "demo");
		assert_int_equal(try_lock(lock), 0);
		assert_int_equal(relock_token(lock, &token), 0);
		assert_true(token > last);
		last = token;
		assert_int_equal(relock_release(lock), 0);
	}
	relock_lock_close(lock);
}

static void free_semaphores_are_not_pruned(void **state)
{
	const struct fixture *fixture = *state;
	size_t removed = 1;

	assert_int_equal(try_elsewhere(fixture, "demo"), 0);
	assert_int_equal(relock_store_prune(fixture->store, 0, &removed), 0);
	assert_int_equal(removed, 0);
	assert_int_equal(access(semaphore_path("demo"), F_OK), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_sem(nothing_follows_the_colon),
		test_sem(shared_mode_is_refused),
		test_sem(names_have_251_bytes),
		test_sem(objects_are_as_resourcelock_makes_them),
		test_sem(status_has_the_value),
		test_sem(semaphores_that_are_no_locks_are_not_listed),
		test_sem(others_and_we_exclude_each_other),
		test_sem(our_release_wakes_them),
		test_sem(their_post_wakes_us),
		test_sem(killed_waiters_cost_nobody_anything),
		test_sem(text_says_what_resourcelock_reads),
		test_sem(their_text_is_our_info),
		test_sem(break_posts_for_them),
		test_sem(a_post_over_our_head_frees_it),
		test_sem(who_takes_what_was_given_away_keeps_it),
		test_sem(a_dead_holder_whose_lock_was_given_away_leaves_none),
		test_sem(a_value_above_1_admits_one),
		test_sem(a_dead_holders_lock_is_had_once),
		test_sem(a_waiter_notices_that_the_holder_died),
		test_sem(a_holder_in_another_pid_namespace_lives),
		test_sem(the_last_who_leaves_gives_back),
		test_sem(who_exits_gives_back),
		test_sem(a_semaphore_removed_under_its_holder),
		test_sem(a_semaphore_replaced_meanwhile_is_found),
		test_sem(a_waiter_finds_the_new_semaphore),
		test_sem(what_is_no_semaphore_is_refused),
		test_sem(the_text_may_be_anything),
		test_sem(another_users_semaphore_is_not_ours),
		test_sem(an_unreadable_text_leaves_the_lock),
		test_sem(without_room_the_lock_has_no_record),
		test_sem(any_signal_handler_ends_a_wait),
		test_sem(a_cancelled_wait_for_them_leaves_no_turn),
		test_sem(tokens_grow),
		test_sem(free_semaphores_are_not_pruned),
	};

	return cmocka_run_group_tests_name("sem", tests, NULL, NULL);
}
