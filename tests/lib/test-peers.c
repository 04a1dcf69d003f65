/*
 * "Works together with": the stores and the programs they are named beside.
 * flock(1) is util-linux's own; lockmgr, resourcelock and `flock --fcntl`, which
 * Debian 12 does not have, are stood in for by programs of their protocol.
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"

/* A program at the ends of two pipes. */
struct program {
	pid_t pid;
	FILE *out;
	int in;
};

static struct program start(char *const arguments[])
{
	int in[2], out[2];
	struct program program = {0};
	posix_spawn_file_actions_t actions;

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	assert_int_equal(
		posix_spawnp(&program.pid, arguments[0], &actions, NULL, arguments, environ), 0);
	posix_spawn_file_actions_destroy(&actions);
	close(in[0]);
	close(out[1]);
	program.in = in[1];
	program.out = fdopen(out[0], "r");
	return program;
}

/* The next line that it prints, without newline; "" at its end. */
static const char *line_of(struct program *program)
{
	static char line[128];

	if (!fgets(line, sizeof line, program->out))
		line[0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return line;
}

static void tell(struct program *program)
{
	assert_int_equal(write(program->in, "\n", 1), 1);
}

static int end(struct program *program)
{
	int status = 0;

	close(program->in);
	assert_int_equal(waitpid(program->pid, &status, 0), program->pid);
	fclose(program->out);
	return status;
}

static struct program flock_holding(void **state)
{
	char *path = strdup(path_of(*state, "demo")), script[] = "echo held; read line";
	char *arguments[] = {"flock", path, "-c", script, NULL};
	struct program program = start(arguments);

	free(path);
	assert_string_equal(line_of(&program), "held");
	return program;
}

static void flock_1_holds_against_us(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	struct program program = flock_holding(state);

	assert_int_equal(try_lock(lock), -EAGAIN);
	assert_int_equal(lock_within(lock, 5 * RELOCK_MILLISECOND), -ETIMEDOUT);
	assert_string_equal(state_of(*state, "demo", "state"), "held");
	/* flock, or the shell that inherited it: both have the description. */
	assert_non_null(strstr(state_of(*state, "demo", "command"), "echo held"));
	tell(&program);
	assert_int_equal(lock_within(lock, 20 * RELOCK_SECOND), 0);
	assert_int_equal(end(&program), 0);
	relock_lock_close(lock);
}

static int flock_nonblocking(void **state)
{
	char *path = strdup(path_of(*state, "demo"));
	char *arguments[] = {"flock", "-n", path, "true", NULL};
	struct program program = start(arguments);
	int status = end(&program);

	free(path);
	return WEXITSTATUS(status);
}

static void we_hold_against_flock_1(void **state)
{
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(flock_nonblocking(state), 1);
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(flock_nonblocking(state), 0);
	assert_int_equal(try_shared(lock), 0);
	assert_int_equal(flock_nonblocking(state), 1);
	relock_lock_close(lock);
}

/* flock(1) waits on the file it has open: a release must not remove it. */
static void our_release_wakes_flock_1_on_the_same_file(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	char *path = strdup(path_of(*state, "demo")), script[] = "echo held; read line";
	char *arguments[] = {"flock", path, "-c", script, NULL};
	struct stat before, after;

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(stat(path, &before), 0);
	struct program program = start(arguments);
	wait_until_blocked(program.pid, SYS_flock);
	assert_int_equal(relock_release(lock), 0);
	assert_string_equal(line_of(&program), "held");
	assert_int_equal(stat(path, &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	tell(&program);
	assert_int_equal(end(&program), 0);
	free(path);
	relock_lock_close(lock);
}

static struct program lockmgr(void **state, const char *what)
{
	char *path = strdup(path_of(*state, "demo")), script[] = LOCKMGR;
	char *arguments[] = {"python3", script, path, (char *)what, "20", NULL};
	struct program program = start(arguments);

	free(path);
	return program;
}

static void lockmgr_holds_against_us_and_removes_its_file(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	struct program program = lockmgr(state, "hold");

	assert_string_equal(line_of(&program), "held 1");
	assert_int_equal(try_lock(lock), -EAGAIN);
	tell(&program);
	assert_string_equal(line_of(&program), "released");
	/* Our handle has the removed file open, and locks the next. */
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(try_elsewhere(*state, "demo"), -EAGAIN);
	assert_int_equal(end(&program), 0);
	relock_lock_close(lock);
}

static int wait_and_tell(struct peer *self, void *argument)
{
	relock_lock *lock = handle(argument, "demo");

	peer_say(self, lock_within(lock, 20 * RELOCK_SECOND));
	peer_say(self, try_elsewhere(argument, "demo"));
	relock_lock_close(lock);
	return 0;
}

static void we_wait_for_lockmgr(void **state)
{
	struct program program = lockmgr(state, "hold");

	assert_string_equal(line_of(&program), "held 1");
	struct peer peer = peer_start(wait_and_tell, *state);
	wait_until_blocked(peer.pid, SYS_flock);
	tell(&program);
	assert_int_equal(peer_hear(&peer), 0);
	assert_int_equal(peer_hear(&peer), -EAGAIN);
	assert_int_equal(peer_reap(&peer), 0);
	assert_int_equal(end(&program), 0);
}

static void we_hold_against_lockmgr(void **state)
{
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(try_lock(lock), 0);
	struct program program = lockmgr(state, "hold");
	assert_string_equal(line_of(&program), "refused");
	end(&program);
	assert_int_equal(relock_check(lock), 0);
	relock_lock_close(lock);
}

static void our_release_wakes_lockmgr(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	struct timespec before, after;

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_set_info(lock, "kept", 4), 0);
	struct program program = lockmgr(state, "wait");
	assert_string_equal(line_of(&program), "waits");
	/* "waits" is said before the select, but after the watch is there. */
	clock_gettime(CLOCK_MONOTONIC, &before);
	assert_int_equal(relock_release(lock), 0);
	assert_string_equal(line_of(&program), "held 2");
	clock_gettime(CLOCK_MONOTONIC, &after);
	/* By the event, not by its timeout of 20 s. */
	assert_true(after.tv_sec - before.tv_sec < 10);
	assert_int_equal(try_lock(lock), -EAGAIN);
	/* History went with the name to the new file. */
	char contents[1024] = "";
	CLEANUP_CLOSE int fd = open(path_of(*state, "demo"), O_RDONLY | O_CLOEXEC);
	assert_true(read(fd, contents, sizeof contents - 1) >= 516);
	assert_memory_equal(contents + 512, "kept", 4);
	tell(&program);
	end(&program);
	relock_lock_close(lock);
}

static void release_keeps_the_file_where_nobody_waits_for_its_end(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	struct stat before, after;

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(stat(path_of(*state, "demo"), &before), 0);
	assert_int_equal(flock_nonblocking(state), 1); /* opened it */
	assert_int_equal(relock_release(lock), 0);
	assert_int_equal(stat(path_of(*state, "demo"), &after), 0);
	assert_int_equal(before.st_ino, after.st_ino);
	relock_lock_close(lock);
}

/* What `flock --fcntl` does: an OFD lock on the whole file. */
static int ofd_lock(int fd, short type)
{
	struct flock whole = {.l_type = type, .l_whence = SEEK_SET};

	return fcntl(fd, F_OFD_SETLK, &whole) == 0 ? 0 : -errno;
}

static void ofd_locks_of_other_programs(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	CLEANUP_CLOSE int fd = open(path_of(*state, "demo"), O_RDWR | O_CREAT | O_CLOEXEC, 0666);

	assert_int_equal(ofd_lock(fd, F_WRLCK), 0);
	assert_int_equal(try_lock(lock), -EAGAIN);
	assert_int_equal(try_shared(lock), -EAGAIN);
	assert_int_equal(ofd_lock(fd, F_RDLCK), 0);
	assert_int_equal(try_shared(lock), 0);
	assert_int_equal(ofd_lock(fd, F_WRLCK), -EAGAIN);
	assert_int_equal(ofd_lock(fd, F_UNLCK), 0);
	assert_int_equal(relock_convert(lock, RELOCK_EXCLUSIVE, 0), 0);
	assert_int_equal(ofd_lock(fd, F_RDLCK), -EAGAIN);
	relock_lock_close(lock);
}

/* resourcelock */

static struct program resourcelock(void)
{
	char *arguments[] = {"python3", RESOURCELOCK, "demo", NULL};
	struct program program = start(arguments);

	assert_string_equal(line_of(&program), "ready");
	return program;
}

static const char *ask(struct program *program, const char *command)
{
	dprintf(program->in, "%s\n", command);
	return line_of(program);
}

static void resourcelock_holds_against_us(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	struct program program = resourcelock();

	assert_string_equal(ask(&program, "get 1 demo.main #1"), "True");
	assert_int_equal(try_lock(lock), -EAGAIN);
	assert_int_equal(lock_within(lock, 5 * RELOCK_MILLISECOND), -ETIMEDOUT);
	assert_string_equal(state_of(*state, "demo", "state"), "held");
	assert_string_equal(state_of(*state, "demo", "info"), "demo.main #1");
	assert_string_equal(ask(&program, "same 0.01 again"), "True");
	assert_string_equal(ask(&program, "unget"), "True");
	assert_string_equal(ask(&program, "unget"), "False");
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(end(&program), 0);
	relock_lock_close(lock);
}

static void we_hold_against_resourcelock(void **state)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = handle(*state, "demo");
	struct program program = resourcelock();

	request.info = "tempmon";
	request.info_length = strlen("tempmon");
	assert_int_equal(relock_acquire(lock, &request), 0);
	assert_string_equal(ask(&program, "value"), "0");
	assert_string_equal(ask(&program, "get 0.01 x"), "False");
	assert_string_equal(ask(&program, "unget"), "False");
	const char *info = ask(&program, "info");
	assert_non_null(strstr(info, " - tempmon"));
	assert_int_equal(strspn(info, "0123456789-:. "), 29);
	assert_int_equal(relock_release(lock), 0);
	assert_string_equal(ask(&program, "value"), "1");
	assert_string_equal(ask(&program, "get 1 mine"), "True");
	assert_int_equal(relock_release(lock), -EPERM);
	assert_int_equal(end(&program), 0);
	relock_lock_close(lock);
}

/* It waits in sem_timedwait(3). */
static void our_release_wakes_resourcelock(void **state)
{
	relock_lock *lock = handle(*state, "demo");
	struct program program = resourcelock();

	assert_int_equal(try_lock(lock), 0);
	dprintf(program.in, "get 3600 waited\n");
	wait_until_blocked(program.pid, SYS_futex);
	assert_int_equal(relock_release(lock), 0);
	assert_string_equal(line_of(&program), "True");
	assert_int_equal(try_lock(lock), -EAGAIN);
	assert_int_equal(end(&program), 0);
	relock_lock_close(lock);
}

static void each_forces_the_others_hold(void **state)
{
	const struct fixture *fixture = *state;
	relock_lock *lock = handle(fixture, "demo");
	struct program program = resourcelock();

	assert_int_equal(try_lock(lock), 0);
	assert_string_equal(ask(&program, "force"), "True");
	assert_string_equal(ask(&program, "get 0 forced"), "True");
	assert_int_equal(relock_release(lock), -ESTALE);
	assert_string_equal(ask(&program, "value"), "0");
	assert_int_equal(relock_break(fixture->store, "demo", NULL), 0);
	assert_string_equal(ask(&program, "value"), "1");
	assert_string_equal(ask(&program, "unget"), "False");
	assert_int_equal(end(&program), 0);
	relock_lock_close(lock);
}

/* What it cannot know of its own kind: a holder of ours that died. */
static void a_dead_holder_of_ours_is_found_beside_resourcelock(void **state)
{
	struct holding holding = {*state, "demo", RELOCK_EXCLUSIVE};
	struct peer peer = peer_start(hold_until_told, &holding);
	struct program program = resourcelock();

	assert_int_equal(peer_hear(&peer), 1);
	peer_kill(&peer);
	assert_string_equal(ask(&program, "get 0.01 x"), "False");
	assert_int_equal(try_elsewhere(*state, "demo"), 0);
	assert_string_equal(ask(&program, "value"), "1");
	assert_string_equal(ask(&program, "get 1 x"), "True");
	assert_int_equal(end(&program), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_flock(flock_1_holds_against_us),
		test_flock(we_hold_against_flock_1),
		test_flock(our_release_wakes_flock_1_on_the_same_file),
		test_flock(lockmgr_holds_against_us_and_removes_its_file),
		test_flock(we_wait_for_lockmgr),
		test_flock(we_hold_against_lockmgr),
		test_flock(our_release_wakes_lockmgr),
		test_flock(release_keeps_the_file_where_nobody_waits_for_its_end),
		test_ofd(ofd_locks_of_other_programs),
		test_sem(resourcelock_holds_against_us),
		test_sem(we_hold_against_resourcelock),
		test_sem(our_release_wakes_resourcelock),
		test_sem(each_forces_the_others_hold),
		test_sem(a_dead_holder_of_ours_is_found_beside_resourcelock),
	};

	return cmocka_run_group_tests_name("peers", tests, NULL, NULL);
}
