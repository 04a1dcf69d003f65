/*
 * Lock calls and closes that a signal handler makes while it interrupts others
 * of them, and handlers that never come back.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <unistd.h>

#include "subject.h"

enum { RUNS = 60, OWN_BYTE = 100 };

/* A thread that interrupts this one as soon as it has dealt with the last time:
 * sooner or later in the middle of everything. */
static struct {
	pthread_t thread;
	pid_t struck;
	_Atomic unsigned seen; /* by the handler */
	_Atomic bool is_over;
} striker;

static void *strike(void *nothing)
{
	(void)nothing;
	while (!striker.is_over) {
		unsigned before = striker.seen;
		syscall(SYS_tgkill, getpid(), striker.struck, SIGUSR1);
		while (striker.seen == before && !striker.is_over)
			sched_yield();
	}
	return NULL;
}

static void strike_often(void (*handler)(int signal))
{
	struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};

	sigaction(SIGUSR1, &action, NULL);
	striker.struck = (pid_t)syscall(SYS_gettid);
	pthread_create(&striker.thread, NULL, strike, NULL);
}

static void strike_no_more(void)
{
	striker.is_over = true;
	pthread_join(striker.thread, NULL);
}

static struct {
	int fd;           /* the main program's, or -1 */
	const char *path; /* of the file that the handler opens, or NULL */
	volatile unsigned runs, failures;
} handled;

static void lock_and_close_in_handler(int signal)
{
	int before = errno;

	(void)signal;
	int fd = handled.path ? open(handled.path, O_RDWR | O_CLOEXEC) : dup(handled.fd);
	if (fd >= 0) {
		handled.failures += set_lock(fd, F_WRLCK, OWN_BYTE, 1) < 0;
		handled.failures += set_lock(fd, F_UNLCK, OWN_BYTE, 1) < 0;
		handled.failures += set_lock(fd, F_WRLCK, OWN_BYTE, 1) < 0;
		close(fd);
	}
	handled.runs++;
	striker.seen++;
	errno = before;
}

static bool is_held(int asking, off_t start, off_t length)
{
	struct flock lock = {.l_type = F_WRLCK, .l_start = start, .l_len = length};

	if (fcntl(asking, F_OFD_GETLK, &lock) < 0)
		give_up("F_OFD_GETLK");
	return lock.l_type != F_UNLCK;
}

/* One life of a lock.  False if it was gone before its time. */
static bool live(int asking, unsigned *failures)
{
	int fd = open_file(O_RDWR | O_CLOEXEC);

	handled.fd = fd;
	*failures += set_lock(fd, F_WRLCK, 0, 10) < 0;
	bool is_kept = is_held(asking, 0, 10);
	*failures += set_lock(fd, F_UNLCK, 0, 5) < 0;
	*failures += is_held(asking, 0, 5);
	is_kept = is_held(asking, 5, 5) && is_kept;
	handled.fd = -1;
	close(fd);
	*failures += is_held(asking, 5, 5);
	return is_kept;
}

/* The handler has another file, another open of the same, or a duplicate. */
static void handler_locks_and_closes(void)
{
	char path[] = "/tmp/relock-subject-XXXXXX";
	int another = mkstemp(path), asking = open_file(O_RDONLY | O_CLOEXEC);
	unsigned failures = 0, lost = 0;

	handled.fd = -1;
	if (strcmp(subject_argument, "another_file") == 0)
		handled.path = path;
	else if (strcmp(subject_argument, "another_open") == 0)
		handled.path = subject_file;
	strike_often(lock_and_close_in_handler);
	/* Natively it takes the locks away, sooner or later. */
	while (handled.runs < RUNS || (handled.path != path && !lost && handled.runs < RUNS * 6))
		lost += !live(asking, &failures);
	strike_no_more();
	unlink(path);
	close(another);
	say_number(failures);
	say_number(handled.failures);
	say(lost ? "lost" : "kept");
	say(is_held(asking, 0, 0) ? "held" : "free");
}

static sigjmp_buf start_again;
static volatile bool may_jump;

static void jump(int signal)
{
	(void)signal;
	striker.seen++;
	if (!may_jump)
		return;
	may_jump = false;
	siglongjmp(start_again, 1);
}

/* All that is done here can be left in the middle and done again. */
static void jump_out_of_anything(void)
{
	int a = open_file(O_RDWR), b = open_file(O_RDWR), asking = open_file(O_RDONLY);
	volatile unsigned jumps = 0;

	strike_often(jump);
	if (sigsetjmp(start_again, 1))
		jumps++;
	while (jumps < RUNS) {
		may_jump = true;
		set_lock(a, F_WRLCK, 0, 10);
		set_lock(b, F_WRLCK, 5, 3);
		dup2(a, 60);
		set_lock(60, F_UNLCK, 2, 3);
		close(60);
		dup2(b, 60);
		set_lock(b, F_UNLCK, 0, 0);
		close(60);
		may_jump = false;
	}
	strike_no_more();
	close(60);
	/* Nothing is locked for ever, in memory or in the kernel. */
	say_result(set_lock(a, F_UNLCK, 0, 0));
	say_result(set_lock(b, F_UNLCK, 0, 0));
	say(is_held(asking, 0, 0) ? "held" : "free");
	say_result(set_lock(a, F_WRLCK, 0, 5));
	say_result(set_lock(b, F_WRLCK, 5, 5));
	say(is_held(asking, 0, 5) && is_held(asking, 5, 5) ? "held" : "free");
	close(a);
	close(b);
	say(is_held(asking, 0, 0) ? "held" : "free");
}

static void jump_out_of_wait(int signal)
{
	(void)signal;
	siglongjmp(start_again, 1);
}

/* The idiom of a lock with a time-out, again and again. */
static void jump_out_of_waits(void)
{
	int fd = open_file(O_RDWR), other = open_file(O_RDWR);
	struct holder holder = start_holder(F_WRLCK, 0, 10);
	struct sigaction action = {.sa_handler = jump_out_of_wait};
	struct itimerval soon = {{0, 0}, {0, 1000}};
	volatile unsigned granted = 0;

	/* The second open locks, too. */
	set_lock(fd, F_WRLCK, 20, 1);
	set_lock(other, F_WRLCK, 21, 1);
	sigaction(SIGALRM, &action, NULL);
	for (volatile int i = 0; i < 20; i++)
		if (sigsetjmp(start_again, 1) == 0) {
			setitimer(ITIMER_REAL, &soon, NULL);
			wait_lock(i % 2 ? fd : other, F_WRLCK, 0, 10);
			granted++;
		}
	say_number(granted);
	release_holder(&holder);
	say(outside_view(0, 10));
	say_result(wait_lock(fd, F_WRLCK, 0, 10));
	say_result(set_lock(fd, F_UNLCK, 0, 0));
	say(outside_view(0, 0));
}

const struct subject_case subject_signals[] = {
	{"handler_locks_and_closes", handler_locks_and_closes},
	{"jump_out_of_anything", jump_out_of_anything},
	{"jump_out_of_waits", jump_out_of_waits},
	{0},
};
