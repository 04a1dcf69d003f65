/* Lock calls from where little is allowed: signal handlers on a small stack, a
 * vfork child, threads at once, and inside malloc. */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "subject.h"

/* The program's own allocator, as in a program that locks a file inside it. */
extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
static volatile bool malloc_is_forbidden;

void *malloc(size_t size)
{
	if (malloc_is_forbidden)
		abort();
	return __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	if (malloc_is_forbidden)
		abort();
	return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
	if (malloc_is_forbidden)
		abort();
	return __libc_realloc(memory, size);
}

static void without_malloc(void)
{
	int fd = open_file(O_RDWR);
	struct flock lock = {.l_type = F_WRLCK, .l_len = 10, .l_pid = 4711}, question = lock;
	struct holder holder = start_holder(F_WRLCK, 20, 10);

	malloc_is_forbidden = true;
	int set = record_lock(fd, F_SETLK, &lock);
	question.l_start = 20;
	int get = record_lock(fd, F_GETLK, &question);
	lock.l_type = F_UNLCK;
	int unset = record_lock(fd, F_SETLKW, &lock);
	malloc_is_forbidden = false;
	say_result(set);
	say_result(get);
	say(question.l_pid == holder.pid ? "holder" : "?");
	say_result(unset);
	release_holder(&holder);
}

/* The rest of a lock's life, with several opens and many ranges. */
static void life_without_malloc(void)
{
	int opens[3], failures = 0;

	malloc_is_forbidden = true;
	for (int i = 0; i < 3; i++)
		opens[i] = open(subject_file, O_RDWR | O_CLOEXEC);
	for (off_t at = 0; at < 300; at++)
		failures += set_lock(opens[at % 3], F_WRLCK, at * 2, 1) < 0;
	dup2(opens[0], 50);
	dup3(opens[0], 51, O_CLOEXEC);
	close(fcntl(50, F_DUPFD, 52));
	close(dup(51));
	close(opens[0]);
	close_range(50, 51, 0);
	close(opens[1]);
	pid_t pid = fork();
	if (pid == 0)
		_exit(0);
	waitpid(pid, NULL, 0);
	execl("/no/such/program", "program", (char *)NULL);
	closefrom(opens[2]);
	malloc_is_forbidden = false;
	say_number(failures);
	say(outside_view(0, 0));
}

static struct {
	int fd;
	pid_t holder;
	volatile unsigned runs, failures;
	volatile int worst_error;
} handled;

/* An answer that needs the long way: a search for the holder. */
static void lock_in_handler(int signal)
{
	struct flock lock = {.l_type = F_WRLCK, .l_start = 100, .l_len = 1, .l_pid = 1};
	struct flock question = {.l_type = F_WRLCK, .l_start = 20, .l_len = 1, .l_pid = 1};
	int before = errno;

	(void)signal;
	if (record_lock(handled.fd, F_SETLK, &lock) < 0 ||
	    record_lock(handled.fd, F_GETLK, &question) < 0 || question.l_pid != handled.holder) {
		handled.failures++;
		handled.worst_error = errno;
	}
	lock.l_type = F_UNLCK;
	if (record_lock(handled.fd, F_SETLK, &lock) < 0)
		handled.failures++;
	handled.runs++;
	errno = before;
}

/* A stack of 8 KiB, with nothing below it. */
static void use_small_signal_stack(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *memory = mmap(NULL, page * 3, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (memory == MAP_FAILED || mprotect(memory + page, page * 2, PROT_READ | PROT_WRITE) < 0)
		give_up("mmap");
	stack_t stack = {.ss_sp = memory + page, .ss_size = page * 2};
	if (sigaltstack(&stack, NULL) < 0)
		give_up("sigaltstack");
}

static void in_signal_handlers(void)
{
	struct holder holder = start_holder(F_WRLCK, 20, 10);
	struct sigaction action = {.sa_handler = lock_in_handler,
				   .sa_flags = SA_ONSTACK | SA_RESTART};
	struct itimerval often = {{0, 300}, {0, 300}}, never = {0};
	unsigned failures = 0;

	handled.fd = open_file(O_RDWR);
	handled.holder = holder.pid;
	use_small_signal_stack();
	sigaction(SIGVTALRM, &action, NULL);
	setitimer(ITIMER_VIRTUAL, &often, NULL);
	/* Interrupted wherever it is, until it has happened often enough. */
	while (handled.runs < 50) {
		struct flock lock = {.l_type = F_WRLCK, .l_len = 10, .l_pid = 9};
		failures += record_lock(handled.fd, F_SETLKW, &lock) < 0;
		failures += record_lock(handled.fd, F_GETLK, &lock) < 0;
		lock.l_type = F_UNLCK;
		failures += record_lock(handled.fd, F_SETLK, &lock) < 0;
	}
	setitimer(ITIMER_VIRTUAL, &never, NULL);
	say_number(failures);
	say_number(handled.failures);
	release_holder(&holder);
}

static void in_vfork_child(void)
{
	int fd = open_file(O_RDWR);
	struct flock lock = {.l_type = F_WRLCK, .l_len = 10, .l_pid = 3};
	volatile int result = -2;
	int status;

	/* What it is about is that the child shares our memory. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
	pid_t pid = vfork();
#pragma GCC diagnostic pop
	if (pid == 0) {
		result = record_lock(fd, F_SETLK, &lock);
		_exit(result == 0 ? 7 : 8);
	}
	waitpid(pid, &status, 0);
	say(WIFEXITED(status) && WEXITSTATUS(status) == 7 ? "locked" : "?");
	say_result(set_lock(fd, F_WRLCK, 20, 10));
}

enum { THREADS = 4, ROUNDS = 500 };

static void *count_up(void *argument)
{
	int fd = open_file(O_RDWR), *counter = argument;

	for (int i = 0; i < ROUNDS; i++) {
		wait_lock(fd, F_WRLCK, 0, 10);
		int seen = *(volatile int *)counter;
		sched_yield();
		*(volatile int *)counter = seen + 1;
		set_lock(fd, F_UNLCK, 0, 10);
	}
	return NULL;
}

/* Each with an open of its own, they exclude each other. */
static void threads_count(void)
{
	pthread_t threads[THREADS];
	int counter = 0;

	for (int i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, count_up, &counter);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	say(counter == THREADS * ROUNDS ? "all-counted" : "lost-updates");
}

const struct subject_case subject_safety[] = {
	{"without_malloc", without_malloc},         {"life_without_malloc", life_without_malloc},
	{"in_signal_handlers", in_signal_handlers}, {"in_vfork_child", in_vfork_child},
	{"threads_count", threads_count},           {0},
};
