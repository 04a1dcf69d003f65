/*
 * inotify(7) tells what happens to a file here: the removal of one of its names
 * is IN_ATTRIB (the link count changes), that of the last is IN_DELETE_SELF.  The
 * watch is on the file, not on the folder, so that a wait is not woken by every
 * other lock of the folder; it goes with the file by itself.  If the name leads
 * nowhere, the wait ends at once: the file has just gone.
 *
 * The instance is kept from wait to wait: to close one costs the kernel a grace
 * period of RCU, some 17 ms.  Each user has 128 of them (fs.inotify
 * max_user_instances); who gets none, polls.
 *
 * inotify does not see what another machine does (inotify(7), "Limitations and
 * caveats"), so on a network file system it polls as well: after 2 ms first, then
 * half as long again each time, up to a second, each a quarter more or less at
 * random, or all clients would come in step.
 */
#include "folder-watch.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/random.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "message.h"

#define PAUSE_MIN (2 * RELOCK_MILLISECOND)
#define PAUSE_MAX RELOCK_SECOND

static void drain(int fd)
{
	char events[4096];

	while (read(fd, events, sizeof events) > 0)
		;
}

/* The file of the last wait may live on, under another name. */
void folder_watch_rest(struct folder_watch *watch)
{
	if (watch->fd < 0)
		return;
	if (watch->file > 0)
		inotify_rm_watch(watch->fd, watch->file);
	watch->file = 0;
	drain(watch->fd);
}

static bool watch_file(struct folder_watch *watch, int dir_fd, const char *name)
{
	char path[300];

	snprintf(path, sizeof path, "/proc/self/fd/%d/%s", dir_fd, name);
	watch->file =
		inotify_add_watch(watch->fd, path, IN_ATTRIB | IN_DELETE_SELF | IN_DONT_FOLLOW);
	return watch->file > 0;
}

void folder_watch_begin(struct folder_watch *watch, int dir_fd, const char *name, bool is_local)
{
	watch->is_polled = !is_local;
	watch->is_gone = false;
	if (watch->fd < 0)
		watch->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	else
		folder_watch_rest(watch);
	if (watch->fd >= 0 && watch_file(watch, dir_fd, name))
		return;
	watch->is_gone = watch->fd >= 0 && errno == ENOENT;
	if (watch->is_gone)
		return;
	debug("%s: no inotify: %s; polling", name, strerrorname_np(errno));
	watch->is_polled = true;
}

static int64_t next_pause(struct folder_watch *watch)
{
	uint32_t random = 0;

	watch->pause += watch->pause / 2;
	if (watch->pause < PAUSE_MIN)
		watch->pause = PAUSE_MIN;
	if (watch->pause > PAUSE_MAX)
		watch->pause = PAUSE_MAX;
	if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
		random = (uint32_t)clock_now(CLOCK_MONOTONIC);
	return watch->pause * 3 / 4 + watch->pause / 2 * (int64_t)(random % 1024) / 1024;
}

/* Also on the way out of a cancelled wait; and so that this frame is left by a
 * landing pad, without which AddressSanitizer takes it for in use (gcc 12). */
static void disable_cancellation(void *argument)
{
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, argument);
}

int folder_watch_wait(struct folder_watch *watch, int64_t deadline, int64_t look_at, int process_fd,
		      int cancel_state)
{
	struct pollfd polled[] = {{.fd = watch->fd, .events = POLLIN},
				  {.fd = process_fd, .events = POLLIN}};
	int64_t now = clock_now(CLOCK_MONOTONIC);
	int64_t until = deadline < look_at ? deadline : look_at;
	int ignored;

	if (now >= deadline)
		return -ETIMEDOUT;
	if (watch->is_gone)
		return 0;
	if (watch->is_polled) {
		int64_t pause = next_pause(watch);
		if (until - now > pause)
			until = now + pause;
	}
	struct timespec span = clock_timespec(until > now ? until - now : 0);
	int result, error;
	pthread_setcancelstate(cancel_state, &ignored);
	pthread_cleanup_push(disable_cancellation, &ignored);
	result = ppoll(polled, 2, until == INT64_MAX ? NULL : &span, NULL);
	error = errno;
	pthread_cleanup_pop(1);
	if (result < 0)
		return -error;
	/* At the deadline there is one last look. */
	return 0;
}

void folder_watch_end(struct folder_watch *watch)
{
	if (watch->fd >= 0)
		close(TAKE_FD(watch->fd));
	watch->file = 0;
	watch->pause = 0;
}
