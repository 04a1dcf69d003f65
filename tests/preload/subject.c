/* What the cases have in common; see subject.h. */
#include "subject.h"

#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

/* By their symbols: <fcntl.h> would make one of each two. */
extern int plain_fcntl(int fd, int command, ...) __asm__("fcntl");
extern int wide_fcntl(int fd, int command, ...) __asm__("fcntl64");
extern int plain_lockf(int fd, int command, off_t length) __asm__("lockf");
extern int wide_lockf(int fd, int command, off_t length) __asm__("lockf64");

const char *subject_file;
const char *subject_entry;
const char *subject_argument;

void give_up(const char *what)
{
	fprintf(stderr, "subject: %s: %s\n", what, strerror(errno));
	exit(99);
}

void say(const char *word)
{
	printf("%s ", word);
	fflush(stdout);
}

void say_number(long long number)
{
	char word[24];

	snprintf(word, sizeof word, "%lld", number);
	say(word);
}

const char *result_word(int result)
{
	if (result != -1)
		return "ok";
	return strerrorname_np(errno);
}

void say_result(int result)
{
	say(result_word(result));
}

int record_lock(int fd, int command, struct flock *lock)
{
	if (strcmp(subject_entry, "fcntl") == 0)
		return plain_fcntl(fd, command, lock);
	if (strcmp(subject_entry, "fcntl64") == 0)
		return wide_fcntl(fd, command, lock);
	if (strcmp(subject_entry, "syscall") == 0)
		return (int)syscall(SYS_fcntl, fd, command, lock);
	give_up("a case that makes no sense for lockf");
}

bool entry_is_lockf(void)
{
	return strncmp(subject_entry, "lockf", 5) == 0;
}

static int lockf_at(int fd, int command, off_t start, off_t length)
{
	if (lseek(fd, start, SEEK_SET) != start)
		return -1;
	return position_lock(fd, command, length);
}

int set_lock(int fd, short type, off_t start, off_t length)
{
	struct flock lock = {.l_type = type, .l_start = start, .l_len = length};

	if (entry_is_lockf())
		return lockf_at(fd, type == F_UNLCK ? F_ULOCK : F_TLOCK, start, length);
	return record_lock(fd, F_SETLK, &lock);
}

int wait_lock(int fd, short type, off_t start, off_t length)
{
	struct flock lock = {.l_type = type, .l_start = start, .l_len = length};

	if (entry_is_lockf())
		return lockf_at(fd, F_LOCK, start, length);
	return record_lock(fd, F_SETLKW, &lock);
}

int position_lock(int fd, int command, off_t length)
{
	return strcmp(subject_entry, "lockf64") == 0 ? wide_lockf(fd, command, length)
						     : plain_lockf(fd, command, length);
}

int open_file(int flags)
{
	int fd = open(subject_file, flags);

	if (fd < 0)
		give_up(subject_file);
	return fd;
}

/* Of one byte or range: F_UNLCK, F_RDLCK or F_WRLCK. */
static short look_from_outside(off_t start, off_t length)
{
	int pipe_fds[2];
	short type;

	if (pipe(pipe_fds) < 0)
		give_up("pipe");
	pid_t pid = fork();
	if (pid == 0) {
		struct flock lock = {.l_type = F_WRLCK, .l_start = start, .l_len = length};
		int fd = open_file(O_RDONLY);
		/* In a sandbox without OFD locks there are only legacy ones. */
		if ((plain_fcntl(fd, F_OFD_GETLK, &lock) < 0 &&
		     plain_fcntl(fd, F_GETLK, &lock) < 0) ||
		    write(pipe_fds[1], &lock.l_type, sizeof lock.l_type) != sizeof lock.l_type)
			_exit(99);
		_exit(0);
	}
	close(pipe_fds[1]);
	if (pid < 0 || read(pipe_fds[0], &type, sizeof type) != sizeof type)
		give_up("no view from outside");
	close(pipe_fds[0]);
	waitpid(pid, NULL, 0);
	return type;
}

const char *outside_view(off_t start, off_t length)
{
	return look_from_outside(start, length) == F_UNLCK ? "free" : "held";
}

void say_map(void)
{
	static const off_t bytes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 1000};
	enum { COUNT = sizeof bytes / sizeof *bytes };
	char map[COUNT + 1] = "";

	for (int i = 0; i < COUNT; i++) {
		short type = look_from_outside(bytes[i], 1);
		map[i] = type == F_UNLCK ? '-' : type == F_RDLCK ? 'r' : 'w';
	}
	say(map);
}

pid_t start_child(void (*function)(void *argument), void *argument)
{
	pid_t parent = getpid(), pid = fork();

	if (pid < 0)
		give_up("fork");
	if (pid > 0)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() == parent)
		function(argument);
	_exit(0);
}

void end_child(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

void signal_pipe(int fd)
{
	if (write(fd, "", 1) != 1)
		give_up("the other side is gone");
}

void await_pipe(int fd)
{
	char byte;
	ssize_t length;

	do
		length = read(fd, &byte, 1);
	while (length < 0 && errno == EINTR);
	if (length != 1)
		give_up("the other side is gone");
}

struct hold {
	short type;
	off_t start, length;
	int ready[2], release[2];
};

static void hold(void *argument)
{
	struct hold *wanted = argument;
	char byte;
	int fd = open_file(O_RDWR);

	if (set_lock(fd, wanted->type, wanted->start, wanted->length) < 0)
		give_up("the holder does not get its lock");
	signal_pipe(wanted->ready[1]);
	close(wanted->release[1]);
	while (read(wanted->release[0], &byte, 1) < 0 && errno == EINTR)
		;
}

struct holder start_holder(short type, off_t start, off_t length)
{
	struct hold wanted = {.type = type, .start = start, .length = length};

	if (pipe2(wanted.ready, O_CLOEXEC) < 0 || pipe2(wanted.release, O_CLOEXEC) < 0)
		give_up("pipe");
	pid_t pid = start_child(hold, &wanted);
	await_pipe(wanted.ready[0]);
	close(wanted.ready[0]);
	close(wanted.ready[1]);
	close(wanted.release[0]);
	return (struct holder){.pid = pid, .release = wanted.release[1]};
}

void release_holder(struct holder *holder)
{
	close(holder->release);
	waitpid(holder->pid, NULL, 0);
}

/* "" of a thread that has ended. */
static const char *read_proc(pid_t tid, const char *name, char text[static 32])
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/%s", (int)tid, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? 0 : read(fd, text, 31);
	if (fd >= 0)
		close(fd);
	text[length > 0 ? length : 0] = '\0';
	return text;
}

static bool is_asleep_in_fcntl(pid_t tid)
{
	char text[32];

	read_proc(tid, "syscall", text);
	return text[0] >= '0' && text[0] <= '9' && atol(text) == SYS_fcntl;
}

/* Every lock call takes a turn at a lock of the kernel's own, and has to wait
 * for it while somebody reads /proc/locks. */
static bool is_in_the_queue(pid_t tid)
{
	char text[32];

	return strstr(read_proc(tid, "wchan", text), "percpu");
}

bool await_block(pid_t tid, volatile const bool *done)
{
	while (!done || !*done) {
		/* Twice, in case it got its turn in between. */
		if (is_asleep_in_fcntl(tid) && !is_in_the_queue(tid) && is_asleep_in_fcntl(tid))
			return true;
		sched_yield();
	}
	return false;
}

int main(int argument_count, char **arguments)
{
	static const struct subject_case *const groups[] = {
		subject_calls,  subject_opens,   subject_waits,   subject_holders,
		subject_safety, subject_closers, subject_numbers, subject_fork,
		subject_exec,   subject_signals, subject_threads, subject_places};

	if (argument_count < 4) {
		fprintf(stderr, "usage: subject CASE FILE ENTRY [ARGUMENT]\n");
		return 99;
	}
	subject_file = arguments[2];
	subject_entry = arguments[3];
	subject_argument = argument_count > 4 ? arguments[4] : "";
	/* The bound of it all; the test notices. */
	alarm(20);
	for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
		for (const struct subject_case *each = groups[i]; each->name; each++)
			if (strcmp(each->name, arguments[1]) == 0) {
				each->run();
				return 0;
			}
	fprintf(stderr, "subject: no case %s\n", arguments[1]);
	return 99;
}
