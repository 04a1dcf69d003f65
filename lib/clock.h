/*
 * Moments and deadlines.
 *
 * A moment is nanoseconds since the epoch (CLOCK_REALTIME): for people, and
 * for tokens.  A deadline is CLOCK_MONOTONIC: a wait neither ends early nor
 * late because somebody set the clock.
 */
#pragma once

#include <stdint.h>
#include <time.h>

#include "relock.h"

static inline int64_t clock_now(clockid_t clock)
{
	struct timespec now;

	clock_gettime(clock, &now);
	return now.tv_sec * RELOCK_SECOND + now.tv_nsec;
}

static inline int64_t moment_now(void)
{
	return clock_now(CLOCK_REALTIME);
}

/* The deadline of a timeout that starts now; INT64_MAX for RELOCK_FOREVER and
 * for timeouts beyond what the clock can count to (292 years). */
static inline int64_t deadline_after(int64_t timeout)
{
	int64_t deadline;

	if (timeout < 0 || __builtin_add_overflow(clock_now(CLOCK_MONOTONIC), timeout, &deadline))
		return INT64_MAX;
	return deadline;
}

static inline struct timespec clock_timespec(int64_t nanoseconds)
{
	return (struct timespec){.tv_sec = nanoseconds / RELOCK_SECOND,
				 .tv_nsec = nanoseconds % RELOCK_SECOND};
}
