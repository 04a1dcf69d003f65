#include "locker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "deadlock.h"
#include "debug.h"
#include "gate.h"
#include "private-fd.h"

enum { PATIENCE_S = 20 };

/* In place of the shim's own */

_Atomic int locker_private_count, locker_private_opened, locker_note_count;

int shim_private_place(int fd)
{
	int placed = fcntl(fd, F_DUPFD_CLOEXEC, 200);
	int error = errno;

	close(fd);
	if (placed < 0)
		return -error;
	atomic_fetch_add(&locker_private_count, 1);
	atomic_fetch_add(&locker_private_opened, 1);
	return placed;
}

void shim_private_close(int fd)
{
	atomic_fetch_sub(&locker_private_count, 1);
	close(fd);
}

void shim_debug_note(const char *note)
{
	atomic_fetch_add(&locker_note_count, 1);
}

/* Files */

static char folder[] = "/tmp/relock-deadlock-XXXXXX";

static const char *file_path(unsigned file)
{
	static _Thread_local char path[64];

	snprintf(path, sizeof path, "%s/%u", folder, file);
	return path;
}

void locker_files_make(void)
{
	strcpy(strchr(folder, '-') + strlen("-deadlock-"), "XXXXXX");
	assert_non_null(mkdtemp(folder));
	for (unsigned file = 0; file < LOCKER_FILES; file++) {
		int fd = open(file_path(file), O_CREAT | O_EXCL | O_RDWR | O_CLOEXEC, 0666);
		assert_true(fd >= 0);
		fchmod(fd, 0666);
		close(fd);
	}
	assert_return_code(chmod(folder, 0755), errno);
}

void locker_files_remove(void)
{
	for (unsigned file = 0; file < LOCKER_FILES; file++)
		unlink(file_path(file));
	rmdir(folder);
}

/* Locks */

static int file_fds[LOCKER_FILES];
static struct stat file_stats[LOCKER_FILES];
/* F_RDLCK, F_WRLCK or F_UNLCK of each byte; changed inside the gate. */
static short held[LOCKER_FILES][LOCKER_BYTES];

void locker_open_files(void)
{
	for (unsigned file = 0; file < LOCKER_FILES; file++) {
		file_fds[file] = open(file_path(file), O_RDWR | O_CLOEXEC);
		if (file_fds[file] < 0 || fstat(file_fds[file], &file_stats[file]) < 0)
			_exit(98);
		for (unsigned byte = 0; byte < LOCKER_BYTES; byte++)
			held[file][byte] = F_UNLCK;
	}
}

static struct shim_span span_of(unsigned file, unsigned first, unsigned last, short type)
{
	return (struct shim_span){
		.device = file_stats[file].st_dev,
		.inode = file_stats[file].st_ino,
		.first = first,
		.last = last,
		.exclusive = type == F_WRLCK,
	};
}

static void each_held(void (*visit)(void *argument, const struct shim_span *span), void *argument)
{
	for (unsigned file = 0; file < LOCKER_FILES; file++)
		for (unsigned first = 0, end; first < LOCKER_BYTES; first = end) {
			short type = held[file][first];
			for (end = first + 1; end < LOCKER_BYTES && held[file][end] == type;)
				end++;
			if (type == F_UNLCK)
				continue;
			struct shim_span span = span_of(file, first, end - 1, type);
			visit(argument, &span);
		}
}

static void note_held(short type, unsigned file, unsigned first, unsigned length)
{
	struct shim_gate gate;

	shim_gate_enter(&gate);
	for (unsigned byte = first; byte < first + length; byte++)
		held[file][byte] = type;
	shim_gate_leave(&gate);
}

int locker_lock(short type, unsigned file, unsigned first, unsigned length)
{
	struct flock lock = {.l_type = type, .l_start = first, .l_len = length};

	if (fcntl(file_fds[file], F_OFD_SETLK, &lock) == 0) {
		note_held(type, file, first, length);
		if (shim_deadlock_has_waits())
			shim_deadlock_refresh();
		return 0;
	}
	if (errno != EAGAIN)
		return -errno;
	struct shim_span span = span_of(file, first, first + length - 1, type);
	int result = shim_deadlock_begin(&span, each_held);
	if (result < 0)
		return result;
	result = fcntl(file_fds[file], F_OFD_SETLKW, &lock) < 0 ? -errno : 0;
	if (result == 0)
		note_held(type, file, first, length);
	shim_deadlock_end();
	return result;
}

void locker_release(void)
{
	for (unsigned file = 0; file < LOCKER_FILES; file++)
		for (unsigned byte = 0; byte < LOCKER_BYTES; byte++)
			if (held[file][byte] != F_UNLCK) {
				locker_lock(F_UNLCK, file, 0, LOCKER_BYTES);
				break;
			}
}

/* Tasks */

static sigjmp_buf jump;

static void jump_away(int number)
{
	siglongjmp(jump, 1);
}

static int lock_until_signal(const struct locker_order *order)
{
	struct sigaction action = {.sa_handler = jump_away};

	sigaction(SIGUSR1, &action, NULL);
	if (sigsetjmp(jump, 1))
		return -ECANCELED;
	return locker_lock(F_WRLCK, order->file, order->first, order->length);
}

static struct locker_order thread_order;

static void *lock_in_thread(void *argument)
{
	return (void *)(intptr_t)locker_lock(F_WRLCK, thread_order.file, thread_order.first,
					     thread_order.length);
}

/* Says the child's pid first. */
static int lock_in_child(struct peer *self, const struct locker_order *order)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		shim_gate_reset();
		shim_deadlock_forked();
		locker_open_files();
		_exit(-locker_lock(F_WRLCK, order->file, order->first, order->length));
	}
	peer_say(self, pid);
	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? -WEXITSTATUS(status)
								    : -ECHILD;
}

static int carry_out(struct peer *self, const struct locker_order *order)
{
	static pthread_t thread;
	void *result;

	switch (order->task) {
	case LOCKER_READ:
		return locker_lock(F_RDLCK, order->file, order->first, order->length);
	case LOCKER_WRITE:
		return locker_lock(F_WRLCK, order->file, order->first, order->length);
	case LOCKER_UNLOCK:
		return locker_lock(F_UNLCK, order->file, order->first, order->length);
	case LOCKER_RELEASE:
		locker_release();
		return 0;
	case LOCKER_JUMP:
		return lock_until_signal(order);
	case LOCKER_THREAD:
		thread_order = *order;
		return -pthread_create(&thread, NULL, lock_in_thread, NULL);
	case LOCKER_JOIN:
		pthread_join(thread, &result);
		return (int)(intptr_t)result;
	case LOCKER_FORK:
		return lock_in_child(self, order);
	case LOCKER_END:
		break;
	}
	return 0;
}

/* An order in one number, as peers talk in numbers. */
static int pack(const struct locker_order *order)
{
	return (int)(order->task | order->file << 8 | order->first << 16 | order->length << 24);
}

static struct locker_order unpack(int number)
{
	unsigned packed = (unsigned)number;

	return (struct locker_order){
		.task = packed & 255,
		.file = packed >> 8 & 255,
		.first = packed >> 16 & 255,
		.length = packed >> 24,
	};
}

static int locker_main(struct peer *self, void *prepare)
{
	struct locker_order order;

	locker_open_files();
	if (prepare)
		(*(locker_prepare **)prepare)();
	while (order = unpack(peer_hear(self)), order.task != LOCKER_END)
		peer_say(self, carry_out(self, &order));
	/* Whatever has been waited for is over. */
	return locker_private_count == 0 ? 0 : 97;
}

struct peer locker_start(locker_prepare *prepare)
{
	return peer_start(locker_main, prepare ? &prepare : NULL);
}

void locker_order(struct peer *locker, struct locker_order order)
{
	if (order.length == 0)
		order.length = LOCKER_BYTES;
	peer_say(locker, pack(&order));
}

int locker_do(struct peer *locker, struct locker_order order)
{
	locker_order(locker, order);
	return peer_hear(locker);
}

static bool task_waits(pid_t pid, const char *tid)
{
	char path[64], line[64] = "", expected[32];

	snprintf(path, sizeof path, "/proc/%d/task/%.16s/syscall", (int)pid, tid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, line, sizeof line - 1);
	if (fd >= 0)
		close(fd);
	/* The number, the descriptor, the command. */
	snprintf(expected, sizeof expected, "%ld 0x", (long)SYS_fcntl);
	const char *command = length > 0 ? strchr(line + strlen(expected), ' ') : NULL;
	return command && strncmp(line, expected, strlen(expected)) == 0 &&
	       strtol(command, NULL, 16) == F_OFD_SETLKW;
}

static bool any_task_waits(pid_t pid)
{
	char path[32];
	bool found = false;

	snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
	DIR *tasks = opendir(path);
	if (!tasks)
		return false;
	for (struct dirent *entry; !found && (entry = readdir(tasks));)
		found = entry->d_name[0] != '.' && task_waits(pid, entry->d_name);
	closedir(tasks);
	return found;
}

void locker_await_wait(pid_t pid, pid_t tid)
{
	char name[16];
	struct timespec start, now;

	snprintf(name, sizeof name, "%d", (int)tid);
	clock_gettime(CLOCK_MONOTONIC, &start);
	while (!(tid ? task_waits(pid, name) : any_task_waits(pid))) {
		sched_yield();
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec - start.tv_sec > PATIENCE_S)
			fail_msg("the locker never waited");
	}
}

void locker_block(struct peer *locker, struct locker_order order)
{
	locker_order(locker, order);
	locker_await_wait(locker->pid, 0);
}

void locker_end(struct peer *locker)
{
	peer_say(locker, LOCKER_END);
	assert_int_equal(peer_reap(locker), 0);
}
