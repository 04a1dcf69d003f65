/*
 * The model's lock calls: what is asked for, and what is said to it at once.
 *
 * The order of errors is the kernel's: fcntl_setlk(), fcntl_getlk() and
 * flock64_to_posix_lock() of fs/locks.c.
 */
#include "differential-model.h"

#include <errno.h>
#include <unistd.h>

/* Requests */

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

	if (!model_slot_is_open(slot) || model->opens[slot->open].flags & O_PATH)
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

void model_expect_error(struct expectation *ret, int error)
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
		model_expect_error(ret, error);
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
		model_expect_error(ret, EAGAIN);
	}
}

static void perform_get(struct model *model, const struct step *step, const struct flock *lock,
			struct expectation *ret)
{
	struct lock_range request;
	struct lock_map view;

	int error = resolve_request(model, step, lock, true, &request);
	if (error) {
		model_expect_error(ret, error);
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
			model_expect_error(ret, EACCES);
		else if (ret->what == EXPECT_ANSWER)
			ret->what = EXPECT_SUCCESS;
		break;
	default:
		model_expect_error(ret, EINVAL);
	}
}

void model_perform_request(struct model *model, const struct step *step, struct expectation *ret)
{
	if (step->kind == STEP_GET)
		perform_get(model, step, &step->lock, ret);
	else if (step->kind == STEP_LOCKF)
		perform_lockf(model, step, ret);
	else
		perform_lock(model, step, &step->lock, step->kind == STEP_WAIT, ret);
}
