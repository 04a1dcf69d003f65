/*
 * The player: an actor of a plan, an ordinary program that makes the calls it
 * is told to make.  It knows nothing of the shim and nothing of the plan; the
 * conductor runs it natively and under the shim.
 *
 *	preload-player STAGE ACTOR THREAD
 *
 * Each thread waits for commands at its seat of the stage.  A forked child
 * goes on as the actor that the command names; an exec'd image is told by its
 * arguments who it is, and that THREAD's command is still to be answered.
 *
 * Nobody waits for children: the conductor sees their end by itself, and their
 * exit status as long as they are zombies (differential-witness.h).
 *
 * Nobody waits for ever: a player whose conductor is gone ends.  What it is
 * blocked in, a lock, is held by another player, which ends as well.
 */
#include <errno.h>
#include <linux/close_range.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "differential-stage.h"

/* By their symbols: <fcntl.h> would make one of each two. */
extern int plain_fcntl(int fd, int command, ...) __asm__("fcntl");
extern int wide_fcntl(int fd, int command, ...) __asm__("fcntl64");
extern int plain_lockf(int fd, int command, off_t length) __asm__("lockf");
extern int wide_lockf(int fd, int command, off_t length) __asm__("lockf64");

static struct stage *stage;
static const char *stage_path;
/* Who this process is; moves in a forked child, before it has threads. */
static int actor;

static _Thread_local int thread;
static _Thread_local sigjmp_buf before_wait;
static _Thread_local volatile sig_atomic_t is_waiting;

static struct seat *own_seat(void)
{
	return &stage->actors[actor].seats[thread];
}

static void bring_news(void)
{
	atomic_fetch_add(&stage->news, 1);
	stage_wake(&stage->news);
}

/* Signals */

static void note_signal(int signal)
{
	int before = errno;

	(void)signal;
	atomic_fetch_add(&own_seat()->handled, 1);
	bring_news();
	errno = before;
}

static void jump_out(int signal)
{
	note_signal(signal);
	if (is_waiting)
		siglongjmp(before_wait, 1);
}

static void install(int signal, void (*handler)(int), int flags)
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = flags};

	sigaction(signal, &action, NULL);
}

/* Locks */

static long record_lock(const struct command *command, int fcntl_command, struct flock *lock)
{
	void *argument = command->step.is_bad_pointer ? (void *)8 : lock;

	switch (command->step.entry) {
	case BY_SYSCALL:
		return syscall(SYS_fcntl, command->fd, fcntl_command, argument);
	case BY_FCNTL64:
		return wide_fcntl(command->fd, fcntl_command, argument);
	default:
		return plain_fcntl(command->fd, fcntl_command, argument);
	}
}

static long offset_lock(const struct command *command)
{
	const struct step *step = &command->step;

	if (step->entry == BY_LOCKF64)
		return wide_lockf(command->fd, step->command, step->lock.l_len);
	return plain_lockf(command->fd, step->command, step->lock.l_len);
}

/* Either may wait, and be left by a jump. */
static long lock(const struct command *command, struct answer *answer)
{
	long result;

	if (sigsetjmp(before_wait, 1) != 0) {
		is_waiting = false;
		answer->is_jump = true;
		return -1;
	}
	is_waiting = true;
	switch (command->step.kind) {
	case STEP_SET:
		result = record_lock(command, F_SETLK, &answer->lock);
		break;
	case STEP_WAIT:
		result = record_lock(command, F_SETLKW, &answer->lock);
		break;
	case STEP_GET:
		result = record_lock(command, F_GETLK, &answer->lock);
		break;
	default:
		result = offset_lock(command);
	}
	is_waiting = false;
	return result;
}

/* Descriptors */

static long close_by_stream(int fd)
{
	/* fdopen() wants a mode that fits, fclose() works with any. */
	int flags = plain_fcntl(fd, F_GETFL);
	FILE *stream = fdopen(fd, (flags & O_ACCMODE) == O_RDONLY   ? "r"
				  : (flags & O_ACCMODE) == O_WRONLY ? "w"
								    : "r+");

	return stream ? fclose(stream) : -1;
}

static long close_descriptor(const struct command *command)
{
	unsigned fd = (unsigned)command->fd;

	switch (command->step.entry) {
	case BY_SYSCALL:
		return syscall(SYS_close, command->fd);
	case BY_CLOSE_RANGE:
		return close_range(fd, fd, 0);
	case BY_FCLOSE:
		return close_by_stream(command->fd);
	default:
		return close(command->fd);
	}
}

static long close_several(const struct command *command)
{
	unsigned first = (unsigned)command->fd, last = (unsigned)command->other_fd;

	if (command->step.entry == BY_SYSCALL)
		return syscall(SYS_close_range, first, last, command->step.flags);
	return close_range(first, last, command->step.flags);
}

static long reopen(const struct command *command)
{
	const struct step *step = &command->step;
	bool is_read_only = (step->flags & O_ACCMODE) == O_RDONLY;
	bool is_cloexec = step->flags & O_CLOEXEC;
	int flags = plain_fcntl(command->fd, F_GETFL);

	FILE *stream = fdopen(command->fd, (flags & O_ACCMODE) == O_RDONLY   ? "r"
					   : (flags & O_ACCMODE) == O_WRONLY ? "w"
									     : "r+");
	if (!stream)
		return -1;
	stream = freopen(stage->paths[step->path],
			 is_read_only ? is_cloexec ? "re" : "r"
			 : is_cloexec ? "r+e"
				      : "r+",
			 stream);
	/* The stream is left to itself: fclose() would take the descriptor. */
	return stream ? fileno(stream) : -1;
}

static long duplicate(const struct command *command)
{
	const struct step *step = &command->step;

	switch (step->entry) {
	case BY_SYSCALL:
		return syscall(SYS_dup, command->fd);
	case BY_F_DUPFD:
		return plain_fcntl(command->fd, F_DUPFD, step->number);
	case BY_F_DUPFD_CLOEXEC:
		return wide_fcntl(command->fd, F_DUPFD_CLOEXEC, step->number);
	default:
		return dup(command->fd);
	}
}

static long duplicate_onto(const struct command *command)
{
	const struct step *step = &command->step;

	switch (step->entry) {
	case BY_SYSCALL:
		return syscall(SYS_dup3, command->fd, command->other_fd, step->flags);
	case BY_DUP3:
		return dup3(command->fd, command->other_fd, step->flags);
	default:
		return dup2(command->fd, command->other_fd);
	}
}

static long map(int fd)
{
	int flags = plain_fcntl(fd, F_GETFL);
	int protection = (flags & O_ACCMODE) == O_RDWR ? PROT_READ | PROT_WRITE : PROT_READ;

	/* For as long as the program runs. */
	return mmap(NULL, 1, protection, MAP_SHARED, fd, 0) == MAP_FAILED ? -1 : 0;
}

/* Processes */

static void start_threads(void);

/* Of somebody who cannot begin; the conductor tells why. */
static void __attribute__((noreturn)) give_up(int newcomer, int error)
{
	atomic_store(&stage->actors[newcomer].error, error);
	_exit(99);
}

/* The child has one thread, which sits on the newcomer's first seat. */
static void become(int newcomer)
{
	actor = newcomer;
	thread = 0;
	start_threads();
}

static long fork_actor(const struct command *command)
{
	/* daemon(3) forks inside libc, and the parent ends in there. */
	pid_t pid = command->step.entry == BY_DAEMON ? daemon(1, 1) : fork();
	if (pid == 0)
		become(command->step.newcomer);
	return pid;
}

static int spawn_by_libc(const struct command *command, const struct player_start *start,
			 pid_t *ret)
{
	posix_spawn_file_actions_t actions;

	posix_spawn_file_actions_init(&actions);
	if (command->step.flags & SPAWN_CLOSES)
		posix_spawn_file_actions_addclose(&actions, command->fd);
	int error = posix_spawn(ret, stage->player, &actions, NULL, start->arguments,
				start->environment);
	posix_spawn_file_actions_destroy(&actions);
	return error;
}

static long spawn_actor(const struct command *command)
{
	const struct step *step = &command->step;
	struct player_start start;
	pid_t pid;

	stage_player_start(stage, stage_path, step->newcomer, -1, step->under_shim, &start);
	switch (step->entry) {
	case BY_POSIX_SPAWN:
		errno = spawn_by_libc(command, &start, &pid);
		return errno ? -1 : pid;
	case BY_VFORK:
		pid = vfork();
		break;
	case BY__FORK:
		pid = _Fork();
		break;
	case BY_SYSCALL:
		pid = (pid_t)syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0);
		break;
	default:
		pid = fork();
	}
	if (pid == 0) {
		if (step->flags & SPAWN_CLOSES)
			close(command->fd);
		execve(stage->player, start.arguments, start.environment);
		give_up(step->newcomer, errno);
	}
	return pid;
}

static long exec_actor(const struct command *command)
{
	struct player_start start;

	stage_player_start(stage, stage_path, actor, thread, command->step.under_shim, &start);
	switch (command->step.entry) {
	case BY_EXECV:
		return execv(stage->player, start.arguments);
	case BY_EXECL:
		return execl(stage->player, start.arguments[0], start.arguments[1],
			     start.arguments[2], start.arguments[3], (char *)NULL);
	default:
		return execve(stage->player, start.arguments, start.environment);
	}
}

static void __attribute__((noreturn)) end_actor(const struct command *command)
{
	if (command->step.entry == BY_EXIT)
		exit(0);
	_exit(0);
}

static long play(const struct command *command, struct answer *answer)
{
	const struct step *step = &command->step;

	switch (step->kind) {
	case STEP_OPEN:
		return open(stage->paths[step->path], step->flags);
	case STEP_CLOSE:
		return close_descriptor(command);
	case STEP_FREOPEN:
		return reopen(command);
	case STEP_CLOSE_RANGE:
		return close_several(command);
	case STEP_CLOSEFROM:
		closefrom(command->fd);
		return 0;
	case STEP_DUP:
		return duplicate(command);
	case STEP_DUP_ONTO:
		return duplicate_onto(command);
	case STEP_SET_CLOEXEC:
		return plain_fcntl(command->fd, F_SETFD, step->flags);
	case STEP_SEEK:
		return lseek(command->fd, step->lock.l_start, SEEK_SET);
	case STEP_MMAP:
		return map(command->fd);
	case STEP_SET:
	case STEP_WAIT:
	case STEP_GET:
	case STEP_LOCKF:
		return lock(command, answer);
	case STEP_FORK:
		return fork_actor(command);
	case STEP_SPAWN:
		return spawn_actor(command);
	case STEP_EXEC:
		return exec_actor(command);
	case STEP_EXIT:
		end_actor(command);
	default:
		errno = ENOSYS;
		return -1;
	}
}

/* Seats */

static void answer_command(const struct answer *answer)
{
	struct seat *seat = own_seat();

	seat->answer = *answer;
	atomic_fetch_add(&seat->turn, 1);
	bring_news();
}

static void obey(void)
{
	struct seat *seat = own_seat();
	int actor_before = actor;
	struct command command = seat->command;
	struct answer answer = {.lock = command.step.lock};

	errno = 0;
	answer.result = play(&command, &answer);
	answer.error = answer.result == -1 ? errno : 0;
	/* A child has been told nothing: the answer is its parent's to give. */
	if (actor == actor_before)
		answer_command(&answer);
}

static void await_turn(void)
{
	struct seat *seat = own_seat();

	for (;;) {
		uint32_t turn = atomic_load(&seat->turn);
		if (turn % 2 == 1)
			return;
		stage_wait(&seat->turn, turn);
		if (kill(stage->conductor, 0) < 0)
			_exit(0);
	}
}

static void take_seat(void)
{
	atomic_store(&own_seat()->tid, (pid_t)syscall(SYS_gettid));
	bring_news();
}

static void __attribute__((noreturn)) obey_for_ever(void)
{
	for (;;) {
		await_turn();
		obey();
	}
}

static void *sit(void *argument)
{
	thread = (int)(intptr_t)argument;
	take_seat();
	obey_for_ever();
}

static void start_threads(void)
{
	pthread_t started;
	int error;

	atomic_store(&stage->actors[actor].pid, getpid());
	for (intptr_t i = 1; i < THREADS; i++)
		if ((error = pthread_create(&started, NULL, sit, (void *)i)) != 0)
			give_up(actor, error);
	take_seat();
}

int main(int argument_count, char **arguments)
{
	if (argument_count != 4 || !(stage = stage_map(arguments[1]))) {
		fputs("preload-player is started by preload-differential\n", stderr);
		return 64;
	}
	stage_path = arguments[1];
	actor = atoi(arguments[2]);
	int answering = atoi(arguments[3]);

	install(SIGUSR1, note_signal, 0);
	install(SIGUSR2, note_signal, SA_RESTART);
	install(SIGALRM, jump_out, 0);

	/* Commands that the threads before execve(2) did not finish. */
	for (int i = 0; i < THREADS; i++) {
		struct seat *seat = &stage->actors[actor].seats[i];
		if (i != answering && atomic_load(&seat->turn) % 2 == 1)
			atomic_fetch_add(&seat->turn, 1);
	}
	/* Before the thread of that seat sees a command there. */
	if (answering >= 0) {
		thread = answering;
		answer_command(&(struct answer){.result = 0});
		thread = 0;
	}
	start_threads();
	obey_for_ever();
}
