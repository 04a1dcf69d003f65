#include "promise.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

/* Promises are few and short-lived: as many as there are threads between two
 * requests of one open(2).  The bound is for those who were killed there. */
enum { MOST = 4096, LAPSE_SECONDS = 10 };

struct promise {
	TAILQ_ENTRY(promise) in_order;
	pid_t thread;
	uid_t uid;
	time_t made;
	char name[];
};

struct promises {
	TAILQ_HEAD(list, promise) list; /* oldest first */
	size_t count;
};

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
	return time.tv_sec;
}

struct promises *promises_new(void)
{
	struct promises *promises = calloc(1, sizeof *promises);

	if (promises)
		TAILQ_INIT(&promises->list);
	return promises;
}

static void drop(struct promises *promises, struct promise *promise)
{
	TAILQ_REMOVE(&promises->list, promise, in_order);
	promises->count--;
	free(promise);
}

void promises_free(struct promises *promises)
{
	if (!promises)
		return;
	while (!TAILQ_EMPTY(&promises->list))
		drop(promises, TAILQ_FIRST(&promises->list));
	free(promises);
}

static struct promise *find(const struct promises *promises, pid_t thread, uid_t uid)
{
	struct promise *promise;

	TAILQ_FOREACH_REVERSE(promise, &promises->list, list, in_order)
	if (promise->thread == thread && promise->uid == uid)
		return promise;
	return NULL;
}

static bool is_old(const struct promise *promise)
{
	return now() - promise->made > LAPSE_SECONDS;
}

bool promise_make(struct promises *promises, pid_t thread, uid_t uid, const char *name)
{
	struct promise *promise;

	while ((promise = TAILQ_FIRST(&promises->list)) &&
	       (promises->count >= MOST || is_old(promise)))
		drop(promises, promise);
	promise = find(promises, thread, uid);
	/* Threads that cannot be seen are all number 0: each gets its own. */
	if (promise && thread != 0) {
		bool again = strcmp(promise->name, name) == 0;
		drop(promises, promise);
		if (again)
			return false;
	}
	promise = malloc(sizeof *promise + strlen(name) + 1);
	if (!promise)
		return false;
	promise->thread = thread;
	promise->uid = uid;
	promise->made = now();
	strcpy(promise->name, name);
	TAILQ_INSERT_TAIL(&promises->list, promise, in_order);
	promises->count++;
	return true;
}

bool promise_holds(const struct promises *promises, pid_t thread, uid_t uid, const char *name)
{
	const struct promise *promise;

	TAILQ_FOREACH(promise, &promises->list, in_order)
	if (promise->thread == thread && promise->uid == uid && strcmp(promise->name, name) == 0)
		return !is_old(promise);
	return false;
}

void promise_end(struct promises *promises, pid_t thread, uid_t uid)
{
	struct promise *promise = find(promises, thread, uid);

	if (promise)
		drop(promises, promise);
}
