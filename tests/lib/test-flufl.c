/*
 * link: and the real flufl.lock, Debian's python3-flufl.lock, on the same file: each
 * excludes the other, sees the other's state and details, and breaks what the other
 * has left.  Both know this host by the name that the test gives it, in a namespace
 * of its own.
 */
#include "fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define HOST      "relock-test"
#define FULL_HOST "relock-test.example"

struct flufl {
	pid_t pid;
	FILE *in, *out;
};

static struct flufl flufl_start(const struct fixture *fixture, const char *lifetime)
{
	int in[2], out[2];

	assert_int_equal(pipe2(in, O_CLOEXEC), 0);
	assert_int_equal(pipe2(out, O_CLOEXEC), 0);
	pid_t pid = fork();
	assert_int_not_equal(pid, -1);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execl("/usr/bin/python3", "python3", FLUFL_PEER, path_of(fixture, "demo"), lifetime,
		      NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	struct flufl flufl = {pid, fdopen(in[1], "w"), fdopen(out[0], "r")};
	assert_non_null(flufl.in);
	assert_non_null(flufl.out);
	return flufl;
}

static void flufl_tell(struct flufl *flufl, const char *command)
{
	assert_true(fprintf(flufl->in, "%s\n", command) > 0);
	assert_int_equal(fflush(flufl->in), 0);
}

/* Valid until the next one. */
static const char *flufl_hear(struct flufl *flufl)
{
	static char line[512];

	assert_non_null(fgets(line, sizeof line, flufl->out));
	line[strcspn(line, "\n")] = '\0';
	return line;
}

static const char *flufl_ask(struct flufl *flufl, const char *command)
{
	flufl_tell(flufl, command);
	return flufl_hear(flufl);
}

/* With a signal, it leaves behind what it has. */
static void flufl_end(struct flufl *flufl, int signal)
{
	if (signal)
		kill(flufl->pid, signal);
	fclose(flufl->in);
	fclose(flufl->out);
	assert_int_equal(waitpid(flufl->pid, NULL, 0), flufl->pid);
}

/* The lifetime that the holder wanted was over so many seconds ago. */
static void set_expiry(const struct fixture *fixture, time_t from_now)
{
	const struct timespec times[] = {{.tv_sec = time(NULL) + from_now},
					 {.tv_sec = time(NULL) + from_now}};

	assert_int_equal(utimensat(AT_FDCWD, path_of(fixture, "demo"), times, 0), 0);
}

static void both_call_this_host_the_same(void **state)
{
	struct flufl flufl = flufl_start(*state, "15");
	relock_lock *lock = handle(*state, "demo");

	assert_string_equal(flufl_ask(&flufl, "host"), FULL_HOST);
	assert_int_equal(try_lock(lock), 0);
	assert_non_null(strstr(flufl_ask(&flufl, "details"), FULL_HOST));
	relock_lock_close(lock);
	flufl_end(&flufl, 0);
}

static void ours_excludes_flufl(void **state)
{
	struct flufl flufl = flufl_start(*state, "15");
	relock_lock *lock = handle(*state, "demo");

	assert_int_equal(try_lock(lock), 0);
	assert_string_equal(flufl_ask(&flufl, "lock 0"), "TimeOutError");
	assert_int_equal(relock_check(lock), 0);
	assert_int_equal(relock_release(lock), 0);
	assert_string_equal(flufl_ask(&flufl, "lock 5"), "done");
	assert_string_equal(flufl_ask(&flufl, "unlock"), "done");
	flufl_end(&flufl, 0);
	relock_lock_close(lock);
}

static void flufl_excludes_ours_and_wakes_it(void **state)
{
	struct flufl flufl = flufl_start(*state, "15");
	relock_lock *lock = handle(*state, "demo");

	assert_string_equal(flufl_ask(&flufl, "lock 5"), "done");
	assert_int_equal(try_lock(lock), -EAGAIN);
	assert_int_equal(lock_within(lock, 20 * RELOCK_MILLISECOND), -ETIMEDOUT);
	flufl_tell(&flufl, "unlock");
	assert_int_equal(lock_within(lock, 20 * RELOCK_SECOND), 0);
	assert_string_equal(flufl_hear(&flufl), "done");
	assert_string_equal(flufl_ask(&flufl, "lock 0"), "TimeOutError");
	relock_lock_close(lock);
	flufl_end(&flufl, 0);
}

static void flufl_reads_our_details_and_state(void **state)
{
	struct flufl flufl = flufl_start(*state, "15");
	struct holding holding = {*state, "demo", RELOCK_EXCLUSIVE};
	char expected[256];

	assert_string_equal(flufl_ask(&flufl, "state"), "unlocked");
	struct peer peer = peer_start(hold_until_told, &holding);
	assert_int_equal(peer_hear(&peer), 1);
	snprintf(expected, sizeof expected, FULL_HOST " %d %s", (int)peer.pid,
		 path_of(*state, "demo"));
	assert_string_equal(flufl_ask(&flufl, "details"), expected);
	/* It does not know more of a holder that lives. */
	assert_string_equal(flufl_ask(&flufl, "state"), "unknown");
	set_expiry(*state, -1);
	assert_string_equal(flufl_ask(&flufl, "state"), "theirs_expired");
	peer_kill(&peer);
	assert_string_equal(flufl_ask(&flufl, "state"), "stale");
	flufl_end(&flufl, 0);
}

static void we_read_flufls_details_and_state(void **state)
{
	struct flufl flufl = flufl_start(*state, "15");

	assert_string_equal(flufl_ask(&flufl, "lock 5"), "done");
	assert_string_equal(flufl_ask(&flufl, "state"), "ours");
	assert_string_equal(state_of(*state, "demo", "state"), "held");
	assert_int_equal(atoi(state_of(*state, "demo", "pid")), flufl.pid);
	assert_string_equal(state_of(*state, "demo", "host"), FULL_HOST);
	assert_non_null(state_of(*state, "demo", "expires"));
	set_expiry(*state, -1);
	assert_string_equal(flufl_ask(&flufl, "state"), "ours_expired");
	assert_string_equal(state_of(*state, "demo", "state"), "expired");
	assert_string_equal(flufl_ask(&flufl, "refresh 20"), "done");
	assert_string_equal(state_of(*state, "demo", "state"), "held");
	flufl_end(&flufl, SIGKILL);
	assert_string_equal(state_of(*state, "demo", "state"), "stale");
}

/* A claim of flufl.lock's proves nobody gone: what counts is the lifetime. */
static void we_break_flufls_lock_when_it_has_expired(void **state)
{
	struct flufl flufl = flufl_start(*state, "15");
	relock_lock *lock = handle(*state, "demo");

	assert_string_equal(flufl_ask(&flufl, "lock 5"), "done");
	flufl_end(&flufl, SIGKILL);
	assert_int_equal(try_lock(lock), -EAGAIN);
	set_expiry(*state, -9);
	assert_int_equal(try_lock(lock), -EAGAIN);
	set_expiry(*state, -12);
	assert_int_equal(try_lock(lock), 0);
	relock_lock_close(lock);
}

static void a_holder_that_flufl_has_broken_is_told(void **state)
{
	struct flufl flufl = flufl_start(*state, "15");
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock = handle(*state, "demo");

	request.lifetime = RELOCK_SECOND; /* and not refreshed */
	assert_int_equal(relock_acquire(lock, &request), 0);
	set_expiry(*state, -12);
	assert_string_equal(flufl_ask(&flufl, "lock 20"), "done");
	assert_int_equal(relock_check(lock), -ESTALE);
	assert_int_equal(try_lock(lock), -EAGAIN);
	assert_string_equal(flufl_ask(&flufl, "state"), "ours");
	assert_string_equal(flufl_ask(&flufl, "unlock"), "done");
	assert_int_equal(try_lock(lock), 0);
	relock_lock_close(lock);
	flufl_end(&flufl, 0);
}

static void a_flufl_holder_that_we_have_broken_is_told(void **state)
{
	struct flufl flufl = flufl_start(*state, "15");
	relock_lock *lock = handle(*state, "demo");

	assert_string_equal(flufl_ask(&flufl, "lock 5"), "done");
	set_expiry(*state, -12);
	assert_int_equal(try_lock(lock), 0);
	assert_string_equal(flufl_ask(&flufl, "unlock"), "NotLockedError");
	assert_int_equal(relock_check(lock), 0);
	relock_lock_close(lock);
	flufl_end(&flufl, 0);
}

static void our_token_info_and_history_disturb_nobody(void **state)
{
	struct flufl flufl = flufl_start(*state, "15");
	relock_lock *lock = handle(*state, "demo");
	uint64_t first, second;

	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_set_info(lock, "mine", 4), 0);
	assert_int_equal(relock_token(lock, &first), 0);
	assert_int_equal(relock_release(lock), 0);
	assert_string_equal(flufl_ask(&flufl, "lock 5"), "done");
	/* What is left of ours does not describe it. */
	assert_null(state_of(*state, "demo", "info"));
	assert_null(state_of(*state, "demo", "token"));
	assert_string_equal(flufl_ask(&flufl, "unlock"), "done");
	assert_string_equal(state_of(*state, "demo", "last-info"), "mine");
	assert_int_equal(try_lock(lock), 0);
	assert_int_equal(relock_token(lock, &second), 0);
	assert_true(second > first);
	relock_lock_close(lock);
	flufl_end(&flufl, 0);
}

/* A name that is in /etc/hosts, and nowhere else. */
static int name_this_host(void **state)
{
	static const char hosts[] = "127.0.0.1 localhost\n127.0.1.1 " FULL_HOST " " HOST "\n";
	char path[] = "/tmp/relock-hosts-XXXXXX";

	int fd = mkstemp(path);
	if (fd < 0 || write(fd, hosts, sizeof hosts - 1) < 0 || fchmod(fd, 0644) < 0)
		return -1;
	close(fd);
	bool done = unshare(CLONE_NEWNS | CLONE_NEWUTS) == 0 &&
		    mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		    mount(path, "/etc/hosts", NULL, MS_BIND, NULL) == 0 &&
		    sethostname(HOST, strlen(HOST)) == 0;
	unlink(path);
	return done ? 0 : -1;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		test_link(both_call_this_host_the_same),
		test_link(ours_excludes_flufl),
		test_link(flufl_excludes_ours_and_wakes_it),
		test_link(flufl_reads_our_details_and_state),
		test_link(we_read_flufls_details_and_state),
		test_link(we_break_flufls_lock_when_it_has_expired),
		test_link(a_holder_that_flufl_has_broken_is_told),
		test_link(a_flufl_holder_that_we_have_broken_is_told),
		test_link(our_token_info_and_history_disturb_nobody),
	};

	return cmocka_run_group_tests_name("flufl", tests, name_this_host, NULL);
}
