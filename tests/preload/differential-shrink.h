/*
 * Makes a plan with a difference as short as it gets: steps are left out, at
 * first many at a time, as long as there still is a difference.  It need not
 * be the same one.  Whatever it takes, not much longer than `seconds`.
 */
#pragma once

#include "differential-run.h"

void shrink(struct cast *cast, const struct settings *settings, struct plan *plan,
	    struct difference *difference, unsigned seconds);
