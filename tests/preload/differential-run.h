/*
 * A run: a plan carried out by players, and held against the model step by
 * step.
 *
 * After each step three things have to be as the model says: what the call
 * returned, who of those that wait goes on and with what, and what an outsider
 * sees of each file, byte by byte.
 */
#pragma once

#include "differential-cast.h"
#include "differential-plan.h"

enum mode { MODE_NATIVE, MODE_SHIM, MODE_MIXED };

struct settings {
	enum mode mode;
	/* The model of the other column: to see that it would be noticed. */
	bool has_wrong_model;
	bool is_verbose;
	size_t steps; /* of each plan */
};

struct difference {
	bool is_found;
	size_t step;
	char text[1200];
	char files[2400];   /* who has locked what, as it must be and as it is */
	char players[8000]; /* what they do */
};

/* Returns false, so that a check can end with it. */
bool difference_note(struct difference *ret, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* How many steps made sense; those that did not are marked as left out. */
size_t run_plan(struct cast *cast, const struct settings *settings, struct plan *plan,
		struct difference *ret);
