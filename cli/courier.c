#include "courier.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "relock.h"

/* In the child: whoever waits for the end of our output, or for a lock of ours,
 * does not wait for it. */
static void let_go_of_all_but(int out)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int fd = STDIN_FILENO; null >= 0 && fd <= STDERR_FILENO; fd++)
		dup2(null, fd);
	if (out > STDERR_FILENO + 1)
		close_range(STDERR_FILENO + 1, (unsigned)out - 1, 0);
	close_range((unsigned)out + 1, ~0U, 0);
}

void courier_tell(int out, const void *bytes, size_t size)
{
	const char *at = bytes;

	while (size > 0) {
		ssize_t length = write(out, at, size);

		if (length < 0 && errno == EINTR)
			continue;
		if (length < 0)
			_exit(1);
		at += length;
		size -= (size_t)length;
	}
}

int courier_send(struct courier *ret, courier_work *work, void *argument)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -errno;

	pid_t child = fork();

	if (child == 0) {
		/* The pipe's end tells it that nobody listens. */
		let_go_of_all_but(ends[1]);
		work(ends[1], argument);
		_exit(0);
	}

	int error = child < 0 ? -errno : 0;

	close(ends[1]);
	if (error < 0) {
		close(ends[0]);
		return error;
	}
	*ret = (struct courier){child, ends[0], false};
	return 0;
}

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * RELOCK_SECOND + time.tv_nsec;
}

int courier_hear(struct courier *courier, void *bytes, size_t size, int64_t patience)
{
	int64_t deadline = now() + patience;
	char *at = bytes;

	while (size > 0) {
		struct pollfd fd = {.fd = courier->in, .events = POLLIN};
		int64_t rest = deadline - now();
		int ready = poll(&fd, 1, rest > 0 ? (int)(rest / RELOCK_MILLISECOND) + 1 : 0);

		if (ready == 0) {
			courier->is_late = true;
			return -ETIMEDOUT;
		}
		if (ready < 0 && errno != EINTR)
			return -errno;
		if (ready <= 0)
			continue;

		ssize_t length = read(courier->in, at, size);

		if (length <= 0)
			return -EIO;
		at += length;
		size -= (size_t)length;
	}
	return 0;
}

void courier_end(struct courier *courier)
{
	/* It has nothing to lose; if it cannot die, it is not waited for. */
	kill(courier->child, SIGKILL);
	waitpid(courier->child, NULL, courier->is_late ? WNOHANG : 0);
	close(courier->in);
}
