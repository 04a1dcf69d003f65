/*
 * Holders as they are: which process has a lock, and, once its opener does not
 * have it any more, who does.
 */
#include "fixture.h"
#include "pass-fd.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

enum { TO_HOLD = O_WRONLY | O_CREAT };

static void assert_no_key(const char *text, const char *key)
{
	char *value = value_of(text, key);

	if (value)
		fail_msg("%s: %s in:\n%s", key, value, text);
}

/* "4711 (heir)" is the only one that has it open. */
static void assert_open_by(const char *text, pid_t pid, const char *command)
{
	char expected[64];

	snprintf(expected, sizeof expected, "%d (%s)", (int)pid, command);
	assert_value(text, "open-by", expected);
}

static void assert_process(const char *text, const char *format, pid_t pid)
{
	char expected[128];

	snprintf(expected, sizeof expected, format, (int)pid);
	assert_value(text, "process", expected);
	assert_no_key(text, "pid");
	assert_no_key(text, "started");
}

static const char has_ended[] = "pid %d, which has ended; its descriptor is still open",
		  has_handed_on[] = "pid %d, which has handed its descriptor on";

/* Opens as told, and leaves the descriptor to a child called "heir", which says
 * that it is there, and has the peer's socket from then on. */
struct legacy {
	char path[PATH_MAX];
	int flags;
	int operation; /* of flock(2); 0: none */
	bool opener_ends;
};

static int opener_main(struct peer *self, void *argument)
{
	const struct legacy *legacy = argument;
	int fd = open(legacy->path, legacy->flags | O_CLOEXEC, 0666), close_it[2];

	if (fd < 0 || (legacy->operation && flock(fd, legacy->operation) < 0) ||
	    pipe2(close_it, O_CLOEXEC) < 0)
		return 1;
	pid_t child = fork();
	if (child == 0) {
		prctl(PR_SET_NAME, "heir");
		char byte;
		close(close_it[1]);
		/* The opener has closed its own. */
		(void)!read(close_it[0], &byte, 1);
		peer_say(self, getpid());
		(void)peer_hear(self);
		_exit(0);
	}
	close(fd);
	close(close_it[1]);
	if (!legacy->opener_ends)
		(void)waitpid(child, NULL, 0);
	return 0;
}

static struct peer start_legacy(struct legacy *legacy, const struct fixture *fixture, int flags)
{
	strcpy(legacy->path, lock_path(fixture, "backup"));
	legacy->flags = flags;
	return peer_start(opener_main, legacy);
}

/* Ended, and not reaped yet: a zombie has no files. */
static void await_end(pid_t pid)
{
	siginfo_t info;

	assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

static void row06_an_heir_is_named_when_the_opener_has_ended(void **state)
{
	const struct fixture *fixture = *state;
	struct legacy legacy = {.opener_ends = true};
	struct peer peer = start_legacy(&legacy, fixture, TO_HOLD);

	pid_t heir = peer_hear(&peer);
	await_end(peer.pid);
	char *text = read_lock(fixture, "backup");
	assert_process(text, has_ended, peer.pid);
	assert_open_by(text, heir, "heir");
	assert_value(text, "user", "root");
	free(text);
	assert_int_equal(try_open(fixture, "backup", TO_HOLD | O_NONBLOCK), EAGAIN);
	pid_t opener = peer.pid;
	peer_say(&peer, 0);
	assert_int_equal(waitpid(opener, NULL, 0), opener);
	close(peer.fd);
	await_state(fixture, "backup", false);
}

static void row06_an_heir_is_named_when_the_opener_has_closed_it(void **state)
{
	const struct fixture *fixture = *state;
	struct legacy legacy = {.opener_ends = false};
	struct peer peer = start_legacy(&legacy, fixture, O_RDWR | O_CREAT);

	pid_t heir = peer_hear(&peer);
	char *text = read_lock(fixture, "backup");
	assert_process(text, has_handed_on, peer.pid);
	assert_open_by(text, heir, "heir");
	free(text);
	peer_say(&peer, 0);
	assert_int_equal(peer_reap(&peer), 0);
	await_state(fixture, "backup", false);
}

/* Who only looks has the same file open, and reads like a holder by flock. */
static void row06_who_looks_is_no_heir(void **state)
{
	const struct fixture *fixture = *state;
	struct legacy legacy = {.opener_ends = false, .operation = LOCK_EX};
	struct peer peer = start_legacy(&legacy, fixture, O_RDONLY | O_CREAT);
	struct opener looker, writer;

	pid_t heir = peer_hear(&peer);
	opener_start(&looker, fixture, "backup", O_RDONLY);
	assert_int_equal(peer_hear(&looker.peer), 0);
	/* A flock(2) that waits has the file open, too. */
	opener_start(&writer, fixture, "backup", O_RDONLY);
	assert_int_equal(peer_hear(&writer.peer), 0);
	peer_say(&writer.peer, FLOCK_BASE + LOCK_EX);
	await_waiters(fixture, "backup", 1);
	int look = open_lock(fixture, "backup", O_RDONLY);
	int duplicate = dup(look);
	char *text = read_lock(fixture, "backup");
	assert_process(text, has_handed_on, peer.pid);
	assert_open_by(text, heir, "heir");
	free(text);
	close(duplicate);
	close(look);
	opener_close(&looker);
	peer_say(&peer, 0);
	assert_int_equal(peer_reap(&peer), 0);
	assert_int_equal(peer_hear(&writer.peer), 0);
	opener_close(&writer);
}

/* The heir of one shared hold, beside another whose holder lives. */
static void row06_a_living_shared_holder_is_no_heir(void **state)
{
	const struct fixture *fixture = *state;
	struct legacy legacy = {.opener_ends = false, .operation = LOCK_SH};
	struct opener other;
	char pid[16];

	opener_start(&other, fixture, "backup", O_RDONLY | O_CREAT);
	assert_int_equal(peer_hear(&other.peer), 0);
	assert_int_equal(opener_ask(&other, FLOCK_BASE + LOCK_SH), 0);
	struct peer peer = start_legacy(&legacy, fixture, O_RDONLY | O_CREAT);
	pid_t heir = peer_hear(&peer);
	char *text = read_lock(fixture, "backup");
	snprintf(pid, sizeof pid, "%d", (int)other.peer.pid);
	assert_value(text, "pid", pid);
	assert_open_by(text, heir, "heir");
	free(text);
	peer_say(&peer, 0);
	assert_int_equal(peer_reap(&peer), 0);
	text = read_lock(fixture, "backup");
	assert_no_key(text, "open-by");
	free(text);
	opener_close(&other);
}

struct parcel {
	char path[PATH_MAX];
	int sockets[2];
};

static int giver_main(struct peer *self, void *argument)
{
	const struct parcel *parcel = argument;
	int fd = open(parcel->path, TO_HOLD | O_CLOEXEC, 0666);

	pass_fd(parcel->sockets[0], fd);
	return fd < 0;
}

static int taker_main(struct peer *self, void *argument)
{
	const struct parcel *parcel = argument;

	prctl(PR_SET_NAME, "taker (a b)");
	/* Not before it is told to. */
	(void)peer_hear(self);
	peer_say(self, receive_fd(parcel->sockets[1]) < 0 ? EBADMSG : 0);
	(void)peer_hear(self);
	return 0;
}

static void row06_a_descriptor_passed_to_an_unrelated_process(void **state)
{
	const struct fixture *fixture = *state;
	struct parcel parcel;

	strcpy(parcel.path, lock_path(fixture, "backup"));
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, parcel.sockets), 0);
	struct peer taker = peer_start(taker_main, &parcel);
	struct peer giver = peer_start(giver_main, &parcel);
	await_end(giver.pid);
	/* On its way it is open, and nobody has it. */
	char *text = read_lock(fixture, "backup");
	assert_process(text, has_ended, giver.pid);
	assert_value(text, "open-by", "nobody in sight");
	free(text);
	peer_say(&taker, 0);
	assert_int_equal(peer_hear(&taker), 0);
	text = read_lock(fixture, "backup");
	assert_process(text, has_ended, giver.pid);
	assert_open_by(text, taker.pid, "taker (a b)");
	free(text);
	assert_int_equal(peer_reap(&giver), 0);
	peer_say(&taker, 0);
	assert_int_equal(peer_reap(&taker), 0);
	close(parcel.sockets[0]);
	close(parcel.sockets[1]);
	await_state(fixture, "backup", false);
}

/* The opener gets it back: it holds again. */
static void row06_a_descriptor_that_comes_back(void **state)
{
	const struct fixture *fixture = *state;
	char pid[16];
	int sockets[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), 0);
	int fd = open_lock(fixture, "backup", TO_HOLD);
	pass_fd(sockets[0], fd);
	close(fd);
	char *text = read_lock(fixture, "backup");
	assert_process(text, has_handed_on, getpid());
	free(text);
	int back = receive_fd(sockets[1]);
	assert_true(back >= 0);
	text = read_lock(fixture, "backup");
	snprintf(pid, sizeof pid, "%d", (int)getpid());
	assert_value(text, "pid", pid);
	assert_no_key(text, "process");
	free(text);
	close(back);
	close(sockets[0]);
	close(sockets[1]);
}

static void row12_heirs_in_the_extended_attributes(void **state)
{
	const struct fixture *fixture = *state;
	struct legacy legacy = {.opener_ends = false};
	struct peer peer = start_legacy(&legacy, fixture, TO_HOLD);
	char expected[64], value[64] = "";

	pid_t heir = peer_hear(&peer);
	const char *path = lock_path(fixture, "backup");
	assert_int_equal(getxattr(path, "user.relock.pid", value, sizeof value), -1);
	assert_int_equal(errno, ENODATA);
	snprintf(expected, sizeof expected, "%d (heir)", (int)heir);
	assert_int_equal(getxattr(path, "user.relock.open-by", value, sizeof value),
			 strlen(expected));
	assert_memory_equal(value, expected, strlen(expected));
	peer_say(&peer, 0);
	assert_int_equal(peer_reap(&peer), 0);
}

/* The size is that of the text, and the text names the heir. */
static void row10_size_with_an_heir(void **state)
{
	const struct fixture *fixture = *state;
	struct legacy legacy = {.opener_ends = true};
	struct peer peer = start_legacy(&legacy, fixture, TO_HOLD);
	struct stat status;

	(void)peer_hear(&peer);
	await_end(peer.pid);
	assert_int_equal(stat(lock_path(fixture, "backup"), &status), 0);
	char *text = read_lock(fixture, "backup");
	/* "held-for" grows by a digit now and then. */
	assert_in_range(status.st_size, strlen(text) - 2, strlen(text));
	free(text);
	pid_t opener = peer.pid;
	peer_say(&peer, 0);
	assert_int_equal(waitpid(opener, NULL, 0), opener);
	close(peer.fd);
	await_state(fixture, "backup", false);
}

/* The first thread ends, as with pthread_exit() in main, and another holds. */
struct threads {
	char path[PATH_MAX];
	struct peer *self;
};

/* Not by pthread_join(), which ThreadSanitizer does not know for a first thread. */
static void await_end_of_first_thread(void)
{
	char path[64], text[256];
	bool is_zombie = false;

	snprintf(path, sizeof path, "/proc/self/task/%d/status", (int)getpid());
	while (!is_zombie) {
		FILE *status = fopen(path, "re");
		size_t length = status ? fread(text, 1, sizeof text - 1, status) : 0;
		if (status)
			fclose(status);
		text[length] = '\0';
		is_zombie = strstr(text, "\nState:\tZ");
		sched_yield();
	}
}

static void *second_thread(void *argument)
{
	struct threads *threads = argument;

	await_end_of_first_thread();
	int fd = open(threads->path, TO_HOLD | O_CLOEXEC, 0666);
	peer_say(threads->self, fd < 0 ? errno : 0);
	(void)peer_hear(threads->self);
	_exit(0);
}

static int first_thread_ends_main(struct peer *self, void *argument)
{
	static struct threads threads;
	static struct peer copy;
	pthread_t second;

	copy = *self;
	strcpy(threads.path, argument);
	threads.self = &copy;
	if (pthread_create(&second, NULL, second_thread, &threads) != 0)
		return 1;
	pthread_exit(NULL);
}

static void fact06_a_process_whose_first_thread_has_ended(void **state)
{
	const struct fixture *fixture = *state;
	char path[PATH_MAX], pid[16];

	strcpy(path, lock_path(fixture, "backup"));
	struct peer peer = peer_start(first_thread_ends_main, path);
	assert_int_equal(peer_hear(&peer), 0);
	char *text = read_lock(fixture, "backup");
	snprintf(pid, sizeof pid, "%d", (int)peer.pid);
	assert_value(text, "pid", pid);
	assert_no_key(text, "process");
	free(text);
	peer_say(&peer, 0);
	assert_int_equal(peer_reap(&peer), 0);
}

/* Field 22 of /proc/PID/stat is in clock ticks since boot. */
static int64_t start_of(pid_t pid)
{
	char path[64], text[1024] = "";
	struct timespec now, boot;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(read(fd, text, sizeof text - 1) > 0);
	close(fd);
	const char *at = strrchr(text, ')');
	for (int field = 2; field < 22; field++)
		at = strchr(at + 1, ' ');
	clock_gettime(CLOCK_REALTIME, &now);
	clock_gettime(CLOCK_BOOTTIME, &boot);
	return now.tv_sec - boot.tv_sec + strtol(at + 1, NULL, 10) / sysconf(_SC_CLK_TCK);
}

static void fact06_pid_start_command_user_and_host(void **state)
{
	const struct fixture *fixture = *state;
	char pid[16], host[256] = "", command[16];
	struct opener holder;
	struct tm started = {0};

	opener_start(&holder, fixture, "backup", TO_HOLD);
	assert_int_equal(peer_hear(&holder.peer), 0);
	char *text = read_lock(fixture, "backup");
	snprintf(pid, sizeof pid, "%d", (int)holder.peer.pid);
	gethostname(host, sizeof host - 1);
	prctl(PR_GET_NAME, command);
	assert_value(text, "pid", pid);
	assert_value(text, "command", command);
	assert_value(text, "user", "root");
	assert_value(text, "host", host);
	char *value = value_of(text, "started");
	assert_non_null(strptime(value, "%Y-%m-%dT%H:%M:%S", &started));
	started.tm_isdst = -1;
	int64_t difference = mktime(&started) - start_of(holder.peer.pid);
	assert_true(difference >= -2 && difference <= 2);
	free(value);
	free(text);
	opener_close(&holder);
}

/*
 * A process in execve(2) that does not come to its end: it closes a descriptor
 * of another mount, whose daemon is stopped before it has ever answered a FLUSH.
 * The kernel (6.18) lets nobody see its start time or its descriptors meanwhile.
 */
struct stuck {
	char path[PATH_MAX], other[PATH_MAX];
	pid_t other_daemon;
	int sign; /* a descriptor that execve closes before those opened later */
};

/* The names in /proc/PID/fd are there for all to see, also then. */
static void await_closed(pid_t pid, int number)
{
	char path[64], name[16];
	bool open = true;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	snprintf(name, sizeof name, "%d", number);
	while (open) {
		DIR *descriptors = opendir(path);
		assert_non_null(descriptors);
		open = false;
		for (struct dirent *entry; (entry = readdir(descriptors));)
			open |= strcmp(entry->d_name, name) == 0;
		closedir(descriptors);
		sched_yield();
	}
}

static int stuck_main(struct peer *self, void *argument)
{
	const struct stuck *stuck = argument;
	/* This one outlives execve. */
	int fd = open(stuck->path, TO_HOLD, 0666);
	int other = open(stuck->other, TO_HOLD | O_CLOEXEC, 0666);

	if (fd < 0 || other < 0)
		return 1;
	peer_say(self, 0);
	(void)peer_hear(self);
	kill(stuck->other_daemon, SIGSTOP);
	execlp("true", "true", (char *)NULL);
	return 1;
}

static int visitor_main(struct peer *self, void *argument)
{
	const struct fixture *fixture = argument;
	struct stat status;

	peer_say(self, stat(lock_path(fixture, "backup"), &status) < 0 ? errno : 0);
	peer_say(self, try_open(fixture, "backup", TO_HOLD | O_NONBLOCK));
	int fd = open(lock_path(fixture, "another"), TO_HOLD | O_CLOEXEC, 0666);
	char *text = read_lock(fixture, "another");
	peer_say(self, fd < 0 || !text ? EIO : 0);
	return 0;
}

static int reader_main(struct peer *self, void *argument)
{
	char *text = read_lock(argument, "backup");

	peer_say(self, text ? 0 : ENOENT);
	return 0;
}

/* Where the kernel lets everybody see everything, they are not blocked. */
static void await_blocked_or_done(struct peer *peer)
{
	while (peer_is_silent(peer) && !task_is_blocked(peer->pid, 0, SYS_pread64))
		sched_yield();
}

static void check_hanging(struct fixture *fixture, bool was_looked_at)
{
	struct stuck stuck;

	fixture_start_second(fixture);
	strcpy(stuck.path, lock_path(fixture, "backup"));
	snprintf(stuck.other, sizeof stuck.other, "%s/other", fixture->second.mountpoint);
	stuck.other_daemon = fixture->second.pid;
	stuck.sign = fcntl(0, F_DUPFD_CLOEXEC, 0);
	struct peer holder = peer_start(stuck_main, &stuck);
	assert_int_equal(peer_hear(&holder), 0);
	for (int i = 0; was_looked_at && i < 5; i++)
		free(read_lock(fixture, "backup"));
	peer_say(&holder, 0);
	await_closed(holder.pid, stuck.sign);
	close(stuck.sign);
	struct peer reader = peer_start(reader_main, fixture);
	await_blocked_or_done(&reader);
	struct peer visitor = peer_start(visitor_main, fixture);
	int error = peer_hear(&visitor);
	if (error == 0)
		assert_int_equal(peer_hear(&visitor), EAGAIN);
	error += peer_hear(&visitor);
	kill(stuck.other_daemon, SIGCONT);
	assert_int_equal(error, 0);
	assert_int_equal(peer_reap(&visitor), 0);
	(void)peer_hear(&reader);
	assert_int_equal(peer_reap(&reader), 0);
	assert_int_equal(peer_reap(&holder), 0);
}

static void fact03_a_holder_that_hangs_in_execve_stops_nobody(void **state)
{
	check_hanging(*state, false);
}

/* Who was looked at again and again is looked at by the session thread itself. */
static void fact03_nor_does_one_that_was_looked_at_before(void **state)
{
	check_hanging(*state, true);
}

#define CASE(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(row06_an_heir_is_named_when_the_opener_has_ended),
		CASE(row06_an_heir_is_named_when_the_opener_has_closed_it),
		CASE(row06_who_looks_is_no_heir),
		CASE(row06_a_living_shared_holder_is_no_heir),
		CASE(row06_a_descriptor_passed_to_an_unrelated_process),
		CASE(row06_a_descriptor_that_comes_back),
		CASE(row12_heirs_in_the_extended_attributes),
		CASE(row10_size_with_an_heir),
		CASE(fact06_a_process_whose_first_thread_has_ended),
		CASE(fact06_pid_start_command_user_and_host),
		CASE(fact03_a_holder_that_hangs_in_execve_stops_nobody),
		CASE(fact03_nor_does_one_that_was_looked_at_before),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
