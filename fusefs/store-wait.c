#include "store-wait.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/syscall.h>
#include <unistd.h>

struct store_waits {
	int event;
	pthread_mutex_t mutex; /* guards the list, and `done` of its members */
	TAILQ_HEAD(store_wait_list, store_wait) over;
};

struct store_wait {
	struct store_waits *waits;
	struct entry *entry;
	relock_lock *lock;
	struct relock_request request;
	struct relock_on_behalf on_behalf;
	char command[32];
	pthread_t thread;
	_Atomic pid_t thread_id; /* 0 until it runs */
	int result;              /* the thread's, until it is joined */
	bool done;
	TAILQ_ENTRY(store_wait) in_over;
};

struct store_waits *store_waits_new(int event)
{
	struct store_waits *waits = calloc(1, sizeof *waits);

	if (!waits)
		return NULL;
	waits->event = event;
	pthread_mutex_init(&waits->mutex, NULL);
	TAILQ_INIT(&waits->over);
	return waits;
}

void store_waits_free(struct store_waits *waits)
{
	if (!waits)
		return;
	pthread_mutex_destroy(&waits->mutex);
	free(waits);
}

static void *wait_main(void *argument)
{
	struct store_wait *wait = argument;
	struct store_waits *waits = wait->waits;
	int ignored;

	atomic_store(&wait->thread_id, gettid());
	pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &ignored);
	wait->result = relock_acquire(wait->lock, &wait->request);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);

	pthread_mutex_lock(&waits->mutex);
	wait->done = true;
	TAILQ_INSERT_TAIL(&waits->over, wait, in_over);
	pthread_mutex_unlock(&waits->mutex);
	/* Fails only if the counter is full, and then it is readable anyway. */
	(void)!write(waits->event, &(uint64_t){1}, sizeof(uint64_t));
	return NULL;
}

static int start_thread(struct store_wait *wait)
{
	enum { STACK_SIZE = 256 * 1024 };
	pthread_attr_t attributes;
	sigset_t all;

	if (pthread_attr_init(&attributes) != 0)
		return -ENOMEM;
	/* Signals are the session thread's. */
	sigfillset(&all);
	pthread_attr_setsigmask_np(&attributes, &all);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	int result = pthread_create(&wait->thread, &attributes, wait_main, wait);
	pthread_attr_destroy(&attributes);
	return -result;
}

int store_wait_start(struct store_wait **ret, struct store_waits *waits, struct entry *entry,
		     relock_lock *lock, const struct relock_request *request)
{
	struct store_wait *wait = calloc(1, sizeof *wait);

	if (!wait)
		return -ENOMEM;
	wait->waits = waits;
	wait->entry = entry;
	wait->lock = lock;
	wait->request = *request;
	wait->request.timeout = RELOCK_FOREVER;
	wait->result = -ECANCELED;
	if (request->on_behalf) {
		wait->on_behalf = *request->on_behalf;
		wait->request.on_behalf = &wait->on_behalf;
		if (wait->on_behalf.command) {
			snprintf(wait->command, sizeof wait->command, "%s",
				 wait->on_behalf.command);
			wait->on_behalf.command = wait->command;
		}
	}
	int result = start_thread(wait);
	if (result < 0) {
		free(wait);
		return result;
	}
	*ret = wait;
	return 0;
}

struct entry *store_wait_entry(const struct store_wait *wait)
{
	return wait->entry;
}

enum relock_mode store_wait_mode(const struct store_wait *wait)
{
	return wait->request.mode;
}

bool store_wait_is_queued(const struct store_wait *wait)
{
	char path[64], text[32] = "";
	pid_t thread = atomic_load(&wait->thread_id);

	if (thread == 0)
		return false;
	/* "72 0x5 0x26 ...": the number of the system call it sleeps in, or
	 * "running". */
	snprintf(path, sizeof path, "/proc/self/task/%d/syscall", (int)thread);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true; /* no way to tell: do not make the others wait for it */
	ssize_t length = read(fd, text, sizeof text - 1);
	close(fd);
	if (length <= 0)
		return true;
	long number = strtol(text, NULL, 10);
	return number == SYS_fcntl || number == SYS_flock || number == SYS_futex;
}

struct store_wait *store_waits_next_done(struct store_waits *waits)
{
	pthread_mutex_lock(&waits->mutex);
	struct store_wait *wait = TAILQ_FIRST(&waits->over);
	pthread_mutex_unlock(&waits->mutex);
	return wait;
}

int store_wait_end(struct store_wait *wait, relock_lock **ret_lock)
{
	struct store_waits *waits = wait->waits;

	pthread_cancel(wait->thread);
	pthread_join(wait->thread, NULL);
	pthread_mutex_lock(&waits->mutex);
	if (wait->done)
		TAILQ_REMOVE(&waits->over, wait, in_over);
	pthread_mutex_unlock(&waits->mutex);
	int result = wait->result;
	*ret_lock = wait->lock;
	free(wait);
	return result;
}
