/* See ownership.h. */
#include "ownership.h"

#include "description.h"
#include "held.h"
#include "spans.h"

struct gap {
	struct locked_file *file;
	off_t first;
};

static bool forget_gap(void *argument, const struct flock *held)
{
	struct gap *gap = argument;
	bool has_room = spans_reserve();

	if (has_room && held->l_start > gap->first)
		spans_assign(&gap->file->spans, gap->first, held->l_start - 1, 0);
	/* Behind the last byte that there can be there is no gap. */
	gap->first = has_room && held->l_len != 0 ? shim_held_last(held) + 1 : -1;
	return gap->first > 0;
}

/* Nobody has a byte that is not locked. */
static void forget_unlocked(struct locked_file *file)
{
	struct gap gap = {.file = file};

	if (shim_held_each(atomic_load(&file->fd), forget_gap, &gap) == 0 && gap.first >= 0 &&
	    spans_reserve())
		spans_assign(&file->spans, gap.first, INT64_MAX, 0);
}

/* From the only open that has locked to one of several: what is locked is its.
 * Also if its last descriptor is being closed by another thread, which is going
 * to look for it then. */
static void begin_spans(struct locked_file *file, uint32_t sole)
{
	if (!spans_reserve())
		return;
	atomic_store(&file->sole, LOCKED_BY_MANY);
	spans_assign(&file->spans, 0, INT64_MAX, sole);
	forget_unlocked(file);
}

void shim_ownership_admit(struct locked_file *file, uint32_t open)
{
	uint32_t sole = atomic_load(&file->sole);

	if (sole == 0)
		atomic_store(&file->sole, open);
	else if (sole != open && sole != LOCKED_BY_MANY)
		begin_spans(file, sole);
}

void shim_ownership_note(struct locked_file *file, off_t first, off_t last, uint32_t open)
{
	if (atomic_load(&file->sole) == LOCKED_BY_MANY && spans_reserve())
		spans_assign(&file->spans, first, last, open);
}

void shim_ownership_review(struct locked_file *file, off_t first, off_t last, uint32_t open)
{
	if (open)
		shim_ownership_note(file, first, last, open);
	if (atomic_load(&file->sole) == LOCKED_BY_MANY)
		forget_unlocked(file);
}

/* All that is left belongs to one open: then it is the only one again. */
static void look_for_sole_owner(struct locked_file *file)
{
	uint32_t open = file->spans ? span_at(file->spans)->open : 0;

	for (uint32_t number = file->spans; number; number = span_at(number)->next)
		if (span_at(number)->open != open)
			return;
	spans_free(&file->spans);
	atomic_store(&file->sole, open);
}

static void give_back_spans(struct locked_file *file, uint32_t open)
{
	int fd = atomic_load(&file->fd);

	for (uint32_t number = file->spans; number;) {
		struct span span = *span_at(number);
		if (span.open == open) {
			shim_description_unlock(fd, span.first, span.last);
			spans_assign(&file->spans, span.first, span.last, 0);
		}
		number = span.next;
	}
	look_for_sole_owner(file);
}

void shim_ownership_give_back(struct locked_file *file, uint32_t open)
{
	uint32_t sole = atomic_load(&file->sole);

	if (file->kind != LOCKED_BY_PROCESS)
		return;
	if (sole == LOCKED_BY_MANY) {
		give_back_spans(file, open);
	} else if (sole == open) {
		shim_description_unlock(atomic_load(&file->fd), 0, INT64_MAX);
		atomic_store(&file->sole, 0);
	}
}
