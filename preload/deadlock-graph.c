/*
 * See deadlock-graph.h.  Breadth first, each process once; the queue is in the
 * view.
 *
 * Only what leads back to this process is of interest.  A cycle of others is
 * theirs to find, and a want of another thread of this process is no link: the
 * way from the new wait back to what this process holds ends here.  (The
 * kernel's own search for legacy locks does the same, and gives up after ten
 * processes.)
 *
 * Everybody may write into the table of all users, so the work is bounded.  A
 * thousand processes with a thousand locks each are within the bound if they
 * wait for one thing each; beyond it no cycle is found.
 */
#include "deadlock-graph.h"

enum { COMPARISONS_MAX = 8 << 20 };

struct search {
	struct deadlock_view *view;
	size_t reached; /* in the queue */
	uint32_t comparisons;
};

static bool is_in_the_way(const struct deadlock_span *held, const struct deadlock_span *wanted)
{
	return held->inode == wanted->inode && held->device == wanted->device &&
	       held->first <= wanted->last && wanted->first <= held->last &&
	       (held->exclusive || wanted->exclusive);
}

static bool holds_what_is_wanted(struct search *search, const struct deadlock_record *record,
				 const struct deadlock_span *wanted)
{
	const struct deadlock_span *holds = deadlock_holds(record);

	for (uint32_t i = 0; i < record->hold_count; i++) {
		if (++search->comparisons > COMPARISONS_MAX)
			return false;
		if (is_in_the_way(&holds[i], wanted))
			return true;
	}
	return false;
}

static void reach_holders(struct search *search, const struct deadlock_span *wanted)
{
	struct deadlock_view *view = search->view;

	for (size_t i = 0; i < view->count; i++) {
		struct deadlock_node *node = &view->nodes[i];
		if (node->is_reached || !holds_what_is_wanted(search, node->record, wanted))
			continue;
		node->is_reached = true;
		view->queue[search->reached++] = (uint32_t)i;
	}
}

bool deadlock_closes_cycle(struct deadlock_view *view, const struct deadlock_record *self,
			   const struct deadlock_want *own, deadlock_counts *counts, void *argument)
{
	struct search search = {.view = view};

	for (size_t i = 0; i < view->count; i++)
		view->nodes[i].is_reached = false;
	reach_holders(&search, &own->span);
	for (size_t next = 0; next < search.reached; next++) {
		const struct deadlock_record *record = view->nodes[view->queue[next]].record;
		struct deadlock_want *wants = deadlock_wants(record);
		for (uint32_t i = 0; i < record->want_count; i++) {
			if (!counts(view, record, &wants[i], argument))
				continue;
			if (holds_what_is_wanted(&search, self, &wants[i].span))
				return true;
			reach_holders(&search, &wants[i].span);
		}
	}
	return false;
}
