/* See differential-cast.h. */
#include "differential-cast.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "peer.h"

enum {
	PATIENCE_MS = 20000,
	/* Whoever is blocked for so long though nothing is in the way stays so. */
	BLOCKED_MS = 1000,
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * INT64_C(1000) + now.tv_nsec / 1000000;
}

static bool make_file(struct cast *cast, int file)
{
	char *first = cast->stage->paths[file], *second = cast->stage->paths[FILES + file];

	snprintf(first, sizeof *cast->stage->paths, "%s/file-%d", cast->folder, file);
	snprintf(second, sizeof *cast->stage->paths, "%s/second-name-%d", cast->folder, file);
	int fd = open(first, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	cast->outsiders[file] = fd;
	/* Anybody may read it: else a process that can only write, and then opens
	 * it for reading as well, is in its own way (relock-preload(7)). */
	return fd >= 0 && fchmod(fd, 0644) == 0 && ftruncate(fd, FILE_SIZE) == 0 &&
	       link(first, second) == 0;
}

static bool make_stage(struct cast *cast)
{
	snprintf(cast->stage_path, sizeof cast->stage_path, "%s/stage", cast->folder);
	int fd = open(cast->stage_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return false;
	int result = ftruncate(fd, sizeof(struct stage));
	close(fd);
	return result == 0 && (cast->stage = stage_map(cast->stage_path));
}

bool cast_make(struct cast *ret, const char *player, const char *shim, const char *semantics)
{
	*ret = (struct cast){.folder = "/tmp/relock-differential-XXXXXX"};
	for (int i = 0; i < ACTORS; i++)
		ret->pidfds[i] = -1;
	bool is_made = mkdtemp(ret->folder) && make_stage(ret);
	for (int i = 0; is_made && i < FILES; i++)
		is_made = make_file(ret, i);
	if (!is_made || prctl(PR_SET_CHILD_SUBREAPER, 1) < 0) {
		fprintf(stderr, "preload-differential: %s: %s\n", ret->folder, strerror(errno));
		return false;
	}
	ret->stage->conductor = getpid();
	snprintf(ret->stage->player, sizeof ret->stage->player, "%s", player);
	snprintf(ret->stage->shim, sizeof ret->stage->shim, "%s", shim);
	snprintf(ret->stage->semantics, sizeof ret->stage->semantics, "%s", semantics);
	return true;
}

void cast_remove(struct cast *cast)
{
	for (int i = 0; i < FILES; i++)
		close(cast->outsiders[i]);
	for (int i = 0; i < PATHS; i++)
		unlink(cast->stage->paths[i]);
	munmap(cast->stage, sizeof *cast->stage);
	unlink(cast->stage_path);
	rmdir(cast->folder);
}

static struct seat *seat_of(const struct cast *cast, int actor, int thread)
{
	return &cast->stage->actors[actor].seats[thread];
}

pid_t cast_pid(const struct cast *cast, int actor)
{
	return atomic_load(&cast->stage->actors[actor].pid);
}

void cast_expect_process(struct cast *cast, int actor)
{
	/* Who sat there before may have died over a command. */
	memset(&cast->stage->actors[actor], 0, sizeof cast->stage->actors[actor]);
}

void cast_expect_image(struct cast *cast, int actor)
{
	for (int i = 0; i < THREADS; i++)
		atomic_store(&seat_of(cast, actor, i)->tid, 0);
}

static bool has_arrived(const struct cast *cast, int actor)
{
	for (int i = 0; i < THREADS; i++)
		if (atomic_load(&seat_of(cast, actor, i)->tid) == 0)
			return false;
	return true;
}

bool cast_await_arrival(struct cast *cast, int actor)
{
	int64_t deadline = now_ms() + PATIENCE_MS;

	for (;;) {
		uint32_t news = atomic_load(&cast->stage->news);
		if (has_arrived(cast, actor))
			break;
		if (now_ms() > deadline)
			return false;
		stage_wait(&cast->stage->news, news);
	}
	if (cast->pidfds[actor] < 0)
		cast->pidfds[actor] = (int)syscall(SYS_pidfd_open, cast_pid(cast, actor), 0);
	return cast->pidfds[actor] >= 0;
}

bool cast_start(struct cast *cast, int actor, bool under_shim)
{
	struct player_start start;
	pid_t pid;

	posix_spawn_file_actions_t actions;

	stage_player_start(cast->stage, cast->stage_path, actor, -1, under_shim, &start);
	cast_expect_process(cast, actor);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addclosefrom_np(&actions, STDERR_FILENO + 1);
	int error = posix_spawn(&pid, cast->stage->player, &actions, NULL, start.arguments,
				start.environment);
	posix_spawn_file_actions_destroy(&actions);
	return error == 0 && cast_await_arrival(cast, actor);
}

static bool has_ended(struct cast *cast, int actor, int timeout_ms)
{
	struct pollfd poll_fd = {.fd = cast->pidfds[actor], .events = POLLIN};

	return poll(&poll_fd, 1, timeout_ms) == 1;
}

bool cast_await_end(struct cast *cast, int actor)
{
	if (!has_ended(cast, actor, PATIENCE_MS))
		return false;
	close(cast->pidfds[actor]);
	cast->pidfds[actor] = -1;
	return true;
}

void cast_kill(struct cast *cast, int actor)
{
	syscall(SYS_pidfd_send_signal, cast->pidfds[actor], SIGKILL, NULL, 0);
}

void cast_tell(struct cast *cast, const struct command *command)
{
	struct seat *seat = seat_of(cast, command->step.actor, command->step.thread);

	seat->command = *command;
	atomic_fetch_add(&seat->turn, 1);
	stage_wake(&seat->turn);
}

static bool has_answered(const struct seat *seat)
{
	return atomic_load(&seat->turn) % 2 == 0;
}

/* One can sleep in fcntl(2) otherwise, too: a descriptor beyond the table's end
 * makes it grow, which takes a while where there are threads. */
static bool waits_for_lock(pid_t pid, pid_t tid)
{
	char path[64];
	unsigned long fd, command = 0;
	long number = -1;

	if (!task_is_blocked(pid, tid, SYS_fcntl))
		return false;
	snprintf(path, sizeof path, "/proc/%d/task/%d/syscall", (int)pid, (int)tid);
	FILE *file = fopen(path, "re");
	if (!file)
		return false;
	int fields = fscanf(file, "%ld %lx %lx", &number, &fd, &command);
	fclose(file);
	return fields == 3 && number == SYS_fcntl &&
	       (command == F_SETLKW || command == F_OFD_SETLKW);
}

enum seat_state cast_look(struct cast *cast, int actor, int thread)
{
	struct seat *seat = seat_of(cast, actor, thread);
	bool is_blocked = waits_for_lock(cast_pid(cast, actor), atomic_load(&seat->tid));

	if (has_answered(seat))
		return SEAT_ANSWERED;
	if (is_blocked)
		return SEAT_BLOCKED;
	return has_ended(cast, actor, 0) ? SEAT_GONE : SEAT_BUSY;
}

enum seat_state cast_await_answer(struct cast *cast, int actor, int thread)
{
	struct seat *seat = seat_of(cast, actor, thread);
	int64_t now = now_ms(), deadline = now + PATIENCE_MS, last_seen_free = now;
	enum seat_state state = SEAT_BUSY;

	for (; now < deadline; now = now_ms()) {
		uint32_t news = atomic_load(&cast->stage->news);
		if (has_answered(seat))
			return SEAT_ANSWERED;
		stage_wait(&cast->stage->news, news);
		if (has_answered(seat))
			return SEAT_ANSWERED;
		state = cast_look(cast, actor, thread);
		if (state == SEAT_GONE)
			return has_answered(seat) ? SEAT_ANSWERED : SEAT_GONE;
		if (state != SEAT_BLOCKED)
			last_seen_free = now;
		else if (now - last_seen_free > BLOCKED_MS)
			return SEAT_BLOCKED;
	}
	return state;
}

enum seat_state cast_await_block(struct cast *cast, int actor, int thread)
{
	int64_t deadline = now_ms() + PATIENCE_MS;
	enum seat_state state;

	while ((state = cast_look(cast, actor, thread)) == SEAT_BUSY && now_ms() < deadline)
		sched_yield();
	return state;
}

bool cast_signal(struct cast *cast, int actor, int thread, int signal)
{
	struct seat *seat = seat_of(cast, actor, thread);
	uint32_t handled = atomic_load(&seat->handled);
	int64_t deadline = now_ms() + PATIENCE_MS;

	if (syscall(SYS_tgkill, cast_pid(cast, actor), atomic_load(&seat->tid), signal) < 0)
		return false;
	for (;;) {
		uint32_t news = atomic_load(&cast->stage->news);
		if (atomic_load(&seat->handled) != handled)
			return true;
		if (now_ms() > deadline)
			return false;
		stage_wait(&cast->stage->news, news);
	}
}

/* All players are children of the conductor, or become so when their parents
 * are dead: those, too, that never arrived in a step that went wrong. */
static bool kill_children(void)
{
	FILE *children = fopen("/proc/thread-self/children", "re");
	int pid, count = 0;

	for (; children && fscanf(children, "%d", &pid) == 1; count++)
		kill(pid, SIGKILL);
	if (children)
		fclose(children);
	return count > 0;
}

void cast_dismiss(struct cast *cast)
{
	while (kill_children())
		waitpid(-1, NULL, 0);
	for (int i = 0; i < ACTORS; i++) {
		if (cast->pidfds[i] >= 0)
			close(cast->pidfds[i]);
		cast->pidfds[i] = -1;
		memset(&cast->stage->actors[i], 0, sizeof cast->stage->actors[i]);
	}
}
