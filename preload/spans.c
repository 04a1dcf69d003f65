/* See spans.h. */
#include "spans.h"

#include "apart.h"
#include "pool.h"

static struct pool_tables tables SHIM_APART;
static struct pool pool = {.tables = &tables};

static struct span *at(uint32_t number)
{
	return pool_at(&pool, sizeof(struct span), number);
}

const struct span *span_at(uint32_t number)
{
	return at(number);
}

bool spans_reserve(void)
{
	/* The new one, and what is left behind it of one that it splits. */
	return pool_reserve(&pool, sizeof(struct span), 2);
}

static uint32_t make(struct span span)
{
	uint32_t number = pool_take(&pool, sizeof(struct span));

	*at(number) = span;
	return number;
}

static void remove_at(uint32_t *link)
{
	uint32_t number = *link;

	*link = at(number)->next;
	pool_give_back(&pool, sizeof(struct span), number);
}

/* Takes the bytes away from whoever has them.  Returns where a span of exactly
 * these bytes is to be put in. */
static uint32_t *clear(uint32_t *list, off_t first, off_t last)
{
	uint32_t *link = list;

	while (*link && at(*link)->last < first)
		link = &at(*link)->next;
	if (*link && at(*link)->first < first) {
		struct span *cut = at(*link);
		off_t cut_last = cut->last;
		cut->last = first - 1;
		link = &cut->next;
		if (cut_last > last) {
			*link = make((struct span){.next = cut->next,
						   .open = cut->open,
						   .first = last + 1,
						   .last = cut_last});
			return link;
		}
	}
	while (*link && at(*link)->last <= last)
		remove_at(link);
	if (*link && at(*link)->first <= last)
		at(*link)->first = last + 1;
	return link;
}

/* Two neighbours of one open are one span. */
static void join_with_next(struct span *span)
{
	if (!span->next || at(span->next)->open != span->open ||
	    at(span->next)->first != span->last + 1)
		return;
	span->last = at(span->next)->last;
	remove_at(&span->next);
}

void spans_assign(uint32_t *list, off_t first, off_t last, uint32_t open)
{
	uint32_t *link = clear(list, first, last);

	if (!open)
		return;
	*link = make((struct span){.next = *link, .open = open, .first = first, .last = last});
	join_with_next(at(*link));
	for (uint32_t before = *list; before && at(before)->last < first; before = at(before)->next)
		if (at(before)->last + 1 == first) {
			join_with_next(at(before));
			break;
		}
}

void spans_free(uint32_t *list)
{
	while (*list)
		remove_at(list);
}

void spans_reset(void)
{
	pool_reset(&pool);
}
