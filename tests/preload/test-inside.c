/*
 * The shim's own code with the sanitizers, which cannot be in the shim that is
 * loaded into a program: here it is linked into the test, and its fcntl, close
 * and dup are the test's.  Threads lock and close as they like, on opens of
 * their own, on shared ones, and in signal handlers; afterwards nothing may be
 * left, neither a lock nor a descriptor.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { THREADS = 6, STEPS = 1500, FILES = 3, RANGE = 32 };
/* Those that the workers use, and one more. */
enum { ALL_FILES = FILES + 1 };

static char folder[] = "/tmp/relock-inside-XXXXXX";
static char paths[ALL_FILES][sizeof folder + 16];

static int make_files(void **state)
{
	(void)state;
	if (!mkdtemp(folder))
		return -1;
	for (int i = 0; i < ALL_FILES; i++) {
		snprintf(paths[i], sizeof paths[i], "%s/%d", folder, i);
		close(open(paths[i], O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	}
	return 0;
}

static int remove_files(void **state)
{
	(void)state;
	for (int i = 0; i < ALL_FILES; i++)
		unlink(paths[i]);
	return rmdir(folder);
}

static int count_descriptors(void)
{
	DIR *listing = opendir("/proc/self/fd");
	int count = 0;

	while (readdir(listing))
		count++;
	closedir(listing);
	return count;
}

/* By a process of its own. */
static bool is_locked(const char *path)
{
	pid_t pid = fork();

	if (pid == 0) {
		struct flock all = {.l_type = F_WRLCK};
		int fd = open(path, O_RDWR | O_CLOEXEC);
		_exit(fcntl(fd, F_GETLK, &all) < 0 || all.l_type != F_UNLCK);
	}
	int status = -1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status != 0;
}

static bool is_expected(int result)
{
	return result == 0 || errno == EAGAIN || errno == EDEADLK || errno == EINTR;
}

static _Atomic unsigned failures;

static void change_lock(int fd, unsigned *seed)
{
	static const short types[] = {F_RDLCK, F_WRLCK, F_UNLCK};
	struct flock lock = {
		.l_type = types[rand_r(seed) % 3],
		.l_start = rand_r(seed) % RANGE,
		.l_len = rand_r(seed) % 8,
	};

	if (!is_expected(fcntl(fd, F_SETLK, &lock)))
		failures++;
}

struct worker {
	pthread_t thread;
	unsigned seed;
	int shared_fd;
};

static void *work(void *argument)
{
	struct worker *self = argument;
	int own[4] = {-1, -1, -1, -1};

	for (int step = 0; step < STEPS; step++) {
		int *fd = &own[rand_r(&self->seed) % 4];
		switch (rand_r(&self->seed) % 8) {
		case 0:
			if (*fd < 0)
				*fd = open(paths[rand_r(&self->seed) % FILES], O_RDWR | O_CLOEXEC);
			break;
		case 1:
			if (*fd >= 0 && close(*fd) < 0)
				failures++;
			*fd = -1;
			break;
		case 2:
			if (*fd < 0)
				*fd = dup(self->shared_fd);
			break;
		case 3:
			change_lock(self->shared_fd, &self->seed);
			break;
		default:
			if (*fd >= 0)
				change_lock(*fd, &self->seed);
		}
	}
	for (int i = 0; i < 4; i++)
		if (own[i] >= 0)
			close(own[i]);
	return NULL;
}

static void run_workers(void)
{
	struct worker workers[THREADS];
	int shared_fd = open(paths[0], O_RDWR | O_CLOEXEC);

	for (unsigned i = 0; i < THREADS; i++) {
		workers[i] = (struct worker){.seed = i + 1, .shared_fd = shared_fd};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(workers[i].thread, NULL);
	close(shared_fd);
}

static void check_nothing_is_left(int descriptors)
{
	assert_int_equal(failures, 0);
	assert_int_equal(count_descriptors(), descriptors);
	for (int i = 0; i < ALL_FILES; i++)
		assert_false(is_locked(paths[i]));
}

static void threads_leave_nothing_behind(void **state)
{
	int descriptors = count_descriptors();

	(void)state;
	run_workers();
	check_nothing_is_left(descriptors);
}

/* A handler that locks and closes, whatever it has interrupted. */
static int handler_fd;
static unsigned handler_seed = 99;

static void lock_in_handler(int number)
{
	int before = errno;

	(void)number;
	change_lock(handler_fd, &handler_seed);
	int fd = open(paths[handler_seed % FILES], O_RDWR | O_CLOEXEC);
	change_lock(fd, &handler_seed);
	close(fd);
	errno = before;
}

static void signal_handlers_leave_nothing_behind(void **state)
{
	struct sigaction action = {.sa_handler = lock_in_handler, .sa_flags = SA_RESTART};
	int descriptors = count_descriptors();
	struct worker self = {.seed = 7};
	struct sigevent event = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGALRM};
	struct itimerspec often = {.it_value.tv_nsec = 300000, .it_interval.tv_nsec = 300000};
	struct itimerspec never = {0};
	timer_t timer;

	(void)state;
	handler_fd = open(paths[0], O_RDWR | O_CLOEXEC);
	self.shared_fd = open(paths[1], O_RDWR | O_CLOEXEC);
	sigaction(SIGALRM, &action, NULL);
	assert_int_equal(timer_create(CLOCK_MONOTONIC, &event, &timer), 0);
	timer_settime(timer, 0, &often, NULL);
	for (int i = 0; i < 4; i++)
		work(&self);
	timer_settime(timer, 0, &never, NULL);
	timer_delete(timer);
	signal(SIGALRM, SIG_DFL);
	close(handler_fd);
	close(self.shared_fd);
	check_nothing_is_left(descriptors);
}

/* Others lock while one forks: the child must find its tables in order, own
 * nothing, and be able to lock. */
static void children_of_threads_own_nothing(void **state)
{
	enum { FORKS = 30 };
	int descriptors = count_descriptors();
	struct worker workers[2];
	int fd = open(paths[0], O_RDWR | O_CLOEXEC), held = open(paths[FILES], O_RDWR | O_CLOEXEC);
	struct flock lock = {.l_type = F_WRLCK, .l_start = 1000, .l_len = 1};

	(void)state;
	assert_int_equal(fcntl(held, F_SETLK, &lock), 0);
	for (unsigned i = 0; i < 2; i++) {
		workers[i] = (struct worker){.seed = i + 50, .shared_fd = fd};
		assert_int_equal(pthread_create(&workers[i].thread, NULL, work, &workers[i]), 0);
	}
	for (int i = 0; i < FORKS; i++) {
		pid_t pid = fork();
		if (pid == 0) {
			struct flock mine = {.l_type = F_WRLCK, .l_start = 2000 + i, .l_len = 1};
			struct flock parents = lock;
			bool is_excluded = fcntl(held, F_SETLK, &parents) < 0 && errno == EAGAIN;
			_exit(!is_excluded || fcntl(held, F_SETLK, &mine) < 0);
		}
		int status = -1;
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
	}
	for (unsigned i = 0; i < 2; i++)
		pthread_join(workers[i].thread, NULL);
	close(fd);
	close(held);
	check_nothing_is_left(descriptors);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(threads_leave_nothing_behind),
	cmocka_unit_test(signal_handlers_leave_nothing_behind),
	cmocka_unit_test(children_of_threads_own_nothing),
};

int main(void)
{
	return cmocka_run_group_tests_name("inside", tests, make_files, remove_files);
}
