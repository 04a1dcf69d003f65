/*
 * The model's waits: who waits for whom, and what ends it.
 *
 * The kernel's search for a deadlock (posix_locks_deadlock() in fs/locks.c)
 * starts at the first lock that is in the way, goes to what one thread of its
 * owner waits for, and so on.  Where several locks are in the way, or several
 * threads wait, it depends on their order which way it goes.  So a refusal
 * must come if all ways lead back to the process that asks, and may come if
 * one does.  A wait can be refused later, too: the search is made anew each
 * time that the waiter is woken in vain.  By then it may go a wrong way: a
 * waiter is kept in line behind another whose request is in its way, and looks
 * as if it waited for that one's process while both are being woken.
 *
 * And one that is in line behind the request of an open file description is not
 * seen at all: an open file description is no process, so who waits for one is
 * not put where the search looks (__locks_insert_block()), whoever holds the lock
 * at the head of the line.  So two processes outside the shim that cross may wait
 * for ever while one under it is in line between them; bare F_OFD_SETLKW does the
 * same to them.
 */
#include "differential-model.h"

#include <errno.h>

enum certainty { BY_ALL_WAYS, BY_ANY_WAY, BY_ANY_LINE };

/* Whether the ways from what `wait` waits for lead to `asker`.  `seen` has a
 * bit for each actor on the way here. */
static bool leads_back(const struct model *model, const struct model_wait *wait, int asker,
		       enum certainty certainty, unsigned seen);

/* The request of a process outside the shim is, or may be, in line behind one of a
 * process under it. */
static bool may_be_unseen(const struct model *model, const struct model_wait *wait)
{
	if (model->actors[wait->request.actor].column != COLUMN_LEGACY)
		return false;
	for (int i = 0; i < ACTORS * THREADS; i++) {
		const struct model_wait *other = &model->actors[i / THREADS].waits[i % THREADS];
		if (other->is_waiting && other->file == wait->file &&
		    model->actors[other->request.actor].column != COLUMN_LEGACY &&
		    ranges_conflict(&other->request, &wait->request))
			return true;
	}
	return false;
}

/* The same from a process, by what its threads wait for. */
static bool is_stuck(const struct model *model, int holder, int asker, enum certainty certainty,
		     unsigned seen)
{
	bool by_all = certainty == BY_ALL_WAYS, has_way = false;

	if (holder == asker)
		return true;
	if (seen & 1U << holder)
		return false;
	for (int i = 0; i < THREADS; i++) {
		const struct model_wait *next = &model->actors[holder].waits[i];
		if (!next->is_waiting)
			continue;
		has_way = !(by_all && may_be_unseen(model, next)) &&
			  leads_back(model, next, asker, certainty, seen | 1U << holder);
		if (has_way != by_all)
			break;
	}
	return has_way;
}

/* A bit for each process whose locks are in the way, or who stands in line
 * with a request that is. */
static unsigned in_the_way(const struct model *model, const struct model_wait *wait, bool in_line)
{
	const struct lock_map *file = &model->files[wait->file];
	unsigned actors = 0;

	for (size_t i = 0; i < file->count; i++)
		if (ranges_conflict(&file->ranges[i], &wait->request))
			actors |= 1U << file->ranges[i].actor;
	for (int i = 0; in_line && i < ACTORS * THREADS; i++) {
		const struct model_wait *other = &model->actors[i / THREADS].waits[i % THREADS];
		if (other->is_waiting && other->file == wait->file &&
		    ranges_conflict(&other->request, &wait->request))
			actors |= 1U << other->request.actor;
	}
	return actors;
}

static bool leads_back(const struct model *model, const struct model_wait *wait, int asker,
		       enum certainty certainty, unsigned seen)
{
	bool by_all = certainty == BY_ALL_WAYS, has_way = false;
	unsigned holders = in_the_way(model, wait, certainty == BY_ANY_LINE);

	for (int i = 0; i < ACTORS; i++) {
		if (!(holders & 1U << i))
			continue;
		/* Neither side sees through the other's locks. */
		if (by_all && model->actors[i].column != model->actors[asker].column)
			return false;
		has_way = is_stuck(model, i, asker, certainty, seen);
		if (has_way != by_all)
			break;
	}
	return has_way;
}

bool model_must_deadlock(const struct model *model, const struct model_wait *wait)
{
	return leads_back(model, wait, wait->request.actor, BY_ALL_WAYS, 0);
}

bool model_may_deadlock(const struct model *model, const struct model_wait *wait)
{
	return leads_back(model, wait, wait->request.actor, BY_ANY_WAY, 0);
}

bool model_may_deadlock_on_waking(const struct model *model, const struct model_wait *wait)
{
	bool is_legacy = model->actors[wait->request.actor].column == COLUMN_LEGACY;

	return leads_back(model, wait, wait->request.actor, is_legacy ? BY_ANY_LINE : BY_ANY_WAY,
			  0);
}

bool model_is_grantable(const struct model *model, const struct model_wait *wait)
{
	return !map_has_conflict(&model->files[wait->file], &wait->request);
}

void model_end_wait(struct model *model, struct model_wait *wait)
{
	wait->is_waiting = false;
	model->opens[wait->request.open].references--;
}

bool model_is_closed(const struct model *model, const struct model_wait *wait)
{
	for (int i = 0; i < SLOTS; i++) {
		const struct model_slot *slot = &model->actors[wait->request.actor].slots[i];
		if (slot->open == wait->request.open && slot->number == wait->fd)
			return false;
	}
	return true;
}

int model_grant(struct model *model, struct model_wait *wait)
{
	struct lock_range granted = wait->request;
	struct lock_map *file = &model->files[wait->file];
	bool is_closed = model_is_closed(model, wait);

	if (is_closed)
		granted.type = F_UNLCK;
	map_set(file, &granted);
	/* Since CVE-2024-41012 the kernel takes this for one more close. */
	if (is_closed && model->actors[granted.actor].column == COLUMN_LEGACY)
		map_drop_actor(file, granted.actor);
	model_end_wait(model, wait);
	return is_closed ? EBADF : 0;
}
