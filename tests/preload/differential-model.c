/*
 * What each step does to the model: actors and descriptors.  Lock calls are in
 * differential-requests.c, what ends a wait is in differential-waits.c.
 */
#include "differential-model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A number that no descriptor of a player ever has. */
enum { BAD_NUMBER = 800 };

static struct model_slot *slot_of(struct model *model, const struct step *step)
{
	return &model->actors[step->actor].slots[step->slot];
}

static struct model_slot *other_of(struct model *model, const struct step *step)
{
	return &model->actors[step->actor].slots[step->other];
}

/* Opens and slots */

static int new_open(struct model *model, const struct step *step)
{
	for (int i = 0; i < OPENS_MAX; i++)
		if (model->opens[i].references == 0) {
			model->opens[i] = (struct model_open){
				.file = step->path % FILES,
				.flags = step->flags,
			};
			return i;
		}
	abort(); /* there are as many as there can be references */
}

/* Its number is yet to be told. */
static void fill_slot(struct model *model, struct model_slot *slot, int open, bool is_cloexec)
{
	model->opens[open].references++;
	*slot = (struct model_slot){.open = open, .number = -1, .is_cloexec = is_cloexec};
}

static bool has_open(const struct model_actor *actor, int open)
{
	for (int i = 0; i < SLOTS; i++)
		if (actor->slots[i].open == open)
			return true;
	return false;
}

/* Rows 4 to 6. */
static void close_slot(struct model *model, int actor, struct model_slot *slot)
{
	int open = slot->open;
	struct lock_map *file = &model->files[model->opens[open].file];

	slot->open = -1;
	if (model->actors[actor].column == COLUMN_LEGACY) {
		/* filp_close(): O_PATH never had anything to do with locks. */
		if (!(model->opens[open].flags & O_PATH))
			map_drop_actor(file, actor);
	} else if (!has_open(&model->actors[actor], open)) {
		map_drop_open(file, actor, open);
	}
	model->opens[open].references--;
}

static bool is_between(const struct model_slot *slot, int first, int last)
{
	return model_slot_is_open(slot) && slot->number >= first && slot->number <= last;
}

static void close_between(struct model *model, int actor, int first, int last)
{
	for (int i = 0; i < SLOTS; i++)
		if (is_between(&model->actors[actor].slots[i], first, last))
			close_slot(model, actor, &model->actors[actor].slots[i]);
}

int model_slot_number(const struct model *model, int actor, int slot)
{
	const struct model_slot *found = &model->actors[actor].slots[slot];

	return model_slot_is_open(found) ? found->number : BAD_NUMBER;
}

bool model_number_is_free(const struct model *model, int actor, int number)
{
	for (int i = 0; i < SLOTS; i++)
		if (is_between(&model->actors[actor].slots[i], number, number))
			return false;
	return true;
}

int model_target_number(const struct model *model, const struct step *step)
{
	const struct model_slot *target = &model->actors[step->actor].slots[step->other];
	int number = step->number;

	if (model_slot_is_open(target))
		return target->number;
	while (!model_number_is_free(model, step->actor, number))
		number++;
	return number;
}

void model_range_numbers(const struct model *model, const struct step *step, int *ret_first,
			 int *ret_last)
{
	int a = model_slot_number(model, step->actor, step->slot);
	int b = model_slot_number(model, step->actor, step->other);

	*ret_first = a < b ? a : b;
	*ret_last = a < b ? b : a;
}

void model_set_number(struct model *model, const struct step *step, int number)
{
	bool is_same_slot = step->kind == STEP_FREOPEN;

	(is_same_slot ? slot_of(model, step) : other_of(model, step))->number = number;
}

/* Actors */

void model_add_actor(struct model *model, int actor, enum column column)
{
	struct model_actor *added = &model->actors[actor];

	*added = (struct model_actor){.is_alive = true, .column = column};
	for (int i = 0; i < SLOTS; i++)
		added->slots[i].open = -1;
}

static void end_waits(struct model *model, int actor)
{
	for (int i = 0; i < THREADS; i++)
		if (model->actors[actor].waits[i].is_waiting)
			model_end_wait(model, &model->actors[actor].waits[i]);
}

static void end_actor(struct model *model, int actor)
{
	end_waits(model, actor);
	close_between(model, actor, 0, BAD_NUMBER);
	for (int i = 0; i < FILES; i++)
		map_drop_actor(&model->files[i], actor);
	model->actors[actor].is_alive = false;
}

static bool survives(const struct step *step, int slot, const struct model_slot *descriptor)
{
	if (!model_slot_is_open(descriptor))
		return false;
	if (step->kind == STEP_FORK)
		return true;
	return !descriptor->is_cloexec && !(step->flags & SPAWN_CLOSES && step->slot == slot);
}

static void inherit(struct model *model, const struct step *step)
{
	for (int i = 0; i < SLOTS; i++) {
		const struct model_slot *from = &model->actors[step->actor].slots[i];
		struct model_slot *to = &model->actors[step->newcomer].slots[i];
		if (!survives(step, i, from))
			continue;
		fill_slot(model, to, from->open, from->is_cloexec);
		to->number = from->number;
	}
}

static unsigned count_alive(const struct model *model)
{
	unsigned count = 0;

	for (int i = 0; i < ACTORS; i++)
		count += model->actors[i].is_alive;
	return count;
}

/* Descriptor calls */

static void perform_open(struct model *model, const struct step *step, struct expectation *ret)
{
	struct model_slot *slot = other_of(model, step);

	if (model_slot_is_open(slot))
		return;
	fill_slot(model, slot, new_open(model, step), step->flags & O_CLOEXEC);
	ret->what = EXPECT_NUMBER;
}

static void perform_freopen(struct model *model, const struct step *step, struct expectation *ret)
{
	struct model_slot *slot = slot_of(model, step);

	if (!model_slot_is_open(slot))
		return;
	int open = new_open(model, step);
	close_slot(model, step->actor, slot);
	/* libc opens it elsewhere, duplicates that, and closes it (freopen.c). */
	if (model->actors[step->actor].column == COLUMN_LEGACY)
		map_drop_actor(&model->files[step->path % FILES], step->actor);
	fill_slot(model, slot, open, step->flags & O_CLOEXEC);
	ret->what = EXPECT_NUMBER;
}

static void perform_dup(struct model *model, const struct step *step, struct expectation *ret)
{
	const struct model_slot *from = slot_of(model, step);
	struct model_slot *to = other_of(model, step);

	if (!model_slot_is_open(from)) {
		model_expect_error(ret, EBADF);
	} else if (!model_slot_is_open(to)) {
		fill_slot(model, to, from->open, step->entry == BY_F_DUPFD_CLOEXEC);
		ret->what = EXPECT_NUMBER;
	}
}

/* A waiting thread keeps the number that it waits on: relock-preload(7) has what
 * happens if the call is made again after a signal. */
static void move_descriptions(struct model *model, int actor)
{
	for (int thread = 0; thread < THREADS; thread++)
		model->actors[actor].waits[thread].may_have_moved =
			model->actors[actor].column == COLUMN_PROCESS;
}

static void perform_dup_onto(struct model *model, const struct step *step, struct expectation *ret)
{
	const struct model_slot *from = slot_of(model, step);
	struct model_slot *to = other_of(model, step);
	int open = from->open;

	if (!model_slot_is_open(from)) {
		model_expect_error(ret, EBADF);
	} else if (from == to) {
		ret->what = EXPECT_NUMBER;
		if (step->entry != BY_DUP2)
			model_expect_error(ret, EINVAL);
	} else {
		int number = model_target_number(model, step);
		model->opens[open].references++;
		/* As one step: of two duplicates one stays. */
		struct model_slot old = *to;
		to->open = open;
		if (model_slot_is_open(&old))
			close_slot(model, step->actor, &old);
		else
			move_descriptions(model, step->actor);
		to->number = number;
		to->is_cloexec = step->entry != BY_DUP2 && step->flags & O_CLOEXEC;
		ret->what = EXPECT_NUMBER;
	}
}

static void perform_close(struct model *model, const struct step *step, struct expectation *ret)
{
	struct model_slot *slot = slot_of(model, step);

	if (model_slot_is_open(slot)) {
		close_slot(model, step->actor, slot);
		ret->what = EXPECT_SUCCESS;
	} else if (step->entry == BY_CLOSE || step->entry == BY_SYSCALL) {
		model_expect_error(ret, EBADF);
	}
}

static void perform_close_range(struct model *model, const struct step *step,
				struct expectation *ret)
{
	int first, last;

	if (!model_slot_is_open(slot_of(model, step)) || !model_slot_is_open(other_of(model, step)))
		return;
	ret->what = EXPECT_SUCCESS;
	model_range_numbers(model, step, &first, &last);
	if (!step->flags) {
		close_between(model, step->actor, first, last);
		return;
	}
	for (int i = 0; i < SLOTS; i++) {
		struct model_slot *slot = &model->actors[step->actor].slots[i];
		if (is_between(slot, first, last))
			slot->is_cloexec = true;
	}
}

static void perform_on_descriptor(struct model *model, const struct step *step,
				  struct expectation *ret)
{
	struct model_slot *slot = slot_of(model, step);
	struct model_open *open = model_slot_is_open(slot) ? &model->opens[slot->open] : NULL;

	ret->what = EXPECT_SUCCESS;
	if (!open || (open->flags & O_PATH && step->kind != STEP_SET_CLOEXEC))
		model_expect_error(ret, EBADF);
	else if (step->kind == STEP_SET_CLOEXEC)
		slot->is_cloexec = step->flags & FD_CLOEXEC;
	else if (step->kind == STEP_SEEK)
		open->offset = step->lock.l_start;
	else if ((open->flags & O_ACCMODE) == O_WRONLY)
		model_expect_error(ret, EACCES); /* a mapping is always read */
}

/* Processes */

static void perform_fork(struct model *model, const struct step *step, struct expectation *ret)
{
	enum column column = model->actors[step->actor].column;

	if (model->actors[step->newcomer].is_alive)
		return;
	if (step->kind == STEP_SPAWN)
		column = step->under_shim ? COLUMN_PROCESS : COLUMN_LEGACY;
	model_add_actor(model, step->newcomer, column);
	inherit(model, step);
	ret->what = EXPECT_PID;
	if (step->entry == BY_DAEMON) {
		end_actor(model, step->actor);
		ret->what = EXPECT_HEIR;
	}
}

static void perform_exec(struct model *model, const struct step *step, struct expectation *ret)
{
	end_waits(model, step->actor);
	for (int i = 0; i < SLOTS; i++) {
		struct model_slot *slot = &model->actors[step->actor].slots[i];
		if (model_slot_is_open(slot) && slot->is_cloexec)
			close_slot(model, step->actor, slot);
	}
	ret->what = EXPECT_SUCCESS;
}

/* A call that is restarted begins anew, with whatever its number and its range
 * mean by then. */
static bool would_be_another(const struct model *model, const struct model_wait *wait)
{
	return model_is_closed(model, wait) || wait->may_have_moved ||
	       (wait->is_relative && model->opens[wait->request.open].offset != wait->offset);
}

static void perform_signal(struct model *model, const struct step *step, struct expectation *ret)
{
	struct model_wait *wait = &model->actors[step->actor].waits[step->thread];

	if (!wait->is_waiting || (step->entry == BY_RESTART && would_be_another(model, wait)))
		return;
	ret->what = EXPECT_SIGNAL;
	if (step->entry != BY_RESTART)
		model_end_wait(model, wait);
}

static bool is_busy(const struct model *model, const struct step *step)
{
	return model->actors[step->actor].waits[step->thread].is_waiting &&
	       step->kind != STEP_KILL && step->kind != STEP_SIGNAL;
}

void model_perform(struct model *model, const struct step *step, struct expectation *ret)
{
	ret->what = EXPECT_NO_STEP;
	ret->error = 0;
	if (!model->actors[step->actor].is_alive || is_busy(model, step))
		return;
	switch (step->kind) {
	case STEP_OPEN:
		perform_open(model, step, ret);
		break;
	case STEP_CLOSE:
		perform_close(model, step, ret);
		break;
	case STEP_FREOPEN:
		perform_freopen(model, step, ret);
		break;
	case STEP_CLOSE_RANGE:
		perform_close_range(model, step, ret);
		break;
	case STEP_CLOSEFROM:
		if (!model_slot_is_open(slot_of(model, step)))
			break;
		close_between(model, step->actor, slot_of(model, step)->number, BAD_NUMBER);
		ret->what = EXPECT_SUCCESS;
		break;
	case STEP_DUP:
		perform_dup(model, step, ret);
		break;
	case STEP_DUP_ONTO:
		perform_dup_onto(model, step, ret);
		break;
	case STEP_SET_CLOEXEC:
	case STEP_SEEK:
	case STEP_MMAP:
		perform_on_descriptor(model, step, ret);
		break;
	case STEP_SET:
	case STEP_WAIT:
	case STEP_GET:
	case STEP_LOCKF:
		model_perform_request(model, step, ret);
		break;
	case STEP_FORK:
	case STEP_SPAWN:
		perform_fork(model, step, ret);
		break;
	case STEP_EXEC:
		perform_exec(model, step, ret);
		break;
	case STEP_EXIT:
	case STEP_KILL:
		/* Somebody has to go on. */
		if (count_alive(model) < 2)
			break;
		end_actor(model, step->actor);
		ret->what = EXPECT_END;
		break;
	case STEP_SIGNAL:
		perform_signal(model, step, ret);
		break;
	case STEP_KINDS:
		break;
	}
}
