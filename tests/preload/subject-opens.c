/* Rows 3 to 13: several opens and duplicates of one file, fork, exec, and whose
 * lock it is. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "subject.h"

static int locked_open(void)
{
	int fd = open_file(O_RDWR);

	if (set_lock(fd, F_WRLCK, 0, 10) < 0)
		give_up("no lock to begin with");
	return fd;
}

static void second_open(void)
{
	locked_open();
	say_result(set_lock(open_file(O_RDWR), F_WRLCK, 5, 10));
}

struct waiting_thread {
	pthread_t thread;
	int fd, result;
	_Atomic pid_t tid;
	volatile bool is_done;
};

static void *wait_for_lock(void *argument)
{
	struct waiting_thread *self = argument;

	self->tid = (pid_t)syscall(SYS_gettid);
	self->result = wait_lock(self->fd, F_WRLCK, 0, 10);
	self->is_done = true;
	return NULL;
}

static void second_open_waits(void)
{
	int a = locked_open();
	struct waiting_thread other = {.fd = open_file(O_RDWR)};

	pthread_create(&other.thread, NULL, wait_for_lock, &other);
	while (!other.tid)
		sched_yield();
	say(await_block(other.tid, &other.is_done) ? "waits" : "granted");
	set_lock(a, F_UNLCK, 0, 10);
	pthread_join(other.thread, NULL);
	say_result(other.result);
}

static void close_another_open(void)
{
	int a = locked_open();

	close(open_file(O_RDONLY));
	say(outside_view(0, 10));
	close(a);
	say(outside_view(0, 10));
}

static void close_last_duplicate(void)
{
	int a = locked_open(), b = open_file(O_RDWR);

	close(a);
	say(outside_view(0, 10));
	close(b);
}

static void close_while_mapped(void)
{
	int a = open_file(O_RDWR);

	ftruncate(a, 4096);
	set_lock(a, F_WRLCK, 0, 10);
	void *mapping = mmap(NULL, 4096, PROT_READ, MAP_SHARED, a, 0);
	close(a);
	say(outside_view(0, 10));
	munmap(mapping, 4096);
	say(outside_view(0, 10));
}

static void do_nothing(void *argument)
{
	(void)argument;
	pause();
}

static void close_while_inherited(void)
{
	int a = locked_open();
	pid_t child = start_child(do_nothing, NULL);

	close(a);
	say(outside_view(0, 10));
	end_child(child);
	say(outside_view(0, 10));
}

static void close_one_duplicate(void)
{
	int a = locked_open(), b = dup(a);

	close(b);
	say(outside_view(0, 10));
	close(a);
	say(outside_view(0, 10));
}

static void unlock_through_another(void)
{
	int a = locked_open();

	say_result(set_lock(open_file(O_RDWR), F_UNLCK, 0, 10));
	say(outside_view(0, 10));
	close(a);
}

static void change_through_another(void)
{
	int a = open_file(O_RDWR), b = open_file(O_RDWR);

	set_lock(a, F_RDLCK, 0, 10);
	say_result(set_lock(b, F_WRLCK, 0, 5));
	say_map();
	set_lock(a, F_WRLCK, 0, 10);
	say_result(set_lock(b, F_RDLCK, 0, 5));
	say_map();
}

/* What the child does, the parent says. */
static void forward(void (*function)(void *argument), void *argument)
{
	pid_t child = start_child(function, argument);

	waitpid(child, NULL, 0);
}

static void try_inherited(void *argument)
{
	int fd = *(int *)argument;
	struct flock lock = {.l_type = F_WRLCK, .l_len = 10};

	if (!entry_is_lockf()) {
		record_lock(fd, F_GETLK, &lock);
		say(lock.l_type == F_UNLCK    ? "free"
		    : lock.l_pid == getppid() ? "parent's"
					      : "somebody's");
	}
	say_result(set_lock(fd, F_WRLCK, 0, 10));
	say_result(set_lock(open_file(O_RDWR), F_WRLCK, 0, 10));
}

static void fork_child(void)
{
	int fd = locked_open();

	forward(try_inherited, &fd);
	say(outside_view(0, 10));
}

static void unlock_inherited(void *argument)
{
	set_lock(*(int *)argument, F_UNLCK, 0, 10);
}

static void fork_child_unlocks(void)
{
	int fd = locked_open();

	forward(unlock_inherited, &fd);
	say(outside_view(0, 10));
}

/* A process that locks, leaves a child behind, and ends.  Not before that runs:
 * what a forked child has to do with its copy of the lock, it does then. */
struct family {
	int grandchild[2], running[2];
	bool is_killed;
};

static void lock_and_leave_a_child(void *argument)
{
	struct family *family = argument;

	locked_open();
	pid_t child = fork();
	if (child == 0) {
		signal_pipe(family->running[1]);
		do_nothing(NULL);
	}
	await_pipe(family->running[0]);
	if (write(family->grandchild[1], &child, sizeof child) != sizeof child)
		give_up("pipe");
	if (family->is_killed)
		kill(getpid(), SIGKILL);
}

static void say_after_end(bool is_killed)
{
	struct family family = {.is_killed = is_killed};
	pid_t grandchild = 0;

	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (pipe(family.grandchild) < 0 || pipe(family.running) < 0)
		give_up("pipe");
	pid_t child = start_child(lock_and_leave_a_child, &family);
	if (read(family.grandchild[0], &grandchild, sizeof grandchild) != sizeof grandchild)
		give_up("no grandchild");
	waitpid(child, NULL, 0);
	say(outside_view(0, 10));
	kill(grandchild, SIGKILL);
	/* An orphan, and ours, as we are its subreaper. */
	waitpid(grandchild, NULL, 0);
	say(outside_view(0, 10));
}

static void holder_exits(void)
{
	say_after_end(false);
}

static void holder_is_killed(void)
{
	say_after_end(true);
}

static void exec_self(const char *next)
{
	execl("/proc/self/exe", "subject", next, subject_file, subject_entry, (char *)NULL);
	give_up("exec");
}

static void exec_keeping(void)
{
	locked_open();
	exec_self("after_exec");
}

static void exec_closing(void)
{
	fcntl(locked_open(), F_SETFD, FD_CLOEXEC);
	exec_self("after_exec");
}

static void after_exec(void)
{
	say(outside_view(0, 10));
}

static void say_holder(int fd, pid_t child)
{
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_END, .l_pid = 4711};

	record_lock(fd, F_GETLK, &lock);
	if (lock.l_type == F_UNLCK) {
		say(lock.l_pid == 4711 && lock.l_whence == SEEK_END ? "free" : "free-but-changed");
		return;
	}
	say(lock.l_type == F_WRLCK && lock.l_whence == SEEK_SET ? "write" : "?");
	say_number(lock.l_start);
	say_number(lock.l_len);
	say(lock.l_pid == child ? "child" : lock.l_pid == getpid() ? "self" : "somebody");
}

static void others_pid(void)
{
	int fd = open_file(O_RDWR);
	struct holder holder = start_holder(F_WRLCK, 20, 30);

	say_holder(fd, holder.pid);
	release_holder(&holder);
	holder = start_holder(F_WRLCK, 20, 0);
	say_holder(fd, holder.pid);
	release_holder(&holder);
	say_holder(fd, holder.pid);
}

static void others_lock(void)
{
	int fd = open_file(O_RDWR);
	struct holder holder = start_holder(F_WRLCK, 20, 30);

	say_result(position_lock(fd, F_TEST, 100));
	release_holder(&holder);
	say_result(position_lock(fd, F_TEST, 100));
}

static void own_pid(void)
{
	int a = locked_open(), b = open_file(O_RDWR);

	say_holder(a, 0);
	say_holder(b, 0);
}

static void own_lock(void)
{
	int a = locked_open(), b = open_file(O_RDWR);

	lseek(a, 0, SEEK_SET);
	say_result(position_lock(a, F_TEST, 10));
	say_result(position_lock(b, F_TEST, 10));
}

const struct subject_case subject_opens[] = {
	{"second_open", second_open},
	{"second_open_waits", second_open_waits},
	{"close_another_open", close_another_open},
	{"close_last_duplicate", close_last_duplicate},
	{"close_while_mapped", close_while_mapped},
	{"close_while_inherited", close_while_inherited},
	{"close_one_duplicate", close_one_duplicate},
	{"unlock_through_another", unlock_through_another},
	{"change_through_another", change_through_another},
	{"fork_child", fork_child},
	{"fork_child_locks", fork_child},
	{"fork_child_unlocks", fork_child_unlocks},
	{"holder_exits", holder_exits},
	{"holder_is_killed", holder_is_killed},
	{"exec_keeping", exec_keeping},
	{"exec_closing", exec_closing},
	{"after_exec", after_exec},
	{"others_pid", others_pid},
	{"others_lock", others_lock},
	{"own_pid", own_pid},
	{"own_lock", own_lock},
	{0},
};
