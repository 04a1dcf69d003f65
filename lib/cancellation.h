/*
 * Cancellation is off in the library but for waits: a thread that ends in the
 * middle of it would leave mutexes and descriptors behind.  Each public
 * function that does more than look at its handle begins with
 *
 *	WITHOUT_CANCELLATION;
 *
 * after which `cancel_state` is what the caller had.
 */
#pragma once

#include <pthread.h>

static inline int cancellation_off(void)
{
	int state;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
	return state;
}

static inline void cancellation_as_it_was(int *state)
{
	pthread_setcancelstate(*state, NULL);
}

#define WITHOUT_CANCELLATION                                                                       \
	__attribute__((cleanup(cancellation_as_it_was), unused)) int cancel_state =                \
		cancellation_off()
