#include "restarts.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

long number_of_mount(const struct fixture *fixture, const char *key)
{
	char name[64], value[64] = "";

	snprintf(name, sizeof name, "user.relock.%s", key);
	if (getxattr(fixture->daemon.mountpoint, name, value, sizeof value - 1) < 0)
		fail_msg("%s: %s", name, strerror(errno));
	return strtol(value, NULL, 10);
}

void kill_and_wait(pid_t pid, int signal)
{
	struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};

	assert_true(end.fd >= 0);
	assert_int_equal(kill(pid, signal), 0);
	assert_int_equal(poll(&end, 1, PATIENCE_MS), 1);
	close(end.fd);
}

void kill_server(const struct fixture *fixture)
{
	long starts = number_of_mount(fixture, "starts");

	kill_and_wait((pid_t)number_of_mount(fixture, "pid"), SIGKILL);
	assert_int_equal(number_of_mount(fixture, "starts"), starts + 1);
}

int try_in_store(const struct fixture *fixture, const char *name)
{
	struct relock_request request = RELOCK_REQUEST_INIT;
	relock_lock *lock;

	request.timeout = 0;
	assert_int_equal(relock_lock_open(&lock, fixture->store, name), 0);
	int result = relock_acquire(lock, &request);
	relock_lock_close(lock);
	return result;
}

size_t count_descriptors(pid_t pid)
{
	char command[64];

	snprintf(command, sizeof command, "ls /proc/%d/fd | wc -l", (int)pid);
	FILE *out = popen(command, "r");
	size_t count = 0;
	assert_non_null(out);
	assert_int_equal(fscanf(out, "%zu", &count), 1);
	pclose(out);
	return count;
}
