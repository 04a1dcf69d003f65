#include "errand.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <unistd.h>

STAILQ_HEAD(errand_list, errand);

struct errands {
	int event;
	/* The session thread's: of an errand that may be sent again. */
	struct ledger *ledger;
	struct ledger_errand *finishing;
	pthread_t thread;
	pthread_mutex_t mutex; /* guards the rest */
	pthread_cond_t work;
	struct errand_list due, back;
	bool end;
};

static struct errand *next_due(struct errands *errands)
{
	struct errand *errand = NULL;

	pthread_mutex_lock(&errands->mutex);
	while (!errands->end && STAILQ_EMPTY(&errands->due))
		pthread_cond_wait(&errands->work, &errands->mutex);
	if (!errands->end) {
		errand = STAILQ_FIRST(&errands->due);
		STAILQ_REMOVE_HEAD(&errands->due, next);
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

int errands_start(struct errands **ret, int event, struct ledger *ledger)
{
	struct errands *errands = calloc(1, sizeof *errands);
	sigset_t all, before;

	if (!errands)
		return -ENOMEM;
	errands->event = event;
	errands->ledger = ledger;
	pthread_mutex_init(&errands->mutex, NULL);
	pthread_cond_init(&errands->work, NULL);
	STAILQ_INIT(&errands->due);
	STAILQ_INIT(&errands->back);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int result = pthread_create(&errands->thread, NULL, errands_main, errands);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (result != 0) {
		pthread_cond_destroy(&errands->work);
		pthread_mutex_destroy(&errands->mutex);
		free(errands);
		return -result;
	}
	*ret = errands;
	return 0;
}

void errands_add(struct errands *errands, struct errand *errand)
{
	errand->result = -ENODEV;
	errand->kept = errands->finishing;
	errands->finishing = NULL;
	if (!errand->kept)
		errand->kept = ledger_add_errand(errands->ledger, errand->is_break);
	pthread_mutex_lock(&errands->mutex);
	STAILQ_INSERT_TAIL(&errands->due, errand, next);
	pthread_cond_signal(&errands->work);
	pthread_mutex_unlock(&errands->mutex);
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
	pthread_cond_signal(&errands->work);
	pthread_mutex_unlock(&errands->mutex);
	pthread_join(errands->thread, NULL);
	finish_all(errands, &errands->back);
	finish_all(errands, &errands->due);
	pthread_cond_destroy(&errands->work);
	pthread_mutex_destroy(&errands->mutex);
	free(errands);
}
