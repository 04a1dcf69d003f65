/* See differential-plan.h. */
#include "differential-plan.h"

#include <linux/close_range.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "differential-model.h"

struct draft {
	uint64_t random;
	struct model model;
};

uint64_t random_next(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static int below(struct draft *draft, int limit)
{
	return (int)(random_next(&draft->random) % (unsigned)limit);
}

static bool percent(struct draft *draft, int chance)
{
	return below(draft, 100) < chance;
}

#define ONE_OF(draft, ...)                                                                         \
	((int[]){__VA_ARGS__}[below(draft, sizeof((int[]){__VA_ARGS__}) / sizeof(int))])

/* Out of `limit`, one for which the function says yes; any, if it never does. */
static int any_such(struct draft *draft, int limit,
		    bool (*is_such)(const struct draft *draft, const struct step *step, int i),
		    const struct step *step)
{
	int from = below(draft, limit);

	for (int i = 0; i < limit; i++)
		if (is_such(draft, step, (from + i) % limit))
			return (from + i) % limit;
	return from;
}

static bool is_alive(const struct draft *draft, const struct step *step, int i)
{
	(void)step;
	return draft->model.actors[i].is_alive;
}

static bool is_no_actor(const struct draft *draft, const struct step *step, int i)
{
	return !is_alive(draft, step, i);
}

static bool is_idle(const struct draft *draft, const struct step *step, int i)
{
	return !draft->model.actors[step->actor].waits[i].is_waiting;
}

static bool is_waiting(const struct draft *draft, const struct step *step, int i)
{
	return !is_idle(draft, step, i);
}

static bool is_open(const struct draft *draft, const struct step *step, int i)
{
	return draft->model.actors[step->actor].slots[i].open >= 0;
}

static bool is_closed(const struct draft *draft, const struct step *step, int i)
{
	return !is_open(draft, step, i);
}

static uint8_t open_slot(struct draft *draft, const struct step *step)
{
	/* Now and then one that is not. */
	if (percent(draft, 3))
		return (uint8_t)below(draft, SLOTS);
	return (uint8_t)any_such(draft, SLOTS, is_open, step);
}

static uint8_t closed_slot(struct draft *draft, const struct step *step)
{
	return (uint8_t)any_such(draft, SLOTS, is_closed, step);
}

static uint8_t any_path(struct draft *draft)
{
	int file = ONE_OF(draft, 0, 0, 0, 0, 0, 1, 1, 2);

	return (uint8_t)(percent(draft, 15) ? FILES + file : file);
}

/* Lock requests */

static void choose_range(struct draft *draft, struct flock *lock)
{
	lock->l_whence = SEEK_SET;
	lock->l_start = below(draft, 36);
	lock->l_len = 1 + below(draft, percent(draft, 70) ? 4 : 30);
	switch (below(draft, 24)) {
	case 0:
		lock->l_start = 0;
		lock->l_len = 0;
		break;
	case 1:
		lock->l_len = 0;
		break;
	case 2:
		lock->l_len = -lock->l_len;
		break;
	case 3:
	case 4:
		lock->l_whence = SEEK_CUR;
		lock->l_start = below(draft, 30) - 10;
		break;
	case 5:
		lock->l_whence = SEEK_END;
		lock->l_start = below(draft, 40) - 35;
		break;
	case 6:
		lock->l_start = INT64_MAX - below(draft, 3);
		lock->l_len = below(draft, 4) - 1;
		break;
	case 7:
		lock->l_start = below(draft, 3);
		lock->l_len = INT64_MAX - below(draft, 3);
		break;
	default:
		break;
	}
}

static void choose_request(struct draft *draft, struct step *step)
{
	struct flock *lock = &step->lock;

	step->slot = open_slot(draft, step);
	step->entry = (enum entry)ONE_OF(draft, BY_FCNTL, BY_FCNTL64, BY_SYSCALL);
	choose_range(draft, lock);
	lock->l_type = (short)ONE_OF(draft, F_RDLCK, F_RDLCK, F_WRLCK, F_WRLCK, F_WRLCK, F_UNLCK);
	if (step->kind == STEP_GET && lock->l_type == F_UNLCK && !percent(draft, 10))
		lock->l_type = F_WRLCK;
	if (percent(draft, 30))
		lock->l_pid = ONE_OF(draft, -1, 1, 4711);
	switch (below(draft, 150)) {
	case 0:
		lock->l_type = 7;
		break;
	case 1:
		lock->l_whence = 9;
		break;
	case 2:
		lock->l_start = -1;
		break;
	case 3:
		step->is_bad_pointer = true;
		break;
	default:
		break;
	}
}

static void choose_offset_lock(struct draft *draft, struct step *step)
{
	step->slot = open_slot(draft, step);
	step->entry = (enum entry)ONE_OF(draft, BY_LOCKF, BY_LOCKF64);
	step->command = ONE_OF(draft, F_LOCK, F_TLOCK, F_TLOCK, F_ULOCK, F_TEST, F_TEST);
	if (percent(draft, 2))
		step->command = 9;
	choose_range(draft, &step->lock);
}

/* Steps of each kind */

static int any_open_flags(struct draft *draft)
{
	int flags = ONE_OF(draft, O_RDWR, O_RDWR, O_RDWR, O_RDWR, O_RDONLY, O_RDONLY, O_WRONLY,
			   O_RDWR | O_APPEND);

	if (percent(draft, 3))
		flags = O_PATH;
	return flags | (percent(draft, 35) ? O_CLOEXEC : 0);
}

static void choose_descriptor_call(struct draft *draft, struct step *step)
{
	step->slot = open_slot(draft, step);
	step->number = 3 + below(draft, 30);
	switch (step->kind) {
	case STEP_OPEN:
		step->other = closed_slot(draft, step);
		step->path = any_path(draft);
		step->flags = any_open_flags(draft);
		break;
	case STEP_CLOSE:
		step->entry = (enum entry)ONE_OF(draft, BY_CLOSE, BY_CLOSE, BY_SYSCALL,
						 BY_CLOSE_RANGE, BY_FCLOSE);
		break;
	case STEP_FREOPEN:
		step->path = any_path(draft);
		step->flags = ONE_OF(draft, O_RDONLY, O_RDWR, O_RDWR | O_CLOEXEC);
		break;
	case STEP_CLOSE_RANGE:
		step->other = open_slot(draft, step);
		step->entry = (enum entry)ONE_OF(draft, BY_CLOSE_RANGE, BY_SYSCALL);
		step->flags = percent(draft, 50) ? (int)CLOSE_RANGE_CLOEXEC : 0;
		break;
	case STEP_DUP:
		step->other = closed_slot(draft, step);
		step->entry = (enum entry)ONE_OF(draft, BY_DUP, BY_SYSCALL, BY_F_DUPFD,
						 BY_F_DUPFD_CLOEXEC);
		break;
	case STEP_DUP_ONTO:
		step->other = (uint8_t)below(draft, SLOTS);
		step->entry = (enum entry)ONE_OF(draft, BY_DUP2, BY_DUP3, BY_SYSCALL);
		step->flags = percent(draft, 30) ? O_CLOEXEC : 0;
		break;
	case STEP_SET_CLOEXEC:
		step->flags = percent(draft, 50) ? FD_CLOEXEC : 0;
		break;
	default: /* STEP_SEEK */
		step->lock.l_start = below(draft, 30);
	}
}

static void choose_process_call(struct draft *draft, struct step *step)
{
	step->newcomer = (uint8_t)any_such(draft, ACTORS, is_no_actor, step);
	step->under_shim = percent(draft, 50);
	switch (step->kind) {
	case STEP_FORK:
		step->entry = percent(draft, 80) ? BY_FORK : BY_DAEMON;
		break;
	case STEP_SPAWN:
		step->entry = (enum entry)ONE_OF(draft, BY_FORK, BY__FORK, BY_SYSCALL, BY_VFORK,
						 BY_VFORK, BY_POSIX_SPAWN);
		step->slot = open_slot(draft, step);
		step->flags = percent(draft, 40) ? SPAWN_CLOSES : 0;
		break;
	case STEP_EXEC:
		step->entry = (enum entry)ONE_OF(draft, BY_EXECVE, BY_EXECV, BY_EXECL);
		break;
	case STEP_SIGNAL:
		step->actor = (uint8_t)below(draft, ACTORS);
		step->thread = (uint8_t)any_such(draft, THREADS, is_waiting, step);
		step->entry = (enum entry)ONE_OF(draft, BY_INTERRUPT, BY_RESTART, BY_JUMP);
		break;
	default: /* STEP_EXIT, STEP_KILL */
		step->entry = percent(draft, 50) ? BY_EXIT : BY__EXIT;
	}
}

/* How often, out of their sum. */
static const int weights[STEP_KINDS] = {
	[STEP_OPEN] = 90,     [STEP_CLOSE] = 70, [STEP_FREOPEN] = 8,   [STEP_CLOSE_RANGE] = 6,
	[STEP_CLOSEFROM] = 3, [STEP_DUP] = 30,   [STEP_DUP_ONTO] = 30, [STEP_SET_CLOEXEC] = 12,
	[STEP_SEEK] = 15,     [STEP_MMAP] = 8,   [STEP_SET] = 300,     [STEP_WAIT] = 70,
	[STEP_GET] = 90,      [STEP_LOCKF] = 70, [STEP_FORK] = 16,     [STEP_SPAWN] = 12,
	[STEP_EXEC] = 12,     [STEP_EXIT] = 8,   [STEP_KILL] = 10,     [STEP_SIGNAL] = 60,
};

static enum step_kind any_kind(struct draft *draft)
{
	int sum = 0, kind = 0;

	for (int i = 0; i < STEP_KINDS; i++)
		sum += weights[i];
	for (int rest = below(draft, sum); rest >= weights[kind]; kind++)
		rest -= weights[kind];
	return (enum step_kind)kind;
}

static void choose_step(struct draft *draft, struct step *step)
{
	*step = (struct step){.kind = any_kind(draft)};
	step->actor = (uint8_t)any_such(draft, ACTORS, is_alive, step);
	step->thread = (uint8_t)any_such(draft, THREADS, is_idle, step);
	switch (step->kind) {
	case STEP_SET:
	case STEP_WAIT:
	case STEP_GET:
		choose_request(draft, step);
		break;
	case STEP_LOCKF:
		choose_offset_lock(draft, step);
		break;
	case STEP_FORK:
	case STEP_SPAWN:
	case STEP_EXEC:
	case STEP_EXIT:
	case STEP_KILL:
	case STEP_SIGNAL:
		choose_process_call(draft, step);
		break;
	default:
		choose_descriptor_call(draft, step);
	}
}

/* Playing through */

static int lowest_free(const struct draft *draft, const struct step *step)
{
	int number = step->kind == STEP_DUP && step->entry != BY_DUP ? step->number : 3;

	while (!model_number_is_free(&draft->model, step->actor, number))
		number++;
	return number;
}

static void number_descriptor(struct draft *draft, const struct step *step, int number_before)
{
	if (step->kind == STEP_FREOPEN)
		model_set_number(&draft->model, step, number_before);
	if (step->kind == STEP_OPEN || step->kind == STEP_DUP)
		model_set_number(&draft->model, step, lowest_free(draft, step));
}

static void grant_all(struct draft *draft)
{
	for (int i = 0; i < ACTORS * THREADS; i++) {
		struct model_wait *wait = &draft->model.actors[i / THREADS].waits[i % THREADS];
		if (wait->is_waiting && model_is_grantable(&draft->model, wait)) {
			model_grant(&draft->model, wait);
			i = -1;
		}
	}
}

void plan_make(uint64_t seed, size_t steps, struct plan *ret)
{
	struct draft *draft = calloc(1, sizeof *draft);
	struct expectation *expectation = calloc(1, sizeof *expectation);

	if (!draft || !expectation)
		abort();
	memset(ret, 0, sizeof *ret);
	draft->random = ret->seed = seed;
	ret->beginners = 2 + (unsigned)below(draft, 2);
	for (int i = 0; i < ACTORS; i++)
		ret->under_shim[i] = percent(draft, 50);
	for (unsigned i = 0; i < ret->beginners; i++)
		model_add_actor(&draft->model, (int)i, COLUMN_PROCESS);
	while (ret->count < steps && ret->count < STEPS_MAX) {
		struct step *step = &ret->steps[ret->count];
		choose_step(draft, step);
		int number = model_slot_number(&draft->model, step->actor, step->slot);
		model_perform(&draft->model, step, expectation);
		if (expectation->what == EXPECT_NO_STEP)
			continue;
		number_descriptor(draft, step, number);
		grant_all(draft);
		ret->count++;
	}
	free(draft);
	free(expectation);
}
