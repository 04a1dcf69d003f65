/* Rows 2, 14 to 16, 21 and 22: what ends a wait, and what stays after it. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "subject.h"

static pid_t own_tid(void)
{
	return (pid_t)syscall(SYS_gettid);
}

/* Driven from outside: holds until its input ends. */
static void hold_lock(void)
{
	char byte;

	say_result(set_lock(open_file(O_RDWR), F_WRLCK, 0, 10));
	while (read(STDIN_FILENO, &byte, 1) > 0)
		;
}

static void try_lock(void)
{
	say_result(set_lock(open_file(O_RDWR), F_WRLCK, 5, 10));
}

static void wait_and_take_lock(void)
{
	say_result(wait_lock(open_file(O_RDWR), F_WRLCK, 5, 10));
}

/* Driven from outside: who is said to hold the lock, to the user of the
 * argument. */
static void ask_holder(void)
{
	struct flock lock = {.l_type = F_WRLCK};

	if (*subject_argument && setuid((uid_t)atoi(subject_argument)) < 0)
		give_up("setuid");

	say_result(record_lock(open_file(O_RDWR), F_GETLK, &lock));
	say_number(lock.l_type == F_UNLCK ? 0 : lock.l_pid);
}

/* A thread that looks at the first one, and does something when that is
 * blocked, unless its call returned at once. */
struct watcher {
	pthread_t thread;
	pid_t watched;
	volatile bool is_done;
	bool was_blocked;
	void (*then)(void *argument);
	void *argument;
};

static void *watch(void *argument)
{
	struct watcher *self = argument;

	self->was_blocked = await_block(self->watched, &self->is_done);
	if (self->was_blocked)
		self->then(self->argument);
	return NULL;
}

static void start_watcher(struct watcher *watcher, void (*then)(void *argument), void *argument)
{
	*watcher = (struct watcher){.watched = own_tid(), .then = then, .argument = argument};
	pthread_create(&watcher->thread, NULL, watch, watcher);
}

static bool end_watcher(struct watcher *watcher)
{
	watcher->is_done = true;
	pthread_join(watcher->thread, NULL);
	return watcher->was_blocked;
}

static void cross(void *argument)
{
	int fd = open_file(O_RDWR);

	set_lock(fd, F_WRLCK, 0, 1);
	signal_pipe(*(int *)argument);
	wait_lock(fd, F_WRLCK, 1, 1);
}

static void kill_child(void *argument)
{
	kill(*(pid_t *)argument, SIGKILL);
}

static void cycle(void)
{
	int fd = open_file(O_RDWR), ready[2];
	struct watcher watcher;

	set_lock(fd, F_WRLCK, 1, 1);
	if (pipe(ready) < 0)
		give_up("pipe");
	pid_t child = start_child(cross, &ready[1]);
	await_pipe(ready[0]);
	await_block(child, NULL);
	start_watcher(&watcher, kill_child, &child);
	int result = wait_lock(fd, F_WRLCK, 0, 1);
	int error = errno;
	say(end_watcher(&watcher) ? "waits" : "returns");
	errno = error;
	say_result(result);
	end_child(child);
}

static int handled[2];
static sigjmp_buf back;

static void note_signal(int signal)
{
	(void)signal;
	signal_pipe(handled[1]);
}

static void jump_out(int signal)
{
	(void)signal;
	siglongjmp(back, 1);
}

static void install(void (*handler)(int), int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

	if (pipe(handled) < 0 || sigaction(SIGUSR1, &action, NULL) < 0)
		give_up("sigaction");
}

static void interrupt(void *argument)
{
	(void)argument;
	syscall(SYS_tgkill, getpid(), getpid(), SIGUSR1);
}

static void interrupted(void)
{
	struct holder holder = start_holder(F_WRLCK, 0, 10);
	struct watcher watcher;

	install(note_signal, 0);
	int fd = open_file(O_RDWR);
	start_watcher(&watcher, interrupt, NULL);
	int result = wait_lock(fd, F_WRLCK, 0, 10);
	int error = errno;
	end_watcher(&watcher);
	await_pipe(handled[0]);
	errno = error;
	say_result(result);
	release_holder(&holder);
	say(outside_view(0, 10));
}

/* After the handler ran, the wait goes on, until the holder is gone. */
static void interrupt_then_release(void *argument)
{
	interrupt(NULL);
	await_pipe(handled[0]);
	await_block(getpid(), NULL);
	say("waits-on");
	release_holder(argument);
}

static void restarted(void)
{
	struct holder holder = start_holder(F_WRLCK, 0, 10);
	struct watcher watcher;

	install(note_signal, SA_RESTART);
	int fd = open_file(O_RDWR);
	start_watcher(&watcher, interrupt_then_release, &holder);
	int result = wait_lock(fd, F_WRLCK, 0, 10);
	int error = errno;
	end_watcher(&watcher);
	errno = error;
	say_result(result);
	say(outside_view(0, 10));
}

static void jumped_out(void)
{
	struct holder holder = start_holder(F_WRLCK, 0, 10);
	struct watcher watcher;
	int fd = open_file(O_RDWR);

	install(jump_out, 0);
	start_watcher(&watcher, interrupt, NULL);
	if (sigsetjmp(back, 1) == 0) {
		wait_lock(fd, F_WRLCK, 0, 10);
		say("returned");
	} else {
		say("jumped");
	}
	end_watcher(&watcher);
	release_holder(&holder);
	say(outside_view(0, 10));
	say_result(wait_lock(fd, F_WRLCK, 0, 10));
}

struct waiter {
	pthread_t thread;
	int fd, result, error;
	_Atomic pid_t tid;
	bool cleaned_up;
	volatile bool is_done;
};

static void clean_up(void *argument)
{
	struct waiter *self = argument;

	self->cleaned_up = true;
}

static void *wait_in_thread(void *argument)
{
	struct waiter *self = argument;

	pthread_cleanup_push(clean_up, self);
	self->tid = own_tid();
	self->result = wait_lock(self->fd, F_WRLCK, 0, 10);
	self->error = errno;
	/* From here on, no cancellation, in case that was none. */
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	self->is_done = true;
	pthread_cleanup_pop(0);
	return self;
}

static void start_waiter(struct waiter *waiter)
{
	*waiter = (struct waiter){.fd = open_file(O_RDWR)};
	pthread_create(&waiter->thread, NULL, wait_in_thread, waiter);
	while (!waiter->tid)
		sched_yield();
	await_block(waiter->tid, &waiter->is_done);
}

static void cancelled(void)
{
	struct holder holder = start_holder(F_WRLCK, 0, 10);
	struct waiter waiter;
	void *end;

	start_waiter(&waiter);
	pthread_cancel(waiter.thread);
	/* syscall(2) is no cancellation point: what ends the wait is the lock. */
	if (strcmp(subject_entry, "syscall") == 0)
		release_holder(&holder);
	pthread_join(waiter.thread, &end);
	say(end == PTHREAD_CANCELED ? "cancelled" : result_word(waiter.result));
	say(waiter.cleaned_up ? "cleaned-up" : "no-clean-up");
	if (strcmp(subject_entry, "syscall") != 0)
		release_holder(&holder);
	say(outside_view(0, 10));
}

static void *act_on_pending(void *argument)
{
	struct waiter *self = argument;

	pthread_cleanup_push(clean_up, self);
	pthread_cancel(pthread_self());
	/* Nothing else here may be a cancellation point, as printf() is. */
	self->result = set_lock(self->fd, F_WRLCK, 0, 10);
	self->is_done = true;
	wait_lock(self->fd, F_WRLCK, 0, 10);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
	pthread_cleanup_pop(0);
	return self;
}

/* F_SETLK does not act on a cancellation that is pending, F_SETLKW does. */
static void cancelled_before(void)
{
	struct waiter waiter = {.fd = open_file(O_RDWR)};
	void *end;

	pthread_create(&waiter.thread, NULL, act_on_pending, &waiter);
	pthread_join(waiter.thread, &end);
	say(waiter.is_done ? result_word(waiter.result) : "cancelled-too-early");
	say(end == PTHREAD_CANCELED ? "cancelled" : "not-cancelled");
}

static void closed_by_another_thread(void)
{
	struct holder holder = start_holder(F_WRLCK, 0, 10);
	struct waiter waiter;

	start_waiter(&waiter);
	close(waiter.fd);
	release_holder(&holder);
	pthread_join(waiter.thread, NULL);
	errno = waiter.error;
	say_result(waiter.result);
	say(outside_view(0, 10));
}

const struct subject_case subject_waits[] = {
	{"hold_lock", hold_lock},
	{"try_lock", try_lock},
	{"wait_and_take_lock", wait_and_take_lock},
	{"ask_holder", ask_holder},
	{"cycle", cycle},
	{"interrupted", interrupted},
	{"restarted", restarted},
	{"jumped_out", jumped_out},
	{"cancelled", cancelled},
	{"cancelled_before", cancelled_before},
	{"closed_by_another_thread", closed_by_another_thread},
	{0},
};
