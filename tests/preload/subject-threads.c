/*
 * Threads that lock, unlock, duplicate and close at once; row 21; and fork in
 * the middle of it.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "subject.h"

enum { THREADS = 8, ROUNDS = 100 };

static _Atomic unsigned failures, lost;

static bool is_held(int asking, off_t start, off_t length)
{
	struct flock lock = {.l_type = F_WRLCK, .l_start = start, .l_len = length};

	if (fcntl(asking, F_OFD_GETLK, &lock) < 0)
		give_up("F_OFD_GETLK");
	return lock.l_type != F_UNLCK;
}

static pthread_barrier_t all_there;
static void *(*each_thread)(void *number);

static void *run_thread(void *number)
{
	pthread_barrier_wait(&all_there);
	return each_thread(number);
}

static void run_threads(void *(*function)(void *number))
{
	pthread_t threads[THREADS];

	each_thread = function;
	pthread_barrier_init(&all_there, NULL, THREADS);
	for (long i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, run_thread, (void *)i);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	say_number(failures);
	say(lost ? "lost" : "kept");
}

/* Each on its own byte, and in the end an unlock or a close. */
static void live(const char *path, int asking, off_t byte, int round)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	failures += fd < 0;
	failures += set_lock(fd, F_WRLCK, byte, 1) < 0;
	/* so that others close theirs now */
	sched_yield();
	lost += !is_held(asking, byte, 1);
	if (round % 4 == 1) {
		int duplicate = dup(fd);
		close(fd);
		lost += !is_held(asking, byte, 1);
		fd = duplicate;
	}
	if (round % 2) {
		failures += set_lock(fd, F_UNLCK, byte, 1) < 0;
		failures += is_held(asking, byte, 1);
	}
	failures += close(fd) < 0;
	failures += is_held(asking, byte, 1);
}

static int asking_one_file;

static void *live_in_one_file(void *number)
{
	for (int round = 0; round < ROUNDS; round++)
		live(subject_file, asking_one_file, (long)number, round);
	return NULL;
}

static void threads_in_one_file(void)
{
	asking_one_file = open_file(O_RDONLY | O_CLOEXEC);
	run_threads(live_in_one_file);
	say(outside_view(0, 0));
}

static void *live_in_own_file(void *number)
{
	char path[64];
	int asking = memfd_create("own", MFD_CLOEXEC);

	snprintf(path, sizeof path, "/proc/self/fd/%d", asking);
	/* Without duplicates, whose close drops the lock natively. */
	for (int round = 0; round < ROUNDS; round++)
		live(path, asking, (long)number, round & ~1);
	close(asking);
	return NULL;
}

static void threads_in_own_files(void)
{
	run_threads(live_in_own_file);
}

/* Half of them lock through the open of all, half make duplicates of it as long
 * as those do, and close them. */
enum { LOCKERS = THREADS / 2, CLOSERS = THREADS - LOCKERS };

static int shared_fd;
static _Atomic unsigned closes, lockers_left = LOCKERS;

/* Until a close that began after this has ended: not one that each of them may
 * have been counting. */
static void await_closes(void)
{
	unsigned before = closes;

	while (closes - before <= CLOSERS)
		sched_yield();
}

static void *use_one_open(void *number)
{
	long byte = (long)number;

	if (byte >= LOCKERS) {
		for (; lockers_left; closes++) {
			failures += close(dup(shared_fd)) < 0;
			sched_yield();
		}
		return NULL;
	}
	for (int round = 0; round < ROUNDS / 50; round++) {
		failures += set_lock(shared_fd, F_WRLCK, byte, 1) < 0;
		await_closes();
		lost += !is_held(asking_one_file, byte, 1);
		failures += set_lock(shared_fd, F_UNLCK, byte, 1) < 0;
		failures += is_held(asking_one_file, byte, 1);
	}
	lockers_left--;
	return NULL;
}

static void threads_with_one_open(void)
{
	asking_one_file = open_file(O_RDONLY | O_CLOEXEC);
	shared_fd = open_file(O_RDWR | O_CLOEXEC);
	run_threads(use_one_open);
	say(outside_view(0, 0));
	say_result(set_lock(shared_fd, F_WRLCK, 0, 10));
	close(shared_fd);
	say(outside_view(0, 0));
}

/* Waits and holds, one after the other: natively, and in `process`, threads do
 * not exclude each other; all there is to see is that nobody is forgotten. */
static void *wait_for_turn(void *number)
{
	(void)number;
	int fd = open_file(O_RDWR | O_CLOEXEC);

	for (int round = 0; round < ROUNDS / 4; round++) {
		failures += wait_lock(fd, F_WRLCK, 0, 10) < 0;
		failures += set_lock(fd, F_UNLCK, 0, 10) < 0;
	}
	close(fd);
	return NULL;
}

static void contend(void *argument)
{
	(void)argument;
	alarm(20);
	wait_for_turn(NULL);
	_exit(failures ? 1 : 0);
}

static void threads_against_process(void)
{
	pid_t pid = start_child(contend, NULL);
	int status;

	run_threads(wait_for_turn);
	waitpid(pid, &status, 0);
	say_number(status);
	say(outside_view(0, 0));
}

/* Row 21 */

struct waiter {
	pthread_t thread;
	int fd, result, error;
	_Atomic pid_t tid;
	volatile bool is_done;
};

static void *wait_in_thread(void *argument)
{
	struct waiter *self = argument;

	self->tid = (pid_t)syscall(SYS_gettid);
	self->result = wait_lock(self->fd, F_WRLCK, 0, 10);
	self->error = errno;
	self->is_done = true;
	return NULL;
}

static void start_waiter(struct waiter *waiter, int fd)
{
	*waiter = (struct waiter){.fd = fd};
	pthread_create(&waiter->thread, NULL, wait_in_thread, waiter);
	while (!waiter->tid)
		sched_yield();
	await_block(waiter->tid, &waiter->is_done);
}

static void end_waiter(struct waiter *waiter)
{
	pthread_join(waiter->thread, NULL);
	errno = waiter->error;
	say_result(waiter->result);
	say(outside_view(0, 10));
}

static void *close_in_thread(void *fd)
{
	close((int)(long)fd);
	return NULL;
}

static void closed_by_two_threads(void)
{
	struct holder holder = start_holder(F_WRLCK, 0, 10);
	int fds[] = {open_file(O_RDWR), 0};
	struct waiter waiter;
	pthread_t closers[2];

	fds[1] = dup(fds[0]);
	start_waiter(&waiter, fds[0]);
	for (int i = 0; i < 2; i++)
		pthread_create(&closers[i], NULL, close_in_thread, (void *)(long)fds[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(closers[i], NULL);
	release_holder(&holder);
	end_waiter(&waiter);
}

/* The open is there, the descriptor that waits is not. */
static void closed_but_for_a_duplicate(void)
{
	struct holder holder = start_holder(F_WRLCK, 0, 10);
	int fd = open_file(O_RDWR), duplicate = dup(fd);
	struct waiter waiter;

	start_waiter(&waiter, fd);
	close(fd);
	release_holder(&holder);
	end_waiter(&waiter);
	say_result(set_lock(duplicate, F_WRLCK, 0, 10));
	close(duplicate);
	say(outside_view(0, 10));
}

/* Its number has become another open of the file. */
static void replaced_during_wait(void)
{
	struct holder holder = start_holder(F_WRLCK, 0, 10);
	int fd = open_file(O_RDWR), other = open_file(O_RDWR);
	struct waiter waiter;

	start_waiter(&waiter, fd);
	dup2(other, fd);
	release_holder(&holder);
	end_waiter(&waiter);
	say_result(set_lock(fd, F_WRLCK, 0, 10));
	say(outside_view(0, 10));
}

/* A number whose file changes under those that lock through it: a lock that is
 * granted after its last descriptor was closed is given back at once, and one that
 * a thread is still in the kernel for is in nobody's way.  So many rounds, because
 * that shows only when the thread loses the processor there. */

enum { REPLACED = 100, REPLACEMENTS = 4000 };

static _Atomic bool is_replaced_enough;

static void *lock_what_is_there(void *nothing)
{
	(void)nothing;
	while (!is_replaced_enough)
		if (set_lock(REPLACED, F_WRLCK, 0, 10) < 0 && errno != EBADF)
			failures++;
	return NULL;
}

static void replace_amid_locks(void)
{
	int files[] = {memfd_create("one", MFD_CLOEXEC), memfd_create("two", MFD_CLOEXEC)};
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, lock_what_is_there, NULL);
	for (int round = 0; round < REPLACEMENTS; round++) {
		char path[64];
		snprintf(path, sizeof path, "/proc/self/fd/%d", files[round % 2]);
		int fd = open(path, O_RDWR | O_CLOEXEC);
		dup2(fd, REPLACED);
		close(fd);
		if (round % 4 == 3)
			close(REPLACED);
	}
	is_replaced_enough = true;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	close(REPLACED);
	say_number(failures);
	for (int i = 0; i < 2; i++)
		say(is_held(files[i], 0, 0) ? "held" : "free");
}

/* Forks while other threads are inside lock calls and closes */

static _Atomic bool is_over;

static void *lock_until_over(void *argument)
{
	(void)argument;
	while (!is_over) {
		int a = open_file(O_RDWR | O_CLOEXEC), b = open_file(O_RDWR | O_CLOEXEC);
		set_lock(a, F_WRLCK, 0, 2);
		set_lock(b, F_WRLCK, 1, 2);
		close(a);
		close(b);
	}
	return NULL;
}

static void fork_amid_locks(void)
{
	pthread_t threads[2];
	int failed = 0;

	for (int i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, lock_until_over, NULL);
	for (int i = 0; i < 40; i++) {
		int status;
		pid_t pid = fork();
		if (pid == 0) {
			alarm(10);
			int a = open_file(O_RDWR), b = open_file(O_RDWR);
			bool is_fine = set_lock(a, F_WRLCK, 50, 1) == 0 &&
				       set_lock(b, F_WRLCK, 51, 1) == 0 && close(a) == 0 &&
				       close(b) == 0;
			_exit(!is_fine);
		}
		waitpid(pid, &status, 0);
		failed += status != 0;
	}
	is_over = true;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	say_number(failed);
	say(outside_view(0, 0));
}

const struct subject_case subject_threads[] = {
	{"threads_in_one_file", threads_in_one_file},
	{"threads_in_own_files", threads_in_own_files},
	{"threads_with_one_open", threads_with_one_open},
	{"threads_against_process", threads_against_process},
	{"closed_by_two_threads", closed_by_two_threads},
	{"closed_but_for_a_duplicate", closed_but_for_a_duplicate},
	{"replaced_during_wait", replaced_during_wait},
	{"replace_amid_locks", replace_amid_locks},
	{"fork_amid_locks", fork_amid_locks},
	{0},
};
