/*
 * A store of claim files, for scripts/bench to compare with flufl.lock
 * (flufl.py measures the same).
 *
 *	bench-link FOLDER pair COUNT       nanoseconds for each acquire and release
 *	bench-link FOLDER hand-over COUNT  from the release by one process to the
 *	                                   acquire of another that waits
 *
 * Prints one number, the mean.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

static void take(relock_lock *lock)
{
	const struct relock_request request = RELOCK_REQUEST_INIT;

	if (relock_acquire(lock, &request) < 0)
		give_up("librelock", relock_error_message());
}

static void give(relock_lock *lock)
{
	if (relock_release(lock) < 0)
		give_up("librelock", relock_error_message());
}

static relock_lock *open_lock(const char *folder)
{
	relock_store *store = NULL;
	relock_lock *lock = NULL;
	char url[4096];

	snprintf(url, sizeof url, "link:%s", folder);
	if (relock_store_open(&store, url) < 0 || relock_lock_open(&lock, store, "link") < 0)
		give_up("librelock", relock_error_message());
	return lock;
}

static void measure_pairs(const char *folder, long count)
{
	relock_lock *lock = open_lock(folder);
	int64_t start = nanoseconds(CLOCK_MONOTONIC);

	for (long i = 0; i < count; i++) {
		take(lock);
		give(lock);
	}
	printf("relock %.1f\n", (double)(nanoseconds(CLOCK_MONOTONIC) - start) / (double)count);
	relock_lock_close(lock);
}

/* There is no event for this. */
static void wait_until_blocked(int syscall_file)
{
	char text[128];
	long number;

	for (;;) {
		ssize_t length = pread(syscall_file, text, sizeof text - 1, 0);
		if (length <= 0)
			give_up("/proc/PID/syscall", length < 0 ? strerror(errno) : "empty");
		text[length] = '\0';
		if (sscanf(text, "%ld", &number) == 1 && number == SYS_ppoll)
			return;
		sched_yield();
	}
}

static void wait_for_turn(int fd)
{
	char byte;

	if (read(fd, &byte, 1) != 1)
		give_up("the other process", "is gone");
}

static void give_turn(int fd)
{
	if (write(fd, "", 1) != 1)
		give_up("the other process", "is gone");
}

static void waiter(const char *folder, _Atomic int64_t *got, int turns, int done)
{
	relock_lock *lock = open_lock(folder);

	for (;;) {
		wait_for_turn(turns);
		take(lock);
		*got = nanoseconds(CLOCK_MONOTONIC);
		give(lock);
		give_turn(done);
	}
}

static void measure_hand_overs(const char *folder, long count)
{
	_Atomic int64_t *got =
		mmap(NULL, sizeof *got, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int turns[2], done[2];
	int64_t total = 0;
	char path[48];

	if (got == MAP_FAILED || pipe2(turns, O_CLOEXEC) < 0 || pipe2(done, O_CLOEXEC) < 0)
		give_up("start", strerror(errno));
	pid_t child = fork();
	if (child < 0)
		give_up("fork", strerror(errno));
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		waiter(folder, got, turns[0], done[1]);
	}
	snprintf(path, sizeof path, "/proc/%d/syscall", (int)child);
	int syscall_file = open(path, O_RDONLY | O_CLOEXEC);
	if (syscall_file < 0)
		give_up(path, strerror(errno));
	relock_lock *lock = open_lock(folder);
	for (long i = 0; i < count; i++) {
		take(lock);
		give_turn(turns[1]);
		wait_until_blocked(syscall_file);
		int64_t start = nanoseconds(CLOCK_MONOTONIC);
		give(lock);
		wait_for_turn(done[0]);
		total += *got - start;
	}
	printf("relock %.1f\n", (double)total / (double)count);
	relock_lock_close(lock);
	kill(child, SIGKILL);
	waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
	if (argc != 4)
		give_up("usage", "bench-link FOLDER pair|hand-over COUNT");
	if (strcmp(argv[2], "pair") == 0)
		measure_pairs(argv[1], count_of(argv[3]));
	else
		measure_hand_overs(argv[1], count_of(argv[3]));
	return 0;
}
