/* See differential-shrink.h. */
#include "differential-shrink.h"

#include <stdlib.h>
#include <time.h>

struct shrinking {
	struct cast *cast;
	struct settings settings;
	struct plan *plan;
	struct difference *difference;
	time_t end;
};

/* Leaves out `length` of the steps that are left, from the `from`th. */
static bool leave_out(struct plan *plan, size_t from, size_t length)
{
	size_t at = 0, count = 0;

	for (size_t i = 0; i < plan->count; i++) {
		if (plan->is_left_out[i])
			continue;
		if (at >= from && at < from + length) {
			plan->is_left_out[i] = true;
			count++;
		}
		at++;
	}
	return count > 0;
}

static size_t count_steps(const struct plan *plan)
{
	size_t count = 0;

	for (size_t i = 0; i < plan->count; i++)
		count += !plan->is_left_out[i];
	return count;
}

/* Whether a shorter plan still has a difference; then that is the plan. */
static bool try(struct shrinking *shrinking, struct plan *shorter)
{
	struct difference difference;

	run_plan(shrinking->cast, &shrinking->settings, shorter, &difference);
	if (!difference.is_found)
		return false;
	shorter->count = difference.step + 1;
	*shrinking->plan = *shorter;
	*shrinking->difference = difference;
	return true;
}

/* From the end to the beginning; true if something could be left out. */
static bool pass(struct shrinking *shrinking, struct plan *shorter, size_t length)
{
	bool is_shorter = false;

	for (size_t from = count_steps(shrinking->plan); from > 0 && time(NULL) < shrinking->end;) {
		from = from > length ? from - length : 0;
		*shorter = *shrinking->plan;
		if (leave_out(shorter, from, length))
			is_shorter |= try(shrinking, shorter);
	}
	return is_shorter;
}

void shrink(struct cast *cast, const struct settings *settings, struct plan *plan,
	    struct difference *difference, unsigned seconds)
{
	struct shrinking shrinking = {.cast = cast,
				      .settings = *settings,
				      .plan = plan,
				      .difference = difference,
				      .end = time(NULL) + seconds};
	struct plan *shorter = malloc(sizeof *shorter);

	if (!shorter)
		abort();
	shrinking.settings.is_verbose = false;
	plan->count = difference->step + 1;
	for (size_t length = count_steps(plan) / 2 + 1; time(NULL) < shrinking.end;) {
		bool is_shorter = pass(&shrinking, shorter, length);
		if (length == 1 && !is_shorter)
			break;
		if (length > 1)
			length /= 2;
	}
	free(shorter);
}
