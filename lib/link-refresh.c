/*
 * Refreshing holds: setting the end of their lifetime again, three times in each.
 *
 * One thread serves all holds of the process, with all signals blocked.  It is made
 * for the first of them, and ends when there have been none for a second.  It is woken
 * only for a hold that is due before it would wake by itself, so that a pair of
 * acquire and release pays for an entry in a list.  That it is a thread of the holder is the point:
 * where the process is dead, stopped or without its processor, nobody refreshes.  Time counts by
 * CLOCK_BOOTTIME, which goes on while the machine sleeps.
 *
 * Where no thread can be had the lock is not refreshed, and RELOCK_DEBUG says so.
 *
 * `mutex` guards the list and what is marked so in struct link_refreshed.  It is
 * not held while a file is touched, which may take long on a server that does not
 * answer: meanwhile the hold is busy, and its release waits for that, and for no
 * other.  Lock order: a handle's mutex, or that of fork.c, then this one.
 */
#include "link-refresh.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "clock.h"
#include "link-store.h"
#include "message.h"

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed; /* the list, or what is due; by CLOCK_MONOTONIC */
static pthread_cond_t idle = PTHREAD_COND_INITIALIZER; /* a hold is not busy any more */
static struct link_refreshed *first;                   /* mutex */
static bool is_running;                                /* mutex: there is a thread */
static int64_t wakes_at;                               /* mutex: CLOCK_BOOTTIME */
static pthread_once_t once = PTHREAD_ONCE_INIT;

int link_extend(int dir_fd, const char *name, const struct link_term *term, int64_t lifetime)
{
	const struct claim *claim = &term->claim;
	int64_t end;

	if (__builtin_add_overflow(moment_now() + term->clock_ahead, lifetime, &end))
		end = INT64_MAX;
	int result = claim_set_time(claim, end);
	if (result < 0)
		return result;
	/* After the touch: who breaks the lock looks in the other order. */
	result = claim_is_at(dir_fd, claim->name, claim->device, claim->inode);
	if (result <= 0)
		return result < 0 ? result : -ESTALE;
	if (term->since)
		link_record_extend(dir_fd, name, term->since, lifetime);
	return 0;
}

static int64_t interval_of(const struct link_term *term)
{
	int64_t third = term->lifetime / 3;

	return third > RELOCK_MILLISECOND ? third : RELOCK_MILLISECOND;
}

static struct link_refreshed *earliest(void)
{
	struct link_refreshed *found = first;

	for (struct link_refreshed *at = first; at; at = at->next)
		if (at->due < found->due)
			found = at;
	return found;
}

static void take_off(struct link_refreshed *refreshed)
{
	if (refreshed->previous)
		refreshed->previous->next = refreshed->next;
	else
		first = refreshed->next;
	if (refreshed->next)
		refreshed->next->previous = refreshed->previous;
	refreshed->is_listed = false;
}

/* With the mutex, but not while the file is touched. */
static void refresh(struct link_refreshed *refreshed)
{
	const struct link_term *term = &refreshed->term;

	refreshed->is_busy = true;
	pthread_mutex_unlock(&mutex);
	int result = link_extend(refreshed->dir_fd, refreshed->name, term, term->lifetime);
	if (result < 0)
		debug("%s: not refreshed: %s", refreshed->name, strerrorname_np(-result));
	pthread_mutex_lock(&mutex);
	refreshed->is_busy = false;
	refreshed->due = clock_now(CLOCK_BOOTTIME) + interval_of(term);
	if (result == -ESTALE)
		take_off(refreshed);
	pthread_cond_broadcast(&idle);
}

/* A machine that sleeps stops CLOCK_MONOTONIC, not the other. */
static void sleep_until(int64_t due)
{
	int64_t left = due - clock_now(CLOCK_BOOTTIME);
	struct timespec until = clock_timespec(clock_now(CLOCK_MONOTONIC) + left);

	wakes_at = due;
	pthread_cond_timedwait(&changed, &mutex, &until);
}

static void *refresh_all(void *argument)
{
	bool is_idle = false;

	pthread_mutex_lock(&mutex);
	while (first || !is_idle) {
		struct link_refreshed *next = earliest();
		int64_t now = clock_now(CLOCK_BOOTTIME);
		/* One that has been idle for a second ends. */
		is_idle = !next;
		if (next && next->due <= now)
			refresh(next);
		else
			sleep_until(next ? next->due : now + RELOCK_SECOND);
	}
	is_running = false;
	pthread_mutex_unlock(&mutex);
	return NULL;
}

/* With the mutex. */
static void start(void)
{
	enum { STACK_SIZE = 256 * 1024 };
	pthread_attr_t attributes;
	pthread_t thread;
	sigset_t all;

	if (is_running || pthread_attr_init(&attributes) != 0)
		return;
	sigfillset(&all);
	pthread_attr_setsigmask_np(&attributes, &all);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	int error = pthread_create(&thread, &attributes, refresh_all, NULL);
	pthread_attr_destroy(&attributes);
	is_running = error == 0;
	wakes_at = INT64_MIN; /* it looks by itself first */
	if (error)
		debug("no thread, so locks are not refreshed: %s", strerrorname_np(error));
}

static void init_changed(void)
{
	pthread_condattr_t attributes;

	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&changed, &attributes);
	pthread_condattr_destroy(&attributes);
}

void link_refresh_before_fork(void)
{
	pthread_mutex_lock(&mutex);
}

void link_refresh_in_parent(void)
{
	pthread_mutex_unlock(&mutex);
}

/* No thread, and no hold, has come along. */
void link_refresh_in_child(void)
{
	first = NULL;
	is_running = false;
	pthread_cond_init(&idle, NULL);
	init_changed();
	/* Taken by link_refresh_before_fork(), in the thread that this one is a copy of. */
	pthread_mutex_unlock(&mutex);
}

void link_refresh_begin(relock_lock *relock)
{
	struct link_lock *lock = link_lock_of(relock);
	struct link_refreshed *refreshed = &lock->refreshed;

	pthread_once(&once, init_changed);
	refreshed->term = lock->term;
	refreshed->dir_fd = link_store_of(relock->store)->dir_fd;
	refreshed->name = relock->name;
	refreshed->is_on = true;
	refreshed->due = clock_now(CLOCK_BOOTTIME) + interval_of(&lock->term);
	pthread_mutex_lock(&mutex);
	refreshed->is_busy = false;
	refreshed->is_listed = true;
	refreshed->previous = NULL;
	refreshed->next = first;
	if (first)
		first->previous = refreshed;
	first = refreshed;
	start();
	if (refreshed->due < wakes_at)
		pthread_cond_signal(&changed);
	pthread_mutex_unlock(&mutex);
}

void link_refresh_end(struct link_lock *lock)
{
	struct link_refreshed *refreshed = &lock->refreshed;

	if (!refreshed->is_on)
		return;
	pthread_mutex_lock(&mutex);
	while (refreshed->is_busy)
		pthread_cond_wait(&idle, &mutex);
	if (refreshed->is_listed)
		take_off(refreshed);
	pthread_mutex_unlock(&mutex);
	refreshed->is_on = false;
}

void link_refresh_forget(struct link_lock *lock)
{
	memset(&lock->refreshed, 0, sizeof lock->refreshed);
}
