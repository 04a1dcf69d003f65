/*
 * Rows 8 and 9: each way to make a child.  It owns nothing, takes nothing away
 * from its parent, and keeps nothing alive when that is gone.  The argument
 * names the way.
 */
#include <dlfcn.h>
#include <errno.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "subject.h"

enum { STACK_SIZE = 256 * 1024 };

/* Each returns the child, which runs function(argument) and exits. */
typedef pid_t making(void (*function)(void *argument), void *argument);

static pid_t in_child(pid_t pid, void (*function)(void *argument), void *argument)
{
	if (pid < 0)
		give_up("no child");
	if (pid > 0)
		return pid;
	function(argument);
	_exit(0);
}

static pid_t by_fork(void (*function)(void *argument), void *argument)
{
	return in_child(fork(), function, argument);
}

/* Without the handlers of pthread_atfork(). */
static pid_t by_inner_fork(void (*function)(void *argument), void *argument)
{
	return in_child(_Fork(), function, argument);
}

/* What it is about is that the child shares our memory. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
static pid_t by_vfork(void (*function)(void *argument), void *argument)
{
	pid_t pid = vfork();

	if (pid == 0) {
		function(argument);
		_exit(0);
	}
	return pid;
}
#pragma GCC diagnostic pop

static struct {
	void (*function)(void *argument);
	void *argument;
} cloned;

static int run_cloned(void *nothing)
{
	(void)nothing;
	cloned.function(cloned.argument);
	_exit(0);
}

static pid_t by_clone_with(int flags, void (*function)(void *argument), void *argument)
{
	static _Alignas(16) char stack[STACK_SIZE];

	cloned.function = function;
	cloned.argument = argument;
	pid_t pid = clone(run_cloned, stack + sizeof stack, flags | SIGCHLD, NULL);
	if (pid < 0)
		give_up("clone");
	return pid;
}

static pid_t by_clone(void (*function)(void *argument), void *argument)
{
	return by_clone_with(0, function, argument);
}

static pid_t by_clone_vfork(void (*function)(void *argument), void *argument)
{
	return by_clone_with(CLONE_VM | CLONE_VFORK, function, argument);
}

#ifdef SYS_fork
static pid_t by_fork_syscall(void (*function)(void *argument), void *argument)
{
	return in_child((pid_t)syscall(SYS_fork), function, argument);
}
#endif

static pid_t by_clone_syscall(void (*function)(void *argument), void *argument)
{
	return in_child((pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0), function, argument);
}

static pid_t by_clone3_syscall(void (*function)(void *argument), void *argument)
{
	struct clone_args wanted = {.exit_signal = SIGCHLD};

	return in_child((pid_t)syscall(SYS_clone3, &wanted, sizeof wanted), function, argument);
}

/* By a function of libc's own, whatever stands before libc: nobody sees it. */
static pid_t by_unseen_clone(void (*function)(void *argument), void *argument)
{
	long (*unseen)(long number, ...);
	void *libc = dlopen("libc.so.6", RTLD_NOW | RTLD_NOLOAD);

	*(void **)&unseen = libc ? dlsym(libc, "syscall") : NULL;
	if (!unseen)
		give_up("libc");
	return in_child((pid_t)unseen(SYS_clone, SIGCHLD, 0, 0, 0, 0), function, argument);
}

static making *find_maker(void)
{
	static const struct {
		const char *name;
		making *function;
	} makers[] = {
		{"fork", by_fork},
		{"_Fork", by_inner_fork},
		{"vfork", by_vfork},
		{"clone", by_clone},
		{"CLONE_VFORK", by_clone_vfork},
#ifdef SYS_fork
		{"SYS_fork", by_fork_syscall},
#endif
		{"SYS_clone", by_clone_syscall},
		{"SYS_clone3", by_clone3_syscall},
		{"unseen", by_unseen_clone},
	};

	for (size_t i = 0; i < sizeof makers / sizeof *makers; i++)
		if (strcmp(makers[i].name, subject_argument) == 0)
			return makers[i].function;
	give_up("no such maker of children");
}

static void use_inherited(void *argument)
{
	int fd = *(int *)argument;
	struct flock question = {.l_type = F_WRLCK, .l_len = 10};

	record_lock(fd, F_GETLK, &question);
	say(question.l_type == F_UNLCK ? "free" : question.l_pid == getppid() ? "parent's" : "?");
	say_result(set_lock(fd, F_WRLCK, 0, 10));
	/* a lock of its own, and what is not its own */
	say_result(set_lock(fd, F_WRLCK, 20, 10));
	say_result(set_lock(fd, F_UNLCK, 0, 10));
	close(open_file(O_RDONLY));
	dup2(STDERR_FILENO, fd);
	close(fd);
}

static void child(void)
{
	int fd = open_file(O_RDWR);

	set_lock(fd, F_WRLCK, 0, 10);
	pid_t pid = find_maker()(use_inherited, &fd);
	waitpid(pid, NULL, 0);
	say(outside_view(0, 10));
	say(outside_view(20, 10));
	/* It is still the parent's to change and to lose. */
	say_result(set_lock(fd, F_UNLCK, 0, 5));
	say_map();
	close(fd);
	say_map();
}

static void unlock_and_close(void *argument)
{
	int fd = *(int *)argument;

	set_lock(fd, F_UNLCK, 0, 0);
	close(fd);
	close_range(3, ~0U, 0);
}

/* The parent has the file open twice, and both have locked. */
static void child_of_two_opens(void)
{
	int a = open_file(O_RDWR), b = open_file(O_RDWR);

	set_lock(a, F_WRLCK, 0, 5);
	set_lock(b, F_WRLCK, 5, 5);
	waitpid(find_maker()(unlock_and_close, &a), NULL, 0);
	say_map();
	close(a);
	say_map();
	close(b);
	say_map();
}

static void wait_for_the_end(void *argument)
{
	/* A forked child does with its copy of the lock what it has to as soon
	 * as it runs. */
	if (argument)
		signal_pipe(*(int *)argument);
	alarm(20);
	pause();
}

struct family {
	int grandchild[2];
	pid_t (*make)(void);
};

static pid_t make_idle(void)
{
	int running[2];

	if (pipe2(running, O_CLOEXEC) < 0)
		give_up("pipe");
	pid_t pid = find_maker()(wait_for_the_end, &running[1]);
	await_pipe(running[0]);
	return pid;
}

static void lock_and_leave(void *argument)
{
	struct family *family = argument;
	int fd = open_file(O_RDWR);

	if (set_lock(fd, F_WRLCK, 0, 10) < 0)
		give_up("no lock");
	pid_t pid = family->make();
	if (write(family->grandchild[1], &pid, sizeof pid) != sizeof pid)
		give_up("pipe");
	kill(getpid(), SIGKILL);
}

static void say_after_parent(pid_t (*make)(void))
{
	struct family family = {.make = make};
	pid_t grandchild = 0;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (pipe2(family.grandchild, O_CLOEXEC) < 0)
		give_up("pipe");
	pid_t parent = start_child(lock_and_leave, &family);
	if (read(family.grandchild[0], &grandchild, sizeof grandchild) != sizeof grandchild)
		give_up("no grandchild");
	waitpid(parent, NULL, 0);
	say(outside_view(0, 10));
	end_child(grandchild);
	say(outside_view(0, 10));
}

static void outlived(void)
{
	say_after_parent(make_idle);
}

/* The child goes on with its descriptor. */
static void closed_while_inherited(void)
{
	int fd = open_file(O_RDWR), other = open_file(O_RDWR);

	set_lock(fd, F_WRLCK, 0, 10);
	pid_t pid = make_idle();
	close(other);
	close(fd);
	say(outside_view(0, 10));
	end_child(pid);
	say(outside_view(0, 10));
}

/* Children that become another program */

extern char **environ;

static pid_t spawn(const char *next, const char *number,
		   const posix_spawn_file_actions_t *file_actions, char **environment)
{
	char *arguments[] = {
		"subject",      (char *)next, (char *)subject_file, (char *)subject_entry,
		(char *)number, NULL};
	pid_t pid;

	if (posix_spawn(&pid, "/proc/self/exe", file_actions, NULL, arguments, environment) != 0)
		give_up("posix_spawn");
	return pid;
}

static pid_t spawn_idle(void)
{
	return spawn("idle", NULL, NULL, environ);
}

static pid_t spawn_idle_outside(void)
{
	static char *nothing[] = {NULL};

	return spawn("idle", NULL, NULL, nothing);
}

static void idle(void)
{
	wait_for_the_end(NULL);
}

static void outlived_by_spawned(void)
{
	say_after_parent(spawn_idle);
}

static void outlived_by_unpreloaded(void)
{
	say_after_parent(spawn_idle_outside);
}

static void execute(void *argument)
{
	execl("/proc/self/exe", "subject", "heir", subject_file, subject_entry, (char *)argument,
	      (char *)NULL);
	_exit(99);
}

/* By a shell, with a command line for it. */
static void compose(char command[static 8192], const char *number)
{
	char program[4000] = "";

	if (readlink("/proc/self/exe", program, sizeof program - 1) < 0)
		give_up("/proc/self/exe");
	snprintf(command, 8192, "'%s' heir '%s' %s %s", program, subject_file, subject_entry,
		 number);
}

static void run_heir(const char *number)
{
	char command[8192], line[256];

	compose(command, number);
	if (strcmp(subject_argument, "posix_spawn") == 0) {
		waitpid(spawn("heir", number, NULL, environ), NULL, 0);
	} else if (strcmp(subject_argument, "system") == 0) {
		if (system(command) != 0)
			give_up("system");
	} else if (strcmp(subject_argument, "popen") == 0) {
		FILE *pipe = popen(command, "r");
		if (!pipe || !fgets(line, sizeof line, pipe) || pclose(pipe) != 0)
			give_up("popen");
		fputs(line, stdout);
	} else {
		waitpid(find_maker()(execute, (void *)number), NULL, 0);
	}
}

static void child_that_executes(void)
{
	int fd = open_file(O_RDWR);
	char number[16];

	snprintf(number, sizeof number, "%d", fd);
	set_lock(fd, F_WRLCK, 0, 10);
	run_heir(number);
	say(outside_view(0, 10));
	say_result(set_lock(fd, F_UNLCK, 0, 5));
	say_map();
	close(fd);
	say_map();
}

/* The program that it becomes. */
static void heir(void)
{
	int fd = atoi(subject_argument);
	struct flock question = {.l_type = F_WRLCK, .l_len = 10};

	record_lock(fd, F_GETLK, &question);
	say(question.l_type == F_UNLCK ? "free" : "held");
	say_result(set_lock(fd, F_WRLCK, 0, 10));
	say_result(set_lock(fd, F_WRLCK, 20, 10));
	close(open_file(O_RDONLY));
	close(fd);
	say(outside_view(0, 10));
}

/* What posix_spawn() does to descriptors, it does in the child. */
static void spawn_file_actions(void)
{
	posix_spawn_file_actions_t actions;
	int fd = open_file(O_RDWR), other = open_file(O_RDWR);

	set_lock(fd, F_WRLCK, 0, 10);
	set_lock(other, F_WRLCK, 5, 5);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, fd);
	posix_spawn_file_actions_addclose(&actions, other);
	posix_spawn_file_actions_addclosefrom_np(&actions, 3);
	pid_t pid = spawn("nothing", NULL, &actions, environ);
	posix_spawn_file_actions_destroy(&actions);
	waitpid(pid, NULL, 0);
	say_map();
	close(other);
	say_map();
	close(fd);
	say_map();
}

static void nothing(void)
{
}

/* The one that goes on is a child, and its parent has ended. */
static void daemonized(void)
{
	int fd = open_file(O_RDWR), parent = (int)syscall(SYS_pidfd_open, getpid(), 0);
	struct pollfd ended = {.fd = parent, .events = POLLIN};

	set_lock(fd, F_WRLCK, 0, 10);
	if (daemon(1, 1) < 0 || poll(&ended, 1, -1) != 1)
		give_up("daemon");
	say(outside_view(0, 10));
	say_result(set_lock(fd, F_WRLCK, 0, 10));
	say(outside_view(0, 10));
	say_result(set_lock(fd, F_UNLCK, 0, 5));
	say_map();
	close(fd);
	say_map();
}

static int shared_fd, null_fd;

static void act_in_shared_memory(void)
{
	if (strcmp(subject_argument, "close") == 0)
		close(shared_fd);
	else if (strcmp(subject_argument, "dup2") == 0)
		dup2(null_fd, shared_fd);
	_exit(0);
}

/* A child in its parent's memory that a system call has made: it has a stack of
 * its own, and returns from syscall() to what it finds there (on x86-64). */
static void shares_memory(void)
{
	static _Alignas(16) void (*stack[8192])(void);
	enum { TOP = 8192 - 16 };
	bool shares_files = strcmp(subject_argument, "CLONE_FILES") == 0;

	shared_fd = open_file(O_RDWR);
	null_fd = open("/dev/null", O_RDWR);
	set_lock(shared_fd, F_WRLCK, 0, 10);
	stack[TOP] = act_in_shared_memory;
	long pid = syscall(SYS_clone,
			   CLONE_VM | CLONE_VFORK | SIGCHLD | (shares_files ? CLONE_FILES : 0),
			   &stack[TOP], 0, 0, 0);
	waitpid((pid_t)pid, NULL, 0);
	say(outside_view(0, 10));
	close(shared_fd);
	say(outside_view(0, 10));
}

const struct subject_case subject_fork[] = {
	{"shares_memory", shares_memory},
	{"child", child},
	{"child_of_two_opens", child_of_two_opens},
	{"outlived", outlived},
	{"closed_while_inherited", closed_while_inherited},
	{"outlived_by_spawned", outlived_by_spawned},
	{"outlived_by_unpreloaded", outlived_by_unpreloaded},
	{"idle", idle},
	{"child_that_executes", child_that_executes},
	{"heir", heir},
	{"spawn_file_actions", spawn_file_actions},
	{"nothing", nothing},
	{"daemonized", daemonized},
	{0},
};
