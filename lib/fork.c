/*
 * All handles are in a list, which the child of a fork walks, by
 * pthread_atfork(): it forgets what each holds, but for those that shall be
 * inherited.
 *
 * Lock order: a handle's mutex may be held when the list's is taken, never the
 * other way round.  The handles' mutexes are not taken around the fork: a
 * thread may hold one, and its copy stays locked in a child that has no such
 * thread; so the child makes them anew.  What such a thread had half done to
 * the handle does not matter: the child closes its descriptor, and starts anew.
 */
#include "fork.h"

#include <pthread.h>
#include <unistd.h>

#include "link-refresh.h"
#include "message.h"
#include "process.h"
#include "store.h"

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_mutex_t list_mutex = PTHREAD_MUTEX_INITIALIZER;
static relock_lock *first; /* list_mutex */

static void before_fork(void)
{
	pthread_mutex_lock(&list_mutex);
	link_refresh_before_fork();
}

static void in_parent(void)
{
	link_refresh_in_parent();
	pthread_mutex_unlock(&list_mutex);
}

static void in_child(void)
{
	message_after_fork();
	process_forget_self();
	link_refresh_in_child();
	for (relock_lock *lock = first; lock; lock = lock->next) {
		pthread_mutex_init(&lock->mutex, NULL);
		lock->waiting = false;
		if (lock->held && lock->flags & RELOCK_INHERIT)
			continue;
		lock->held = false;
		lock->store->operations->forget(lock);
	}
	/* Taken by before_fork(), in the thread that this one is a copy of. */
	pthread_mutex_unlock(&list_mutex);
}

static void register_handlers(void)
{
	pthread_atfork(before_fork, in_parent, in_child);
}

/*
 * A lock that the kernel does not free is given back by who ends in an ordinary
 * way.  Threads may still run; a handle that one of them is busy with is left as
 * it is.  A child by raw clone(2) has a copy of all this, and no hold.
 */
__attribute__((destructor)) static void at_exit(void)
{
	pthread_mutex_lock(&list_mutex);
	for (relock_lock *lock = first; lock; lock = lock->next) {
		if (!lock->store->operations->at_exit || pthread_mutex_trylock(&lock->mutex) != 0)
			continue;
		if (process_self()->pid == getpid())
			lock->store->operations->at_exit(lock);
		pthread_mutex_unlock(&lock->mutex);
	}
	pthread_mutex_unlock(&list_mutex);
}

void fork_enter(relock_lock *lock)
{
	pthread_once(&once, register_handlers);
	pthread_mutex_lock(&list_mutex);
	lock->previous = NULL;
	lock->next = first;
	if (first)
		first->previous = lock;
	first = lock;
	pthread_mutex_unlock(&list_mutex);
}

void fork_prevent(void)
{
	pthread_mutex_lock(&list_mutex);
}

void fork_allow(void)
{
	pthread_mutex_unlock(&list_mutex);
}

void fork_leave(relock_lock *lock)
{
	pthread_mutex_lock(&list_mutex);
	if (lock->previous)
		lock->previous->next = lock->next;
	else
		first = lock->next;
	if (lock->next)
		lock->next->previous = lock->previous;
	pthread_mutex_unlock(&list_mutex);
}
