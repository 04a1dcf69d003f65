/*
 * A wait without a deadline is the caller's own, in the kernel.  One with a
 * deadline needs somebody to end it, without a signal handler, a timer or a
 * child in the host program.  A lock that belongs to an open file description
 * may be waited for by any thread that has the descriptor, so:
 *
 *	caller                            thread, all signals blocked
 *	pthread_create  ----------------> set() blocks in the kernel
 *	sem_clockwait until the deadline
 *	   <-------------- sem_post ----- granted
 *	pthread_join
 *
 * and at the deadline pthread_cancel and pthread_join; the system call is a
 * cancellation point of glibc's.  The cancel may come a moment after the
 * kernel has granted the lock and before set() could say so: nobody can tell,
 * so the mode held before is set again.
 *
 * Not a task cloned with CLONE_FILES: it outlives a killed caller and keeps
 * its locks.
 *
 * pthread_cancel() loads libgcc_s at its first use, and aborts the program if
 * it is not there, as in a chroot: it is loaded beforehand, and where that
 * fails, or no thread can be made, the lock is polled.
 */
#include "wait.h"

#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>

#include "clock.h"
#include "message.h"

struct waiter {
	const struct wait_operation *operation;
	int fd;
	const void *how;
	pthread_t thread;
	sem_t done;
	int result; /* valid after joining the thread, unless it was cancelled */
};

static pthread_once_t cancel_once = PTHREAD_ONCE_INIT;
static bool cancel_works;

static void prepare_cancel(void)
{
	cancel_works = dlopen("libgcc_s.so.1", RTLD_NOW) != NULL;
}

static void *waiter_main(void *argument)
{
	struct waiter *waiter = argument;
	int ignored;

	/* Signals are blocked, but glibc's own (setuid in all threads) are not. */
	do
		waiter->result = waiter->operation->set(waiter->fd, waiter->how, true);
	while (waiter->result == -EINTR);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
	sem_post(&waiter->done);
	return waiter;
}

static int waiter_start(struct waiter *waiter)
{
	enum { STACK_SIZE = 256 * 1024 };
	pthread_attr_t attributes;
	sigset_t all;

	pthread_once(&cancel_once, prepare_cancel);
	if (!cancel_works)
		return -EAGAIN;
	if (pthread_attr_init(&attributes) != 0)
		return -EAGAIN;
	sigfillset(&all);
	pthread_attr_setsigmask_np(&attributes, &all);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	int result = pthread_create(&waiter->thread, &attributes, waiter_main, waiter);
	pthread_attr_destroy(&attributes);
	return -result;
}

/* Ends the wait and says how it ended: 0 or an error of set(), or -ECANCELED
 * if it is not known whether the lock was granted. */
static int waiter_stop(struct waiter *waiter)
{
	void *ended;

	pthread_cancel(waiter->thread);
	pthread_join(waiter->thread, &ended);
	return ended == PTHREAD_CANCELED ? -ECANCELED : waiter->result;
}

struct undo {
	const struct wait_operation *operation;
	int fd;
	const void *before;
	struct waiter *waiter; /* NULL: the caller waits by itself */
};

/* The caller's thread is being cancelled in its wait. */
static void undo_wait(void *argument)
{
	struct undo *undo = argument;

	if (undo->waiter) {
		waiter_stop(undo->waiter);
		sem_destroy(&undo->waiter->done);
	}
	undo->operation->restore(undo->fd, undo->before);
}

static int wait_by_thread(const struct wait_operation *operation, int fd, const void *how,
			  const void *before, int64_t deadline, int cancel_state)
{
	struct waiter waiter = {.operation = operation, .fd = fd, .how = how};
	struct timespec until = clock_timespec(deadline);
	int ignored, result;

	sem_init(&waiter.done, 0, 0);
	result = waiter_start(&waiter);
	if (result < 0) {
		sem_destroy(&waiter.done);
		return result == -EPERM || result == -EINVAL ? -EAGAIN : result;
	}
	struct undo undo = {operation, fd, before, &waiter};
	pthread_cleanup_push(undo_wait, &undo);
	pthread_setcancelstate(cancel_state, &ignored);
	result = sem_clockwait(&waiter.done, CLOCK_MONOTONIC, &until) < 0 ? -errno : 0;
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
	pthread_cleanup_pop(0);

	int ended = waiter_stop(&waiter);
	sem_destroy(&waiter.done);
	if (ended != -ECANCELED)
		return ended; /* at the last moment, perhaps */
	operation->restore(fd, before);
	return result;
}

int wait_by_polling(const struct wait_operation *operation, int fd, const void *how,
		    int64_t deadline, int cancel_state)
{
	int64_t pause = RELOCK_MILLISECOND / 2;
	int ignored, result;

	debug("polling");
	while ((result = operation->set(fd, how, false)) == -EAGAIN) {
		int64_t left = deadline - clock_now(CLOCK_MONOTONIC);
		if (left <= 0)
			return -ETIMEDOUT;
		struct timespec span = clock_timespec(left < pause ? left : pause);
		pthread_setcancelstate(cancel_state, &ignored);
		int interrupted = clock_nanosleep(CLOCK_MONOTONIC, 0, &span, NULL);
		pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
		if (interrupted)
			return -interrupted;
		if (pause < 5 * RELOCK_MILLISECOND)
			pause += pause / 2;
	}
	return result;
}

static int wait_by_oneself(const struct wait_operation *operation, int fd, const void *how,
			   const void *before, int cancel_state)
{
	struct undo undo = {operation, fd, before, NULL};
	int ignored, result;

	pthread_cleanup_push(undo_wait, &undo);
	pthread_setcancelstate(cancel_state, &ignored);
	result = operation->set(fd, how, true);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
	pthread_cleanup_pop(0);
	return result;
}

int wait_for(const struct wait_operation *operation, int fd, const void *how, const void *before,
	     int64_t deadline, int cancel_state)
{
	if (deadline == INT64_MAX)
		return wait_by_oneself(operation, fd, how, before, cancel_state);
	int result = wait_by_thread(operation, fd, how, before, deadline, cancel_state);
	if (result == -EAGAIN) /* no thread to wait with */
		return wait_by_polling(operation, fd, how, deadline, cancel_state);
	return result;
}
