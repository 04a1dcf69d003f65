#include "promise.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <time.h>

#include "ledger.h"

/* Promises are few and short-lived: as many as there are threads between two
 * requests of one open(2).  The bound is for those who were killed there. */
enum { MOST = 4096, LAPSE_SECONDS = 10 };

struct promise {
	TAILQ_ENTRY(promise) in_order;
	pid_t thread;
	uid_t uid;
	time_t made;
	struct ledger_promise *kept;
	char name[];
};

struct promises {
	TAILQ_HEAD(list, promise) list; /* oldest first */
	size_t count;
	struct ledger *ledger;
};

static time_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
	return time.tv_sec;
}

/* The oldest goes: there are a few at a time, see above. */
static struct ledger_promise *keep(struct ledger *ledger, const struct promise *promise)
{
	struct ledger_head *head;

	if (!ledger)
		return NULL;
	head = ledger_head(ledger);
	struct ledger_promise *slot = &head->promises[head->next_promise++ % LEDGER_PROMISES];
	slot->made = 0;
	ledger_write_order();
	slot->thread = promise->thread;
	slot->uid = promise->uid;
	strncpy(slot->name, promise->name, sizeof slot->name - 1);
	ledger_write_order();
	slot->made = (uint64_t)promise->made;
	return slot;
}

static struct promise *add(struct promises *promises, pid_t thread, uid_t uid, time_t made,
			   const char *name)
{
	struct promise *promise = malloc(sizeof *promise + strlen(name) + 1);

	if (!promise)
		return NULL;
	promise->thread = thread;
	promise->uid = uid;
	promise->made = made;
	promise->kept = NULL;
	strcpy(promise->name, name);
	TAILQ_INSERT_TAIL(&promises->list, promise, in_order);
	promises->count++;
	return promise;
}

static void restore(struct promises *promises)
{
	struct ledger_head *head = ledger_head(promises->ledger);

	for (size_t i = 0; i < LEDGER_PROMISES; i++) {
		struct ledger_promise *slot = &head->promises[i];
		struct promise *promise = slot->made ? add(promises, slot->thread, slot->uid,
							   (time_t)slot->made, slot->name)
						     : NULL;
		if (promise)
			promise->kept = slot;
	}
}

struct promises *promises_new(struct ledger *ledger)
{
	struct promises *promises = calloc(1, sizeof *promises);

	if (!promises)
		return NULL;
	TAILQ_INIT(&promises->list);
	promises->ledger = ledger;
	if (ledger)
		restore(promises);
	return promises;
}

static bool is_of(const struct ledger_promise *slot, const struct promise *promise)
{
	return slot->thread == promise->thread && slot->uid == promise->uid &&
	       slot->made == (uint64_t)promise->made && strcmp(slot->name, promise->name) == 0;
}

static void drop(struct promises *promises, struct promise *promise)
{
	/* Its slot may be another's by now. */
	if (promise->kept && is_of(promise->kept, promise))
		promise->kept->made = 0;
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

/* A thread has one promise at most, but that of number 0 many. */
static struct promise *find(const struct promises *promises, pid_t thread, uid_t uid,
			    const char *name)
{
	struct promise *promise;

	TAILQ_FOREACH_REVERSE(promise, &promises->list, list, in_order)
	if (promise->thread == thread && promise->uid == uid &&
	    (thread != 0 || strcmp(promise->name, name) == 0))
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
	promise = find(promises, thread, uid, name);
	/* Threads that cannot be seen are all number 0: each gets its own. */
	if (promise && thread != 0) {
		bool again = strcmp(promise->name, name) == 0;
		drop(promises, promise);
		if (again)
			return false;
	}
	promise = add(promises, thread, uid, now(), name);
	if (!promise)
		return false;
	promise->kept = keep(promises->ledger, promise);
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

void promise_end(struct promises *promises, pid_t thread, uid_t uid, const char *name)
{
	struct promise *promise = find(promises, thread, uid, name);

	if (promise)
		drop(promises, promise);
}
