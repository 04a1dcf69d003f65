#include "errand.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

enum { THREADS_MOST = 8, STACK_SIZE = 256 * 1024 };

STAILQ_HEAD(errand_list, errand);

struct errands {
	int event;
	/* The session thread's: of an errand that may be sent again. */
	struct ledger *ledger;
	struct ledger_errand *finishing;
	size_t most;
	pthread_t threads[THREADS_MOST]; /* the session thread's, with the count */
	size_t thread_count;
	pthread_mutex_t mutex; /* guards the rest */
	pthread_cond_t work;
	size_t due_count, idle_count; /* errands that are due; threads that wait */
	struct errand_list due, back;
	bool end;
};

static struct errand *next_due(struct errands *errands)
{
	struct errand *errand = NULL;

	pthread_mutex_lock(&errands->mutex);
	errands->idle_count++;
	while (!errands->end && STAILQ_EMPTY(&errands->due))
		pthread_cond_wait(&errands->work, &errands->mutex);
	errands->idle_count--;
	if (!errands->end) {
		errand = STAILQ_FIRST(&errands->due);
		STAILQ_REMOVE_HEAD(&errands->due, next);
		errands->due_count--;
	}
	pthread_mutex_unlock(&errands->mutex);
	return errand;
}

static void *errands_main(void *argument)
{
	struct errands *errands = argument;
	struct errand *errand;

	while ((errand = next_due(errands))) {
		errand->run(errand);
		pthread_mutex_lock(&errands->mutex);
		STAILQ_INSERT_TAIL(&errands->back, errand, next);
		pthread_mutex_unlock(&errands->mutex);
		(void)!write(errands->event, &(uint64_t){1}, sizeof(uint64_t));
	}
	return NULL;
}

static int start_thread(struct errands *errands)
{
	pthread_attr_t attributes;
	sigset_t all;

	if (pthread_attr_init(&attributes) != 0)
		return -ENOMEM;
	/* Signals are the session thread's. */
	sigfillset(&all);
	pthread_attr_setsigmask_np(&attributes, &all);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	int result = pthread_create(&errands->threads[errands->thread_count], &attributes,
				    errands_main, errands);
	pthread_attr_destroy(&attributes);
	if (result == 0)
		errands->thread_count++;
	return -result;
}

int errands_start(struct errands **ret, int event, size_t most, struct ledger *ledger)
{
	struct errands *errands = calloc(1, sizeof *errands);

	if (!errands)
		return -ENOMEM;
	errands->event = event;
	errands->ledger = ledger;
	errands->most = most < THREADS_MOST ? most : THREADS_MOST;
	pthread_mutex_init(&errands->mutex, NULL);
	pthread_cond_init(&errands->work, NULL);
	STAILQ_INIT(&errands->due);
	STAILQ_INIT(&errands->back);
	int result = start_thread(errands);
	if (result < 0) {
		pthread_cond_destroy(&errands->work);
		pthread_mutex_destroy(&errands->mutex);
		free(errands);
		return result;
	}
	*ret = errands;
	return 0;
}

void errands_add(struct errands *errands, struct errand *errand)
{
	errand->result = -ENODEV;
	errand->kept = NULL;
	if (!errand->is_for_nobody) {
		errand->kept = errands->finishing;
		errands->finishing = NULL;
		if (!errand->kept)
			errand->kept = ledger_add_errand(errands->ledger, errand->is_break);
	}
	pthread_mutex_lock(&errands->mutex);
	STAILQ_INSERT_TAIL(&errands->due, errand, next);
	errands->due_count++;
	bool all_are_busy = errands->due_count > errands->idle_count;
	pthread_cond_signal(&errands->work);
	pthread_mutex_unlock(&errands->mutex);
	/* If it fails, the errand waits for one of those that are there. */
	if (all_are_busy && errands->thread_count < errands->most)
		(void)start_thread(errands);
}

static void finish_all(struct errands *errands, struct errand_list *list)
{
	while (!STAILQ_EMPTY(list)) {
		struct errand *errand = STAILQ_FIRST(list);
		STAILQ_REMOVE_HEAD(list, next);
		errands->finishing = errand->kept;
		errand->finish(errand);
		ledger_remove_errand(errands->ledger, errands->finishing);
		errands->finishing = NULL;
	}
}

void errands_finish(struct errands *errands)
{
	struct errand_list back = STAILQ_HEAD_INITIALIZER(back);

	pthread_mutex_lock(&errands->mutex);
	STAILQ_CONCAT(&back, &errands->back);
	pthread_mutex_unlock(&errands->mutex);
	finish_all(errands, &back);
}

void errands_end(struct errands *errands)
{
	if (!errands)
		return;
	pthread_mutex_lock(&errands->mutex);
	errands->end = true;
	pthread_cond_broadcast(&errands->work);
	pthread_mutex_unlock(&errands->mutex);
	for (size_t i = 0; i < errands->thread_count; i++)
		pthread_join(errands->threads[i], NULL);
	finish_all(errands, &errands->back);
	finish_all(errands, &errands->due);
	pthread_cond_destroy(&errands->work);
	pthread_mutex_destroy(&errands->mutex);
	free(errands);
}
