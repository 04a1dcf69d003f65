/*
 * Plans: a seed makes one, always the same.
 *
 * A plan is made by playing it through in a model of `process` semantics, so
 * that its steps make sense there: locks through descriptors that are open, no
 * call by a thread that waits, signals for those that do.  What it is then
 * carried out as, natively or under the shim, is not its business; a step that
 * makes no sense in the end is left out by the run.
 */
#pragma once

#include "differential-step.h"

enum { STEPS_MAX = 1000 };

struct plan {
	uint64_t seed;
	unsigned beginners;      /* actors that are there from the start */
	bool under_shim[ACTORS]; /* ... in a mixed run */
	size_t count;
	struct step steps[STEPS_MAX];
	bool is_left_out[STEPS_MAX]; /* by the shrinker, or --only */
};

void plan_make(uint64_t seed, size_t steps, struct plan *ret);
uint64_t random_next(uint64_t *state);
