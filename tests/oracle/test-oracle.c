/*
 * The oracle, proved right: it finds nothing where nothing is wrong, and each
 * wrong driver's fault where that is wrong.  The long runs are the program's
 * own; see meson.build.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "oracle.h"
#include "relock.h"
#include "scratch.h"

static enum failure_kind run_on(const char *scheme, struct oracle_options options)
{
	char *url = scratch_store_make(scheme);

	assert_non_null(url);
	options.url = url;
	enum failure_kind failure = oracle(&options);
	scratch_store_remove(url);
	return failure;
}

static struct oracle_options small_run(void)
{
	struct oracle_options options = ORACLE_OPTIONS_INIT;

	options.grants = 2000;
	options.threads = THREADS; /* meson.build: 1 under a sanitizer */
	options.kill_every = 50;
	options.exit_every = 100;
	options.fork_every = 100;
	return options;
}

static void expect(enum failure_kind expected, enum failure_kind found)
{
	if (found != expected)
		fail_msg("the oracle found %s, not %s", failure_name(found),
			 failure_name(expected));
}

/* Nothing wrong */

static void ofd_excludes(void **state)
{
	expect(FAILURE_NONE, run_on("ofd", small_run()));
}

static void flock_excludes(void **state)
{
	expect(FAILURE_NONE, run_on("flock", small_run()));
}

static void ofd_excludes_bare_ofd_locks(void **state)
{
	struct oracle_options options = small_run();

	options.others[0].driver = &driver_bare_ofd;
	expect(FAILURE_NONE, run_on("ofd", options));
}

static void flock_excludes_bare_flock_locks(void **state)
{
	struct oracle_options options = small_run();

	options.others[0].driver = &driver_bare_flock;
	expect(FAILURE_NONE, run_on("flock", options));
}

static void ofd_breaks(void **state)
{
	struct oracle_options options = small_run();

	options.break_every = 50;
	expect(FAILURE_NONE, run_on("ofd", options));
}

static void flock_breaks(void **state)
{
	struct oracle_options options = small_run();

	options.break_every = 50;
	expect(FAILURE_NONE, run_on("flock", options));
}

/* Something wrong */

static enum failure_kind run_broken(const struct oracle_driver *driver)
{
	struct oracle_options options = small_run();

	options.driver = driver;
	options.patience = 2;
	return run_on("ofd", options);
}

static void two_inside_are_found(void **state)
{
	expect(FAILURE_OVERLAP, run_broken(&driver_broken_none));
	expect(FAILURE_OVERLAP, run_broken(&driver_broken_early));
}

static void kills_excuse_no_overlap(void **state)
{
	struct oracle_options options = small_run();

	options.driver = &driver_broken_early;
	options.kill_every = 1;
	expect(FAILURE_OVERLAP, run_on("ofd", options));
}

static void breaks_excuse_no_overlap(void **state)
{
	struct oracle_options options = small_run();

	options.driver = &driver_broken_denies;
	options.break_every = 50;
	options.grants = 20000;
	expect(FAILURE_OVERLAP, run_on("ofd", options));
}

static void a_hold_of_a_child_is_found(void **state)
{
	struct oracle_options options = small_run();

	options.driver = &driver_broken_fork;
	options.fork_every = 10;
	expect(FAILURE_OVERLAP, run_on("ofd", options));
}

static void a_lost_wake_up_is_found(void **state)
{
	expect(FAILURE_LOST_WAKE_UP, run_broken(&driver_broken_deaf));
}

static void a_lock_left_behind_is_found(void **state)
{
	struct oracle_options options = small_run();

	/* Who ends would give the lock back after all. */
	options.driver = &driver_broken_keeps;
	options.kill_every = 0;
	options.exit_every = 0;
	options.patience = 2;
	expect(FAILURE_LEFT_BEHIND, run_on("ofd", options));
}

static void a_token_that_does_not_grow_is_found(void **state)
{
	expect(FAILURE_TOKEN, run_broken(&driver_broken_token));
}

/* The judge, step by step: what processes do to each other only now and then. */

struct court {
	struct oracle_log *log;
	struct life *first, *second;
};

static struct court court_open(void)
{
	struct court court = {.log = log_make(16)};

	assert_non_null(court.log);
	court.first = life_make(court.log);
	court.second = life_make(court.log);
	return court;
}

static void enter(struct court *court, struct life *life, bool shared)
{
	log_enter(court->log, life, &life->seats[0], 0, shared, log_now(court->log));
}

static void court_close(struct court *court, enum failure_kind expected)
{
	enum failure_kind found = (enum failure_kind)court->log->failure;

	log_free(court->log);
	expect(expected, found);
}

static void shared_holders_may_be_inside_together(void **state)
{
	struct court court = court_open();

	enter(&court, court.first, true);
	enter(&court, court.second, true);
	court_close(&court, FAILURE_NONE);
}

static void a_living_holder_is_not_entered_over(void **state)
{
	struct court court = court_open();

	enter(&court, court.first, true);
	enter(&court, court.second, false);
	court_close(&court, FAILURE_OVERLAP);
}

static void a_doomed_holder_that_moves_no_more_may_be_entered_over(void **state)
{
	struct court court = court_open();

	enter(&court, court.first, false);
	assert_true(life_doom(court.log, court.first));
	enter(&court, court.second, false);
	life_end(court.log, court.first);
	log_step(court.log, court.second, &court.second->seats[0]);
	court_close(&court, FAILURE_NONE);
}

static void a_doomed_holder_that_moves_on_was_inside(void **state)
{
	struct court court = court_open();

	enter(&court, court.first, false);
	assert_true(life_doom(court.log, court.first));
	enter(&court, court.second, false);
	log_step(court.log, court.first, &court.first->seats[0]);
	court_close(&court, FAILURE_OVERLAP);
}

static void a_doomed_holder_that_leaves_was_inside(void **state)
{
	struct court court = court_open();

	enter(&court, court.first, false);
	assert_true(life_doom(court.log, court.first));
	enter(&court, court.second, false);
	log_leave(court.log, court.first, &court.first->seats[0]);
	court_close(&court, FAILURE_OVERLAP);
}

static void a_dead_holder_is_judged_by_its_last_step(void **state)
{
	struct court court = court_open();

	enter(&court, court.first, false);
	assert_true(life_doom(court.log, court.first));
	enter(&court, court.second, false);
	/* It moved, and was killed before it could look. */
	court.first->seats[0].beat = log_stamp(court.log, EVENT_STEP, 0, 0, false);
	life_end(court.log, court.first);
	court_close(&court, FAILURE_OVERLAP);
}

static void a_broken_holder_must_be_told(void **state)
{
	struct court court = court_open();
	struct seat *seat = &court.first->seats[0];

	enter(&court, court.first, false);
	log_break_begin(court.log, court.second, &court.second->seats[1], 0);
	log_break_end(court.log, court.second, &court.second->seats[1]);
	enter(&court, court.second, false);
	uint64_t hold = log_leave(court.log, court.first, seat);
	assert_int_equal(court.log->failure, FAILURE_NONE);
	log_left(court.log, court.first, seat, hold, 0, 0);
	court_close(&court, FAILURE_OVERLAP);
}

static void a_hold_is_not_lost_without_a_break(void **state)
{
	struct court court = court_open();
	struct seat *seat = &court.first->seats[0];

	log_break_begin(court.log, court.second, &court.second->seats[1], 0);
	log_break_end(court.log, court.second, &court.second->seats[1]);
	enter(&court, court.first, false);
	uint64_t hold = log_leave(court.log, court.first, seat);
	log_left(court.log, court.first, seat, hold, 0, -ESTALE);
	court_close(&court, FAILURE_LOST_HOLD);
}

static void nobody_is_doomed_in_a_fork(void **state)
{
	struct court court = court_open();

	court.first->forks = 1;
	assert_false(life_doom(court.log, court.first));
	court_close(&court, FAILURE_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shared_holders_may_be_inside_together),
		cmocka_unit_test(a_living_holder_is_not_entered_over),
		cmocka_unit_test(a_doomed_holder_that_moves_no_more_may_be_entered_over),
		cmocka_unit_test(a_doomed_holder_that_moves_on_was_inside),
		cmocka_unit_test(a_doomed_holder_that_leaves_was_inside),
		cmocka_unit_test(a_dead_holder_is_judged_by_its_last_step),
		cmocka_unit_test(a_broken_holder_must_be_told),
		cmocka_unit_test(a_hold_is_not_lost_without_a_break),
		cmocka_unit_test(nobody_is_doomed_in_a_fork),
		cmocka_unit_test(ofd_excludes),
		cmocka_unit_test(flock_excludes),
		cmocka_unit_test(ofd_excludes_bare_ofd_locks),
		cmocka_unit_test(flock_excludes_bare_flock_locks),
		cmocka_unit_test(ofd_breaks),
		cmocka_unit_test(flock_breaks),
		cmocka_unit_test(two_inside_are_found),
		cmocka_unit_test(kills_excuse_no_overlap),
		cmocka_unit_test(breaks_excuse_no_overlap),
		cmocka_unit_test(a_hold_of_a_child_is_found),
		cmocka_unit_test(a_lost_wake_up_is_found),
		cmocka_unit_test(a_lock_left_behind_is_found),
		cmocka_unit_test(a_token_that_does_not_grow_is_found),
	};

	return cmocka_run_group_tests_name("oracle", tests, NULL, NULL);
}
