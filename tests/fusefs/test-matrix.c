/*
 * Who has a lock after its descriptor was duplicated, inherited, shared, passed
 * on, closed: a table, run with flock(2) on tmpfs, where the kernel itself
 * answers, and with flock(2) and with open(2) on the mount.
 *
 * A lock belongs to an open file description (flock(2)).  So it stays while
 * any descriptor of it is open, in whatever process; LOCK_UN through any of
 * them ends it; a table of descriptors shared by clone(CLONE_FILES) has one
 * descriptor where fork(2) makes two; and another open(2) of the file makes
 * another description.
 *
 * Each case: the opener locks, the sharer comes to a descriptor, one of them
 * does something, and the test tries what it could have had.
 */
#include "fixture.h"
#include "pass-fd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

/* How the sharer comes to a descriptor. */
enum share { DUPLICATE, FORK, CLONE_TABLE, PASSED, REOPENED, SHARE_COUNT };
static const char *const share_names[] = {"dup", "fork", "clone(CLONE_FILES)", "SCM_RIGHTS",
					  "another open"};

enum actor { OPENER, SHARER, ACTOR_COUNT };
static const char *const actor_names[] = {"opener", "sharer"};

enum act { NOTHING, CLOSES, EXECS, ENDS, IS_KILLED, UNLOCKS, TO_SHARED, TO_EXCLUSIVE, ACT_COUNT };
static const char *const act_names[] = {"does nothing", "closes",           "calls execve",
					"exits",        "is killed",        "unlocks",
					"locks shared", "locks exclusively"};

/*
 * What is seen afterwards, a letter for each act: `_` as it was locked, F free,
 * S shared, X exclusive; `-` is no case, since with dup there is no other
 * process; `!` as it was, after EWOULDBLOCK for the actor.  `?` is `!` if it was
 * locked exclusively, else S.  execve closes descriptors with O_CLOEXEC, which
 * all of these have, and unshares their table.
 */
static const char *const outcomes[SHARE_COUNT][ACTOR_COUNT] = {
	[DUPLICATE] = {"__FFFFSX", "__---FSX"},   [FORK] = {"_____FSX", "_____FSX"},
	[CLONE_TABLE] = {"_F___FSX", "_F___FSX"}, [PASSED] = {"_____FSX", "_____FSX"},
	[REOPENED] = {"_FFFFFSX", "______?!"},
};

struct place {
	const char *name;
	char path[PATH_MAX];
	bool by_open, is_mount;
};

struct trial {
	const struct place *place;
	enum share share;
	enum actor actor;
	enum act act;
	int mode; /* LOCK_SH or LOCK_EX */
};

/* The socket of the sharer, and the one over which a descriptor is passed. */
struct party {
	const struct trial *of;
	int sharer, sharer_of_test;
	int passing[2];
};

enum order { SHARE = 100, ACT = 200, ACT_ON_DUPLICATE = 300 };

static int to_flock(const struct place *place)
{
	/* Open for writing, a file of the mount would be held already. */
	int access = place->is_mount ? O_RDONLY : O_RDWR;

	return open(place->path, access | O_CREAT | O_CLOEXEC, 0666);
}

static int acquire(const struct trial *of)
{
	if (of->place->by_open)
		return open(of->place->path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0666);
	int fd = to_flock(of->place);
	return fd >= 0 && flock(fd, of->mode | LOCK_NB) == 0 ? fd : -1;
}

static int act_on(int fd, enum act act, const struct peer *self)
{
	switch (act) {
	case CLOSES:
		return close(fd) < 0 ? errno : 0;
	case EXECS:
		/* cat goes on until the test closes its side. */
		dup2(self->fd, 0);
		dup2(self->fd, 1);
		execlp("cat", "cat", (char *)NULL);
		return errno;
	case ENDS:
		_exit(0);
	case UNLOCKS:
		return flock(fd, LOCK_UN) < 0 ? errno : 0;
	case TO_SHARED:
		return flock(fd, LOCK_SH | LOCK_NB) < 0 ? errno : 0;
	case TO_EXCLUSIVE:
		return flock(fd, LOCK_EX | LOCK_NB) < 0 ? errno : 0;
	default:
		return 0;
	}
}

__attribute__((noreturn)) static void serve_sharer(struct peer *self, int fd)
{
	for (;;)
		peer_say(self, act_on(fd, (enum act)(peer_hear(self) - ACT), self));
}

/* A process that gets its descriptor from an unrelated one, or opens itself. */
static int stranger_main(struct peer *self, void *argument)
{
	const struct party *party = argument;

	close(party->passing[1]);
	int fd = party->of->share == PASSED ? receive_fd(party->passing[0])
					    : to_flock(party->of->place);
	peer_say(self, fd < 0 ? errno : 0);
	serve_sharer(self, fd);
	return 0;
}

/* Returns the sharer's pid, or 0 if it is not a child. */
static pid_t share(const struct party *party, int fd, int *ret_duplicate)
{
	pid_t child = 0;

	switch (party->of->share) {
	case DUPLICATE:
		*ret_duplicate = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		return 0;
	case FORK:
		child = fork();
		break;
	case CLONE_TABLE:
		child = (pid_t)syscall(SYS_clone, CLONE_FILES | SIGCHLD, NULL, NULL, NULL, NULL);
		break;
	case PASSED:
		pass_fd(party->passing[1], fd);
		return 0;
	default:
		return 0;
	}
	if (child == 0) {
		struct peer sharer = {.pid = getpid(), .fd = party->sharer};
		serve_sharer(&sharer, fd);
	}
	return child;
}

static int opener_main(struct peer *self, void *argument)
{
	const struct party *party = argument;
	int duplicate = -1;

	close(party->sharer_of_test);
	int fd = acquire(party->of);
	peer_say(self, fd < 0 ? errno : 0);
	for (int order; (order = peer_hear(self)) != 0;) {
		if (order == SHARE)
			peer_say(self, share(party, fd, &duplicate));
		else if (order >= ACT_ON_DUPLICATE)
			peer_say(self,
				 act_on(duplicate, (enum act)(order - ACT_ON_DUPLICATE), self));
		else
			peer_say(self, act_on(fd, (enum act)(order - ACT), self));
	}
	return 0;
}

/* What the test could have: nothing (X), a shared lock (S), an exclusive one
 * (F). */
static char look(const struct place *place)
{
	int fd = to_flock(place);
	char seen = 'X';

	assert_true(fd >= 0);
	if (flock(fd, LOCK_SH | LOCK_NB) == 0)
		seen = flock(fd, LOCK_EX | LOCK_NB) == 0 ? 'F' : 'S';
	close(fd);
	return seen;
}

/* Its files are closed before the pidfd can be read. */
static void await_end(pid_t pid)
{
	struct pollfd fd = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};

	if (fd.fd < 0)
		return; /* reaped */
	assert_int_equal(poll(&fd, 1, 20000), 1);
	close(fd.fd);
}

/* The descriptors were closed by execve if cat answers. */
static void await_exec(struct peer *peer)
{
	peer_say(peer, 4711);
	assert_int_equal(peer_hear(peer), 4711);
}

static char expected_of(const struct trial *of, int *ret_error)
{
	char before = of->mode == LOCK_SH ? 'S' : 'X';
	char outcome = outcomes[of->share][of->actor][of->act];

	*ret_error = 0;
	if (outcome == '?')
		outcome = before == 'X' ? '!' : 'S';
	if (outcome == '!')
		*ret_error = EWOULDBLOCK;
	return outcome == '_' || outcome == '!' ? before : outcome;
}

static const char *text_of(const struct trial *of)
{
	static char text[256];

	snprintf(text, sizeof text, "%s, locked %s, %s, %s %s", of->place->name,
		 of->mode == LOCK_SH ? "shared" : "exclusively", share_names[of->share],
		 actor_names[of->actor], act_names[of->act]);
	return text;
}

static void check_error(const struct trial *of, const char *whose, int error, int expected)
{
	if (error != expected)
		fail_msg("%s: %s errno is %d, not %d", text_of(of), whose, error, expected);
}

static void check_seen(const struct trial *of, const char *when, char seen, char expected)
{
	if (seen != expected)
		fail_msg("%s: %s the lock is %c, not %c", text_of(of), when, seen, expected);
}

static void do_act(const struct trial *of, struct peer *actor, bool on_duplicate, int error)
{
	if (of->act == IS_KILLED) {
		kill(actor->pid, SIGKILL);
		await_end(actor->pid);
		return;
	}
	peer_say(actor, (on_duplicate ? ACT_ON_DUPLICATE : ACT) + (int)of->act);
	if (of->act == ENDS)
		await_end(actor->pid);
	else if (of->act == EXECS)
		await_exec(actor);
	else
		check_error(of, "the actor's", peer_hear(actor), error);
}

/* Returns what was seen. */
static char run_case(const struct trial *of)
{
	struct party party = {.of = of};
	struct peer sharer = {0};
	int sockets[2], error;
	char expected = expected_of(of, &error);

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, party.passing), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets), 0);
	party.sharer_of_test = sockets[0];
	party.sharer = sockets[1];
	struct peer opener = peer_start(opener_main, &party);
	bool is_stranger = of->share == PASSED || of->share == REOPENED;
	check_error(of, "the opener's", peer_hear(&opener), 0);
	if (is_stranger)
		sharer = peer_start(stranger_main, &party);
	peer_say(&opener, SHARE);
	pid_t child = peer_hear(&opener);
	if (is_stranger)
		check_error(of, "the sharer's", peer_hear(&sharer), 0);
	else
		sharer = (struct peer){.pid = child, .fd = sockets[0]};
	close(sockets[1]);
	close(party.passing[0]);
	close(party.passing[1]);

	bool on_duplicate = of->actor == SHARER && of->share == DUPLICATE;
	do_act(of, of->actor == OPENER || on_duplicate ? &opener : &sharer, on_duplicate, error);
	char seen = look(of->place);
	check_seen(of, "afterwards", seen, expected);

	/* Orphans are this process's, see main(). */
	if (sharer.pid > 0) {
		kill(sharer.pid, SIGKILL);
		await_end(sharer.pid);
	}
	kill(opener.pid, SIGKILL);
	await_end(opener.pid);
	(void)waitpid(opener.pid, NULL, 0);
	if (sharer.pid > 0)
		assert_int_equal(waitpid(sharer.pid, NULL, 0), sharer.pid);
	close(opener.fd);
	close(sharer.fd > 0 && is_stranger ? sharer.fd : -1);
	close(sockets[0]);
	check_seen(of, "in the end", look(of->place), 'F');
	return seen;
}

enum { ROWS_MOST = 2 * SHARE_COUNT * ACTOR_COUNT * ACT_COUNT };

struct row {
	enum share share;
	enum actor actor;
	enum act act;
	int mode;
	char seen_on_tmpfs;
};

static struct row rows[ROWS_MOST];
static size_t row_count;

static void fill_rows(void)
{
	static const int modes[] = {LOCK_SH, LOCK_EX};

	for (size_t i = 0; i < ROWS_MOST; i++) {
		struct row row = {
			.act = (enum act)(i % ACT_COUNT),
			.actor = (enum actor)(i / ACT_COUNT % ACTOR_COUNT),
			.share = (enum share)(i / ACT_COUNT / ACTOR_COUNT % SHARE_COUNT),
			.mode = modes[i / ACT_COUNT / ACTOR_COUNT / SHARE_COUNT],
		};
		if (outcomes[row.share][row.actor][row.act] != '-')
			rows[row_count++] = row;
	}
}

static void run_rows(const struct place *place)
{
	size_t run = 0;

	for (size_t i = 0; i < row_count; i++) {
		struct row *row = &rows[i];
		const struct trial of = {place, row->share, row->actor, row->act, row->mode};
		if (place->by_open && row->mode == LOCK_SH)
			continue;
		char seen = run_case(&of);
		if (!place->is_mount)
			row->seen_on_tmpfs = seen;
		else
			check_seen(&of, "unlike on tmpfs", seen, row->seen_on_tmpfs);
		run++;
	}
	assert_true(run >= row_count / 2);
}

static void flock_on_tmpfs(void **state)
{
	struct place place = {.name = "flock on tmpfs"};
	char folder[] = "/dev/shm/relockfs-matrix-XXXXXX";
	struct statfs status;

	assert_non_null(mkdtemp(folder));
	assert_int_equal(statfs(folder, &status), 0);
	assert_int_equal(status.f_type, TMPFS_MAGIC);
	snprintf(place.path, sizeof place.path, "%s/lock", folder);
	run_rows(&place);
	assert_int_equal(unlink(place.path), 0);
	assert_int_equal(rmdir(folder), 0);
}

static void flock_on_the_mount(void **state)
{
	struct place place = {.name = "flock on the mount", .is_mount = true};

	strcpy(place.path, lock_path(*state, "lock"));
	run_rows(&place);
}

static void open_on_the_mount(void **state)
{
	struct place place = {.name = "open on the mount", .is_mount = true, .by_open = true};

	strcpy(place.path, lock_path(*state, "lock"));
	run_rows(&place);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(flock_on_tmpfs),
		cmocka_unit_test_setup_teardown(flock_on_the_mount, fixture_setup,
						fixture_teardown),
		cmocka_unit_test_setup_teardown(open_on_the_mount, fixture_setup, fixture_teardown),
	};

	/* A child of an opener that was killed becomes this process's. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	fill_rows();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
