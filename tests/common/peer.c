#include "peer.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

static bool is_peer;

/* A peer has no test framework around it: it ends, and the test sees that. */
static void give_up(const char *what)
{
	if (is_peer)
		_exit(99);
	fail_msg("%s", what);
}

/* cmocka would go on with the next test in the child: a failure there has to
 * end the child instead. */
static void leave_framework(void)
{
	static const int caught[] = {SIGFPE, SIGILL, SIGSEGV, SIGBUS, SIGSYS};

	setenv("CMOCKA_TEST_ABORT", "1", 1);
	for (size_t i = 0; i < sizeof caught / sizeof *caught; i++)
		signal(caught[i], SIG_DFL);
}

struct peer peer_start(peer_main *main, void *arg)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		give_up("socketpair failed");
	pid_t parent = getpid();
	pid_t pid = fork();
	if (pid < 0)
		give_up("fork failed");
	if (pid == 0) {
		is_peer = true;
		/* A test that crashes takes its peers with it. */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(99);
		close(pair[0]);
		leave_framework();
		struct peer self = {.pid = getpid(), .fd = pair[1]};
		_exit(main(&self, arg));
	}
	close(pair[1]);
	return (struct peer){.pid = pid, .fd = pair[0]};
}

void peer_say(struct peer *peer, int value)
{
	if (send(peer->fd, &value, sizeof value, MSG_NOSIGNAL) != sizeof value)
		give_up("the other side is gone");
}

int peer_hear(struct peer *peer)
{
	struct pollfd poll_fd = {.fd = peer->fd, .events = POLLIN};
	int value = 0, ready;

	do
		ready = poll(&poll_fd, 1, PATIENCE_MS);
	while (ready < 0 && errno == EINTR);
	if (ready <= 0 || recv(peer->fd, &value, sizeof value, 0) != sizeof value)
		give_up(ready > 0 ? "the other side is gone" : "the other side stays silent");
	return value;
}

bool peer_is_silent(struct peer *peer)
{
	struct pollfd poll_fd = {.fd = peer->fd, .events = POLLIN};

	return poll(&poll_fd, 1, 0) == 0;
}

int peer_reap(struct peer *peer)
{
	int status = 0;

	while (waitpid(peer->pid, &status, 0) < 0)
		if (errno != EINTR)
			give_up("waitpid failed");
	close(peer->fd);
	peer->pid = -1;
	peer->fd = -1;
	return status;
}

void peer_kill(struct peer *peer)
{
	kill(peer->pid, SIGKILL);
	peer_reap(peer);
}

static size_t read_task_file(pid_t pid, const char *task, const char *file, char *text, size_t size)
{
	char path[80];

	snprintf(path, sizeof path, "/proc/%d/task/%.20s/%s", (int)pid, task, file);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, size - 1);
	if (fd >= 0)
		close(fd);
	text[length < 0 ? 0 : length] = '\0';
	return length < 0 ? 0 : (size_t)length;
}

static bool sleeps_in(pid_t pid, const char *task, long number)
{
	char line[32];

	return read_task_file(pid, task, "syscall", line, sizeof line) > 0 && line[0] >= '0' &&
	       line[0] <= '9' && atol(line) == number;
}

/* Every lock call takes its turn at a lock of the kernel's own (percpu_rwsem),
 * and sleeps for a moment while somebody reads /proc/locks. */
static bool waits_its_turn(pid_t pid, const char *task)
{
	char name[64];

	read_task_file(pid, task, "wchan", name, sizeof name);
	return strstr(name, "percpu") != NULL;
}

static bool task_is_in(pid_t pid, const char *task, long number)
{
	/* Twice, in case it got its turn in between. */
	return sleeps_in(pid, task, number) && !waits_its_turn(pid, task) &&
	       sleeps_in(pid, task, number);
}

static bool any_task_is_in(pid_t pid, long number)
{
	char path[32];
	bool found = false;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);
	if (!tasks)
		return false;
	for (struct dirent *entry; !found && (entry = readdir(tasks));)
		if (entry->d_name[0] != '.')
			found = task_is_in(pid, entry->d_name, number);
	closedir(tasks);
	return found;
}

bool task_is_blocked(pid_t pid, pid_t tid, long number)
{
	char task[16];

	if (tid == 0)
		return any_task_is_in(pid, number);
	snprintf(task, sizeof task, "%d", (int)tid);
	return task_is_in(pid, task, number);
}

static void await(pid_t pid, pid_t tid, long number)
{
	struct timespec start, now;

	clock_gettime(CLOCK_MONOTONIC, &start);
	while (!task_is_blocked(pid, tid, number)) {
		sched_yield();
		clock_gettime(CLOCK_MONOTONIC, &now);
		if ((now.tv_sec - start.tv_sec) * 1000 > PATIENCE_MS)
			give_up("the process never blocked");
	}
}

void wait_until_blocked(pid_t pid, long number)
{
	await(pid, 0, number);
}

void wait_until_task_blocked(pid_t pid, pid_t tid, long number)
{
	await(pid, tid, number);
}
