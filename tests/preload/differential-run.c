/* See differential-run.h. */
#include "differential-run.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "differential-outsider.h"
#include "differential-witness.h"

struct run {
	const struct settings *settings;
	struct cast *cast;
	struct model model;
	bool under_shim[ACTORS];
	/* Of each that waits, before the first of a step's news was taken in. */
	bool may_deadlock[ACTORS][THREADS];
	struct expectation expectation;
	struct difference *difference;
};

bool difference_note(struct difference *ret, const char *format, ...)
{
	va_list arguments;

	ret->is_found = true;
	va_start(arguments, format);
	vsnprintf(ret->text, sizeof ret->text, format, arguments);
	va_end(arguments);
	return false;
}

#define differs(run, ...) difference_note((run)->difference, __VA_ARGS__)

/* What was seen, in words */

static const char *seat_state_name(enum seat_state state)
{
	switch (state) {
	case SEAT_ANSWERED:
		return "returned";
	case SEAT_BLOCKED:
		return "waits";
	case SEAT_BUSY:
		return "runs on and on";
	default:
		return "its process ended";
	}
}

static const char *print_answer(const struct answer *answer, char words[WORDS_SIZE])
{
	if (answer->is_jump)
		snprintf(words, WORDS_SIZE, "was left by a jump");
	else if (answer->result == -1)
		snprintf(words, WORDS_SIZE, "-1 %s", strerrorname_np(answer->error));
	else
		snprintf(words, WORDS_SIZE, "%ld", answer->result);
	return words;
}

static const struct answer *answer_of(const struct run *run, int actor, int thread)
{
	return &run->cast->stage->actors[actor].seats[thread].answer;
}

/* Answers */

static bool is_error(const struct answer *answer, int error)
{
	return !answer->is_jump && answer->result == -1 && answer->error == error;
}

static bool is_right_pid(const struct run *run, const struct step *step, int holder, pid_t pid)
{
	/* The kernel has no better word for an OFD lock. */
	if (run->under_shim[holder] && !run->under_shim[step->actor])
		return pid == -1;
	return pid == cast_pid(run->cast, holder);
}

static bool is_right_answer(const struct run *run, const struct step *step,
			    const struct flock *seen)
{
	const struct lock_map *holders = &run->expectation.holders;
	struct flock expected = step->lock;

	if (holders->count == 0) {
		/* Nothing else changes. */
		expected.l_type = F_UNLCK;
		return expected.l_type == seen->l_type && expected.l_whence == seen->l_whence &&
		       expected.l_start == seen->l_start && expected.l_len == seen->l_len &&
		       expected.l_pid == seen->l_pid;
	}
	for (size_t i = 0; i < holders->count; i++) {
		const struct lock_range *holder = &holders->ranges[i];
		off_t length = holder->last == INT64_MAX ? 0 : holder->last - holder->first + 1;
		if (seen->l_type == holder->type && seen->l_whence == SEEK_SET &&
		    seen->l_start == holder->first && seen->l_len == length &&
		    is_right_pid(run, step, holder->actor, seen->l_pid))
			return true;
	}
	return false;
}

static bool check_answer_of_get(struct run *run, const struct step *step,
				const struct answer *answer)
{
	char words[WORDS_SIZE], holders[400], pids[ACTORS * 16] = "";

	if (answer->result == 0 && is_right_answer(run, step, &answer->lock))
		return true;
	if (answer->result != 0)
		return differs(run, "expected 0\nseen     %s", print_answer(answer, words));
	flock_print(&answer->lock, words);
	map_print(&run->expectation.holders, holders, sizeof holders);
	for (int i = 0; i < ACTORS; i++)
		if (run->model.actors[i].is_alive)
			snprintf(pids + strlen(pids), sizeof pids - strlen(pids), " %c is %d",
				 actor_name(i), (int)cast_pid(run->cast, i));
	return differs(run, "expected one of: %s (%s)\nseen     %s", holders, *pids ? pids + 1 : "",
		       words);
}

/* A number that the call may return. */
static bool is_right_number(struct run *run, const struct step *step, const struct command *command,
			    long number)
{
	switch (step->kind) {
	case STEP_FREOPEN:
		return number == command->fd;
	case STEP_DUP_ONTO:
		return number == command->other_fd;
	case STEP_DUP:
		if ((step->entry == BY_F_DUPFD || step->entry == BY_F_DUPFD_CLOEXEC) &&
		    number < step->number)
			return false;
		/* fall through */
	default:
		/* The model's own slot has no number yet. */
		return number > STDERR_FILENO &&
		       model_number_is_free(&run->model, step->actor, (int)number);
	}
}

static bool check_answer(struct run *run, const struct step *step, const struct command *command,
			 const struct answer *answer)
{
	char words[WORDS_SIZE];

	switch (run->expectation.what) {
	case EXPECT_SUCCESS:
		if (answer->result == (step->kind == STEP_SEEK ? step->lock.l_start : 0))
			return true;
		return differs(run, "expected 0\nseen     %s", print_answer(answer, words));
	case EXPECT_NUMBER:
		if (!is_right_number(run, step, command, answer->result))
			return differs(run, "expected a descriptor\nseen     %s",
				       print_answer(answer, words));
		model_set_number(&run->model, step, (int)answer->result);
		return true;
	case EXPECT_PID:
		if (answer->result > 0)
			return true;
		return differs(run, "expected a pid\nseen     %s", print_answer(answer, words));
	case EXPECT_DEADLOCK:
		run->expectation.error = EDEADLK;
		/* fall through */
	case EXPECT_ERROR:
		if (is_error(answer, run->expectation.error))
			return true;
		return differs(run, "expected -1 %s\nseen     %s",
			       strerrorname_np(run->expectation.error),
			       print_answer(answer, words));
	default: /* EXPECT_ANSWER */
		return check_answer_of_get(run, step, answer);
	}
}

/* The steps */

static bool await_answer(struct run *run, const struct step *step)
{
	enum seat_state state = cast_await_answer(run->cast, step->actor, step->thread);

	return state == SEAT_ANSWERED ||
	       differs(run, "expected to return\nseen     %s", seat_state_name(state));
}

static bool await_arrival(struct run *run, int actor)
{
	return cast_await_arrival(run->cast, actor) ||
	       differs(run, "expected %c to begin\nseen     nothing of it", actor_name(actor));
}

static bool await_end(struct run *run, int actor)
{
	return cast_await_end(run->cast, actor) ||
	       differs(run, "expected %c to end\nseen     that it goes on", actor_name(actor));
}

static bool check_wait(struct run *run, const struct step *step)
{
	struct model_wait *wait = &run->model.actors[step->actor].waits[step->thread];
	const struct answer *answer = answer_of(run, step->actor, step->thread);
	bool may_fail = run->expectation.what == EXPECT_WAIT_OR_DEADLOCK;
	char words[WORDS_SIZE];

	enum seat_state state = cast_await_block(run->cast, step->actor, step->thread);
	if (state == SEAT_BLOCKED)
		return true;
	if (state != SEAT_ANSWERED)
		return differs(run, "expected to wait\nseen     that it %s",
			       seat_state_name(state));
	if (!may_fail || !is_error(answer, EDEADLK))
		return differs(run, "expected to wait%s\nseen     %s",
			       may_fail ? ", or -1 EDEADLK" : "", print_answer(answer, words));
	model_end_wait(&run->model, wait);
	return true;
}

/* A call that is made again can be refused, too. */
static bool check_restart(struct run *run, const struct step *step)
{
	struct model_wait *wait = &run->model.actors[step->actor].waits[step->thread];
	const struct answer *answer = answer_of(run, step->actor, step->thread);
	char words[WORDS_SIZE];

	enum seat_state state = cast_await_block(run->cast, step->actor, step->thread);
	if (state == SEAT_BLOCKED)
		return true;
	if (state != SEAT_ANSWERED || !is_error(answer, EDEADLK) ||
	    !model_may_deadlock(&run->model, wait))
		return differs(run, "expected to wait on\nseen     %s",
			       state == SEAT_ANSWERED ? print_answer(answer, words)
						      : seat_state_name(state));
	model_end_wait(&run->model, wait);
	return true;
}

static bool check_signal(struct run *run, const struct step *step)
{
	static const int signals[ENTRIES] = {
		[BY_INTERRUPT] = SIGUSR1, [BY_RESTART] = SIGUSR2, [BY_JUMP] = SIGALRM};
	const struct answer *answer = answer_of(run, step->actor, step->thread);
	char words[WORDS_SIZE];

	if (!cast_signal(run->cast, step->actor, step->thread, signals[step->entry]))
		return differs(run, "expected the handler to run\nseen     that it does not");
	if (step->entry == BY_RESTART)
		return check_restart(run, step);
	if (!await_answer(run, step))
		return false;
	if (step->entry == BY_JUMP ? answer->is_jump : is_error(answer, EINTR))
		return true;
	return differs(run, "expected %s\nseen     %s",
		       step->entry == BY_JUMP ? "a jump" : "-1 EINTR", print_answer(answer, words));
}

/* After model_perform(): what must be has been said, now for what is. */
static bool carry_out(struct run *run, const struct command *command)
{
	const struct step *step = &command->step;
	struct cast *cast = run->cast;
	const struct answer *answer = answer_of(run, step->actor, step->thread);

	if (step->kind == STEP_SIGNAL)
		return check_signal(run, step);
	if (step->kind == STEP_KILL) {
		cast_kill(cast, step->actor);
		return await_end(run, step->actor);
	}
	if (step->kind == STEP_EXEC)
		cast_expect_image(cast, step->actor);
	if (run->expectation.what == EXPECT_PID || run->expectation.what == EXPECT_HEIR)
		cast_expect_process(cast, step->newcomer);
	cast_tell(cast, command);
	switch (run->expectation.what) {
	case EXPECT_WAIT:
	case EXPECT_WAIT_OR_DEADLOCK:
		return check_wait(run, step);
	case EXPECT_END:
		return await_end(run, step->actor);
	case EXPECT_HEIR:
		return await_end(run, step->actor) && await_arrival(run, step->newcomer);
	case EXPECT_PID:
		return await_answer(run, step) && check_answer(run, step, command, answer) &&
		       await_arrival(run, step->newcomer);
	default:
		return await_answer(run, step) && check_answer(run, step, command, answer) &&
		       (step->kind != STEP_EXEC || await_arrival(run, step->actor));
	}
}

/* Those that wait, after a step */

/* An answer that the model has a reason for; carries it over. */
static bool accept_end_of_wait(struct run *run, struct model_wait *wait,
			       const struct answer *answer)
{
	const struct model_actor *actor = &run->model.actors[wait->request.actor];
	bool may_deadlock = run->may_deadlock[wait->request.actor][wait - actor->waits];

	if (is_error(answer, EDEADLK) && (may_deadlock || model_may_deadlock(&run->model, wait))) {
		model_end_wait(&run->model, wait);
		return true;
	}
	if (!model_is_grantable(&run->model, wait))
		return false;
	struct model before = run->model;
	int error = model_grant(&run->model, wait);
	if (error ? is_error(answer, error) : answer->result == 0)
		return true;
	run->model = before;
	return false;
}

/* One that has answered, with a reason. */
static bool accept_one(struct run *run, bool is_closed)
{
	for (int i = 0; i < ACTORS * THREADS; i++) {
		struct model_wait *wait = &run->model.actors[i / THREADS].waits[i % THREADS];
		if (wait->is_waiting && model_is_closed(&run->model, wait) == is_closed &&
		    cast_await_block(run->cast, i / THREADS, i % THREADS) == SEAT_ANSWERED &&
		    accept_end_of_wait(run, wait, answer_of(run, i / THREADS, i % THREADS)))
			return true;
	}
	return false;
}

/*
 * One release may let several go on, and one of those others again, or keep
 * them out.  First come those whose descriptor is closed: what they get they
 * give back, and keep nobody out.  So what was answered is taken in the order in which it makes
 * sense; nobody may be left that has answered and should not, or that should
 * go on and does not.
 */
static bool take_news(struct run *run)
{
	char words[WORDS_SIZE];

	while (accept_one(run, true) || accept_one(run, false))
		;
	for (int i = 0; i < ACTORS * THREADS; i++) {
		struct model_wait *wait = &run->model.actors[i / THREADS].waits[i % THREADS];
		bool is_grantable = model_is_grantable(&run->model, wait);
		if (!wait->is_waiting)
			continue;
		enum seat_state state =
			is_grantable ? cast_await_answer(run->cast, i / THREADS, i % THREADS)
				     : cast_await_block(run->cast, i / THREADS, i % THREADS);
		const struct answer *answer = answer_of(run, i / THREADS, i % THREADS);
		if (state == SEAT_ANSWERED && accept_end_of_wait(run, wait, answer))
			return take_news(run);
		if (state == SEAT_ANSWERED || is_grantable)
			return differs(run, "expected %c.%d to %s\nseen     %s",
				       actor_name(i / THREADS), i % THREADS,
				       is_grantable ? "get what it waits for" : "wait on",
				       state == SEAT_ANSWERED ? print_answer(answer, words)
							      : seat_state_name(state));
		if (state != SEAT_BLOCKED)
			return differs(run, "expected %c.%d to wait on\nseen     %s",
				       actor_name(i / THREADS), i % THREADS,
				       seat_state_name(state));
	}
	return true;
}

static bool settle(struct run *run)
{
	for (int i = 0; i < ACTORS; i++)
		for (int k = 0; k < THREADS; k++) {
			const struct model_wait *wait = &run->model.actors[i].waits[k];
			run->may_deadlock[i][k] =
				wait->is_waiting && model_may_deadlock_on_waking(&run->model, wait);
		}
	return take_news(run);
}

/* The run */

static bool is_under_shim(const struct run *run, bool in_mixed_run)
{
	return run->settings->mode == MODE_MIXED ? in_mixed_run : run->settings->mode == MODE_SHIM;
}

static void tell_story(const struct run *run, size_t number, const struct step *step)
{
	char text[STEP_TEXT_SIZE];

	if (!run->settings->is_verbose)
		return;
	step_print(step, text);
	printf("%4zu %s\n", number, text);
	fflush(stdout);
}

/* In the model; false if the step makes no sense. */
static bool perform(struct run *run, const struct command *command)
{
	struct step step = command->step;

	step.under_shim ^= run->settings->has_wrong_model;
	model_perform(&run->model, &step, &run->expectation);
	switch (run->expectation.what) {
	case EXPECT_NO_STEP:
		return false;
	case EXPECT_PID:
	case EXPECT_HEIR:
		run->under_shim[step.newcomer] = step.kind == STEP_SPAWN
							 ? command->step.under_shim
							 : run->under_shim[step.actor];
		return true;
	default:
		return true;
	}
}

/* False at a difference. */
static bool run_step(struct run *run, struct plan *plan, size_t i)
{
	struct command command = {.step = plan->steps[i]};
	struct step *step = &command.step;

	step->under_shim = step->kind == STEP_EXEC ? run->under_shim[step->actor]
						   : is_under_shim(run, step->under_shim);
	command.fd = model_slot_number(&run->model, step->actor, step->slot);
	command.other_fd = model_target_number(&run->model, step);
	if (step->kind == STEP_CLOSE_RANGE)
		model_range_numbers(&run->model, step, &command.fd, &command.other_fd);
	plan->is_left_out[i] = !perform(run, &command);
	if (plan->is_left_out[i])
		return true;
	tell_story(run, i, step);
	return carry_out(run, &command) && settle(run) &&
	       outsider_check(run->cast, &run->model, run->difference);
}

static bool start(struct run *run, const struct plan *plan)
{
	for (unsigned i = 0; i < plan->beginners; i++) {
		bool under_shim = is_under_shim(run, plan->under_shim[i]);
		bool is_process = under_shim != run->settings->has_wrong_model;
		run->under_shim[i] = under_shim;
		model_add_actor(&run->model, (int)i, is_process ? COLUMN_PROCESS : COLUMN_LEGACY);
		if (!cast_start(run->cast, (int)i, under_shim))
			return differs(run, "expected %c to begin\nseen     nothing of it",
				       actor_name((int)i));
	}
	return true;
}

size_t run_plan(struct cast *cast, const struct settings *settings, struct plan *plan,
		struct difference *ret)
{
	struct run *run = calloc(1, sizeof *run);
	size_t count = 0;

	if (!run)
		abort();
	*ret = (struct difference){0};
	run->settings = settings;
	run->cast = cast;
	run->difference = ret;
	bool goes_on = start(run, plan);
	for (size_t i = 0; goes_on && i < plan->count; i++) {
		if (plan->is_left_out[i])
			continue;
		goes_on = run_step(run, plan, i);
		ret->step = i;
		count += !plan->is_left_out[i];
	}
	if (ret->is_found) {
		outsider_print(cast, &run->model, ret);
		witness_print(cast, ret->players, sizeof ret->players);
	}
	cast_dismiss(cast);
	free(run);
	return count;
}
