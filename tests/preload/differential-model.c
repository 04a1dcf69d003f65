/* What each step does to the model; waits are in differential-waits.c. */
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

static bool is_open(const struct model_slot *slot)
{
	return slot->open >= 0;
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
	return is_open(slot) && slot->number >= first && slot->number <= last;
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

	return is_open(found) ? found->number : BAD_NUMBER;
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

	if (is_open(target))
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
	if (!is_open(descriptor))
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

/* Ranges and errors, in the kernel's order: fcntl_setlk(), fcntl_getlk() and
 * flock64_to_posix_lock() of fs/locks.c. */

static int resolve_range(const struct model_open *open, const struct flock *lock,
			 struct lock_range *ret)
{
	off_t origin;

	switch (lock->l_whence) {
	case SEEK_SET:
		origin = 0;
		break;
	case SEEK_CUR:
		origin = open->offset;
		break;
	case SEEK_END:
		origin = FILE_SIZE;
		break;
	default:
		return EINVAL;
	}
	if (lock->l_start > INT64_MAX - origin)
		return EOVERFLOW;
	ret->first = origin + lock->l_start;
	if (ret->first < 0)
		return EINVAL;
	ret->last = INT64_MAX;
	if (lock->l_len > 0) {
		if (lock->l_len - 1 > INT64_MAX - ret->first)
			return EOVERFLOW;
		ret->last = ret->first + (lock->l_len - 1);
	} else if (lock->l_len < 0) {
		if (ret->first + lock->l_len < 0)
			return EINVAL;
		ret->last = ret->first - 1;
		ret->first += lock->l_len;
	}
	return 0;
}

static bool is_allowed(const struct model_open *open, short type)
{
	switch (type) {
	case F_RDLCK:
		return (open->flags & O_ACCMODE) != O_WRONLY;
	case F_WRLCK:
		return (open->flags & O_ACCMODE) != O_RDONLY;
	default:
		return true;
	}
}

/* 0 or the error of the call, but for a conflict. */
static int resolve_request(const struct model *model, const struct step *step,
			   const struct flock *lock, bool is_question, struct lock_range *ret)
{
	const struct model_slot *slot = &model->actors[step->actor].slots[step->slot];

	if (!is_open(slot) || model->opens[slot->open].flags & O_PATH)
		return EBADF;
	if (step->is_bad_pointer)
		return EFAULT;
	if (is_question && lock->l_type != F_RDLCK && lock->l_type != F_WRLCK)
		return EINVAL;
	*ret = (struct lock_range){.actor = step->actor, .open = slot->open, .type = lock->l_type};
	int error = resolve_range(&model->opens[slot->open], lock, ret);
	if (error)
		return error;
	if (lock->l_type != F_RDLCK && lock->l_type != F_WRLCK && lock->l_type != F_UNLCK)
		return EINVAL;
	if (!is_question && !is_allowed(&model->opens[slot->open], lock->l_type))
		return EBADF;
	return 0;
}

static struct lock_map *file_of(struct model *model, const struct lock_range *request)
{
	return &model->files[model->opens[request->open].file];
}

/* Lock calls */

static void fail(struct expectation *ret, int error)
{
	ret->what = EXPECT_ERROR;
	ret->error = error;
}

static bool is_rival(const struct model_wait *a, const struct model_wait *b)
{
	bool is_same_call = a->fd == b->fd && a->request.open == b->request.open;
	bool is_apart = a->request.last < b->request.first || b->request.last < a->request.first;

	return a->file == b->file &&
	       !(is_same_call && (is_apart || a->request.type == b->request.type));
}

/*
 * Two threads of one process that wait can get what they want at the same
 * time.  What is left then may depend on who was last: where they want the
 * same bytes in different ways, or where the descriptor of one is closed
 * meanwhile, which takes the other's lock away (see model_grant()).
 */
static bool is_rival_of_own_thread(const struct model *model, const struct model_wait *wait)
{
	for (int i = 0; i < THREADS; i++) {
		const struct model_wait *own = &model->actors[wait->request.actor].waits[i];
		if (own->is_waiting && is_rival(own, wait))
			return true;
	}
	return false;
}

static void begin_wait(struct model *model, const struct step *step,
		       const struct lock_range *request, struct expectation *ret)
{
	struct model_wait wait = {
		.is_waiting = true,
		.is_relative = step->kind == STEP_LOCKF || step->lock.l_whence == SEEK_CUR,
		.offset = model->opens[request->open].offset,
		.file = model->opens[request->open].file,
		.fd = model_slot_number(model, step->actor, step->slot),
		.request = *request,
	};

	if (is_rival_of_own_thread(model, &wait))
		return;
	ret->what = model_must_deadlock(model, &wait)  ? EXPECT_DEADLOCK
		    : model_may_deadlock(model, &wait) ? EXPECT_WAIT_OR_DEADLOCK
						       : EXPECT_WAIT;
	if (ret->what == EXPECT_DEADLOCK)
		return;
	model->actors[step->actor].waits[step->thread] = wait;
	model->opens[request->open].references++;
}

/*
 * What the shim cannot have: a thread waits through an open that may only read,
 * on a description that may only read; then another open write-locks the same
 * bytes, and the shim's new description is in the way of its own old one until
 * that lock goes.
 */
static bool is_in_the_way_of_own_reader(const struct model *model, const struct lock_range *request)
{
	const struct model_actor *actor = &model->actors[request->actor];

	for (int i = 0; i < THREADS; i++) {
		const struct model_wait *wait = &actor->waits[i];
		if (actor->column == COLUMN_PROCESS && wait->is_waiting &&
		    wait->file == model->opens[request->open].file && request->type == F_WRLCK &&
		    !is_allowed(&model->opens[wait->request.open], F_WRLCK))
			return true;
	}
	return false;
}

static void perform_lock(struct model *model, const struct step *step, const struct flock *lock,
			 bool waits, struct expectation *ret)
{
	struct lock_range request;

	int error = resolve_request(model, step, lock, false, &request);
	if (error) {
		fail(ret, error);
		return;
	}
	if (is_in_the_way_of_own_reader(model, &request))
		return;
	struct lock_map *file = file_of(model, &request);
	ret->what = EXPECT_SUCCESS;
	if (lock->l_type == F_UNLCK || !map_has_conflict(file, &request)) {
		map_set(file, &request);
	} else if (waits) {
		ret->what = EXPECT_NO_STEP;
		begin_wait(model, step, &request, ret);
	} else {
		fail(ret, EAGAIN);
	}
}

static void perform_get(struct model *model, const struct step *step, const struct flock *lock,
			struct expectation *ret)
{
	struct lock_range request;
	struct lock_map view;

	int error = resolve_request(model, step, lock, true, &request);
	if (error) {
		fail(ret, error);
		return;
	}
	map_view(file_of(model, &request), &view);
	ret->what = EXPECT_ANSWER;
	ret->holders.count = 0;
	for (size_t i = 0; i < view.count; i++)
		if (ranges_conflict(&view.ranges[i], &request))
			ret->holders.ranges[ret->holders.count++] = view.ranges[i];
}

static void perform_lockf(struct model *model, const struct step *step, struct expectation *ret)
{
	struct flock lock = {.l_whence = SEEK_CUR, .l_len = step->lock.l_len, .l_type = F_WRLCK};

	switch (step->command) {
	case F_ULOCK:
		lock.l_type = F_UNLCK;
		/* fall through */
	case F_TLOCK:
		perform_lock(model, step, &lock, false, ret);
		break;
	case F_LOCK:
		perform_lock(model, step, &lock, true, ret);
		break;
	case F_TEST:
		lock.l_type = F_RDLCK;
		perform_get(model, step, &lock, ret);
		if (ret->what == EXPECT_ANSWER && ret->holders.count > 0)
			fail(ret, EACCES);
		else if (ret->what == EXPECT_ANSWER)
			ret->what = EXPECT_SUCCESS;
		break;
	default:
		fail(ret, EINVAL);
	}
}

/* Descriptor calls */

static void perform_open(struct model *model, const struct step *step, struct expectation *ret)
{
	struct model_slot *slot = other_of(model, step);

	if (is_open(slot))
		return;
	fill_slot(model, slot, new_open(model, step), step->flags & O_CLOEXEC);
	ret->what = EXPECT_NUMBER;
}

static void perform_freopen(struct model *model, const struct step *step, struct expectation *ret)
{
	struct model_slot *slot = slot_of(model, step);

	if (!is_open(slot))
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

	if (!is_open(from)) {
		fail(ret, EBADF);
	} else if (!is_open(to)) {
		fill_slot(model, to, from->open, step->entry == BY_F_DUPFD_CLOEXEC);
		ret->what = EXPECT_NUMBER;
	}
}

static void perform_dup_onto(struct model *model, const struct step *step, struct expectation *ret)
{
	const struct model_slot *from = slot_of(model, step);
	struct model_slot *to = other_of(model, step);
	int open = from->open;

	if (!is_open(from)) {
		fail(ret, EBADF);
	} else if (from == to) {
		ret->what = EXPECT_NUMBER;
		if (step->entry != BY_DUP2)
			fail(ret, EINVAL);
	} else {
		int number = model_target_number(model, step);
		model->opens[open].references++;
		/* As one step: of two duplicates one stays. */
		struct model_slot old = *to;
		to->open = open;
		if (is_open(&old))
			close_slot(model, step->actor, &old);
		to->number = number;
		to->is_cloexec = step->entry != BY_DUP2 && step->flags & O_CLOEXEC;
		ret->what = EXPECT_NUMBER;
	}
}

static void perform_close(struct model *model, const struct step *step, struct expectation *ret)
{
	struct model_slot *slot = slot_of(model, step);

	if (is_open(slot)) {
		close_slot(model, step->actor, slot);
		ret->what = EXPECT_SUCCESS;
	} else if (step->entry == BY_CLOSE || step->entry == BY_SYSCALL) {
		fail(ret, EBADF);
	}
}

static void perform_close_range(struct model *model, const struct step *step,
				struct expectation *ret)
{
	int first, last;

	if (!is_open(slot_of(model, step)) || !is_open(other_of(model, step)))
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
	struct model_open *open = is_open(slot) ? &model->opens[slot->open] : NULL;

	ret->what = EXPECT_SUCCESS;
	if (!open || (open->flags & O_PATH && step->kind != STEP_SET_CLOEXEC))
		fail(ret, EBADF);
	else if (step->kind == STEP_SET_CLOEXEC)
		slot->is_cloexec = step->flags & FD_CLOEXEC;
	else if (step->kind == STEP_SEEK)
		open->offset = step->lock.l_start;
	else if ((open->flags & O_ACCMODE) == O_WRONLY)
		fail(ret, EACCES); /* a mapping is always read */
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
		if (is_open(slot) && slot->is_cloexec)
			close_slot(model, step->actor, slot);
	}
	ret->what = EXPECT_SUCCESS;
}

/* A call that is restarted begins anew, with whatever its number and its range
 * mean by then. */
static bool would_be_another(const struct model *model, const struct model_wait *wait)
{
	return model_is_closed(model, wait) ||
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
		if (!is_open(slot_of(model, step)))
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
		perform_lock(model, step, &step->lock, step->kind == STEP_WAIT, ret);
		break;
	case STEP_GET:
		perform_get(model, step, &step->lock, ret);
		break;
	case STEP_LOCKF:
		perform_lockf(model, step, ret);
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
