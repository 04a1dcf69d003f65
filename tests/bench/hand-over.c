/*
 * How long a lock takes from one process to the next: from the call of the
 * release to the return of the acquire of a process that was blocked in the
 * kernel for it.  Two processes hand it to and fro.
 *
 *	bench-hand-over FOLDER ROUNDS HAND-OVERS
 *
 * Prints nanoseconds a hand-over, the mean of a round.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

/* A way to hold the lock. */
struct way {
	const char *name;
	void (*take)(void *with);
	void (*give)(void *with);
	void *with;
};

/* What the two processes share. */
struct table {
	_Atomic int holder;       /* who got the lock last; -1: nobody yet */
	_Atomic int64_t given_at; /* when the release was called */
	_Atomic int64_t total;    /* nanoseconds of this round */
};

static void take_relock(void *with)
{
	const struct relock_request request = RELOCK_REQUEST_INIT;

	if (relock_acquire(with, &request) < 0)
		give_up("librelock", relock_error_message());
}

static void give_relock(void *with)
{
	if (relock_release(with) < 0)
		give_up("librelock", relock_error_message());
}

static void take_bare(void *with)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(*(int *)with, F_OFD_SETLKW, &lock) < 0)
		give_up("fcntl", strerror(errno));
}

static void give_bare(void *with)
{
	struct flock lock = {.l_type = F_UNLCK, .l_whence = SEEK_SET};

	if (fcntl(*(int *)with, F_OFD_SETLK, &lock) < 0)
		give_up("fcntl", strerror(errno));
}

/* There is no event for this: looks until the other is blocked in
 * fcntl(fd, F_OFD_SETLKW, ...), and not in the unlock before that. */
static void wait_until_blocked(int syscall_file)
{
	unsigned long fd, command;
	char text[128];
	long number;

	for (;;) {
		ssize_t length = pread(syscall_file, text, sizeof text - 1, 0);
		if (length <= 0)
			give_up("/proc/PID/syscall", length < 0 ? strerror(errno) : "empty");
		text[length] = '\0';
		if (sscanf(text, "%ld 0x%lx 0x%lx", &number, &fd, &command) == 3 &&
		    number == SYS_fcntl && command == F_OFD_SETLKW)
			return;
		sched_yield();
	}
}

/*
 * One side of a round.  Who has given the lock away waits until the other has
 * it: the kernel wakes the waiter, but does not keep the lock for it, and we
 * would be faster.
 */
static void play(struct table *table, const struct way *way, int me, int others_syscall,
		 long hand_overs)
{
	bool holds = me == 0;

	if (holds) {
		way->take(way->with);
		table->holder = me;
	}
	while (table->holder != 0)
		sched_yield();
	for (long i = 0; i < hand_overs; i++) {
		if (holds) {
			wait_until_blocked(others_syscall);
			table->given_at = nanoseconds(CLOCK_MONOTONIC);
			way->give(way->with);
			while (table->holder == me)
				sched_yield();
		} else {
			way->take(way->with);
			table->total += nanoseconds(CLOCK_MONOTONIC) - table->given_at;
			table->holder = me;
		}
		holds = !holds;
	}
	if (holds)
		way->give(way->with);
}

static int open_syscall(pid_t pid)
{
	char path[48];

	snprintf(path, sizeof path, "/proc/%d/syscall", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		give_up(path, strerror(errno));
	return fd;
}

/* A round ends for both before the next begins. */
static void meet(const int pipes[2][2], int me)
{
	char byte = 0;

	if (write(pipes[me][1], &byte, 1) != 1 || read(pipes[!me][0], &byte, 1) != 1)
		give_up("the other process", "is gone");
}

static void side(struct table *table, const char *folder, const int pipes[2][2], int me,
		 pid_t other, long rounds, long hand_overs)
{
	relock_store *store = bench_store(folder);
	relock_lock *lock = bench_lock(store, "hand-over");
	int fd = bench_file(folder, "hand-over-bare");
	int others_syscall = open_syscall(other);
	const struct way ways[] = {
		{"relock", take_relock, give_relock, lock},
		{"bare", take_bare, give_bare, &fd},
	};

	meet(pipes, me);
	if (me == 0)
		bench_warm_up(lock);
	for (long round = 0; round < rounds; round++) {
		for (size_t i = 0; i < 2; i++) {
			table->holder = -1;
			table->total = 0;
			meet(pipes, me);
			play(table, &ways[i], me, others_syscall, hand_overs);
			meet(pipes, me);
			if (me == 0)
				printf("%s %.1f\n", ways[i].name,
				       (double)table->total / (double)hand_overs);
			meet(pipes, me);
		}
	}
	close(others_syscall);
	close(fd);
	relock_lock_close(lock);
	relock_store_close(store);
}

int main(int argc, char **argv)
{
	int pipes[2][2], status;

	if (argc != 4)
		give_up("usage", "bench-hand-over FOLDER ROUNDS HAND-OVERS");
	long rounds = count_of(argv[2]), hand_overs = count_of(argv[3]);
	struct table *table = mmap(NULL, sizeof *table, PROT_READ | PROT_WRITE,
				   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (table == MAP_FAILED || pipe2(pipes[0], O_CLOEXEC) < 0 || pipe2(pipes[1], O_CLOEXEC) < 0)
		give_up("start", strerror(errno));
	pid_t parent = getpid(), child = fork();
	if (child < 0)
		give_up("fork", strerror(errno));
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		close(pipes[0][1]);
		side(table, argv[1], pipes, 1, parent, rounds, hand_overs);
		return 0;
	}
	close(pipes[1][1]);
	side(table, argv[1], pipes, 0, child, rounds, hand_overs);
	if (waitpid(child, &status, 0) != child || status != 0)
		give_up("the other process", "failed");
	return 0;
}
