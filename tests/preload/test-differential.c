/*
 * The differential tester itself: that its model has the rows, and that it
 * would find a shim that does not.
 *
 * What it finds or does not find by random plans is for the long runs; these
 * here are of fixed seeds.
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

#include "differential-model.h"
#include "differential-shrink.h"

/* The model: short plans, and what is locked after them */

static void perform_all(struct model *model, enum column column, const struct step *steps)
{
	static struct expectation expectation;

	memset(model, 0, sizeof *model);
	model_add_actor(model, 0, column);
	for (int i = 0; steps[i].kind != STEP_KINDS; i++) {
		model_perform(model, &steps[i], &expectation);
		assert_int_not_equal(expectation.what, EXPECT_NO_STEP);
		if (expectation.what == EXPECT_NUMBER)
			model_set_number(model, &steps[i], 10 + i);
	}
}

static void check_columns(const struct step *steps, const char *legacy, const char *process)
{
	static struct model model;
	static struct lock_map view;
	char text[200];

	perform_all(&model, COLUMN_LEGACY, steps);
	map_view(&model.files[0], &view);
	map_print(&view, text, sizeof text);
	assert_string_equal(text, legacy);
	perform_all(&model, COLUMN_PROCESS, steps);
	map_view(&model.files[0], &view);
	map_print(&view, text, sizeof text);
	assert_string_equal(text, process);
}

#define OPEN(to)                                                                                   \
	{                                                                                          \
		.kind = STEP_OPEN, .other = (to), .flags = O_RDWR                                  \
	}
#define DUP(from, to)                                                                              \
	{                                                                                          \
		.kind = STEP_DUP, .entry = BY_DUP, .slot = (from), .other = (to)                   \
	}
#define CLOSE(which)                                                                               \
	{                                                                                          \
		.kind = STEP_CLOSE, .entry = BY_CLOSE, .slot = (which)                             \
	}
#define LOCK(through, type, start, length)                                                         \
	{                                                                                          \
		.kind = STEP_SET, .slot = (through), .lock = {                                     \
			(type),                                                                    \
			SEEK_SET,                                                                  \
			(start),                                                                   \
			(length),                                                                  \
			0                                                                          \
		}                                                                                  \
	}
#define END                                                                                        \
	{                                                                                          \
		.kind = STEP_KINDS                                                                 \
	}

static void model_has_row_04(void **state)
{
	(void)state;
	check_columns((struct step[]){OPEN(0), OPEN(1), LOCK(0, F_WRLCK, 0, 10), CLOSE(1), END},
		      "nothing", "write A 0-9");
	/* A byte belongs to the open that last locked it. */
	check_columns((struct step[]){OPEN(0), OPEN(1), LOCK(0, F_WRLCK, 0, 10),
				      LOCK(1, F_WRLCK, 3, 2), CLOSE(1), END},
		      "nothing", "write A 0-2, write A 5-9");
}

static void model_has_row_05(void **state)
{
	(void)state;
	check_columns((struct step[]){OPEN(0), LOCK(0, F_RDLCK, 0, 0), CLOSE(0), END}, "nothing",
		      "nothing");
	check_columns((struct step[]){OPEN(0), DUP(0, 1), LOCK(0, F_RDLCK, 0, 0), CLOSE(0),
				      CLOSE(1), END},
		      "nothing", "nothing");
}

static void model_has_row_06(void **state)
{
	(void)state;
	check_columns((struct step[]){OPEN(0), DUP(0, 1), LOCK(0, F_RDLCK, 5, 0), CLOSE(0), END},
		      "nothing", "read A 5-EOF");
}

static void model_has_row_01(void **state)
{
	(void)state;
	check_columns((struct step[]){OPEN(0), OPEN(1), LOCK(0, F_WRLCK, 0, 10),
				      LOCK(0, F_RDLCK, 3, 2), LOCK(1, F_UNLCK, 8, 1),
				      LOCK(1, F_WRLCK, 10, 2), END},
		      "write A 0-2, read A 3-4, write A 5-7, write A 9-11",
		      "write A 0-2, read A 3-4, write A 5-7, write A 9-11");
}

/* The tester */

static const char *required(const char *name)
{
	const char *value = getenv(name);

	if (!value)
		fail_msg("%s is not set: run this with `meson test`", name);
	return value;
}

/* The step of the first difference in some plans, after shrinking; else -1. */
static int first_difference(const struct settings *settings, const char *semantics,
			    size_t *ret_steps)
{
	static struct plan plan;
	struct difference difference = {0};
	struct cast cast;
	enum { PLANS = 12, SHRINKING_SECONDS = 10 };

	assert_true(cast_make(&cast, required("RELOCK_TEST_PLAYER"), required("RELOCK_TEST_SHIM"),
			      semantics));
	for (uint64_t seed = 1; seed <= PLANS && !difference.is_found; seed++) {
		plan_make(seed, settings->steps, &plan);
		run_plan(&cast, settings, &plan, &difference);
	}
	if (difference.is_found)
		shrink(&cast, settings, &plan, &difference, SHRINKING_SECONDS);
	cast_remove(&cast);
	*ret_steps = 0;
	for (size_t i = 0; i < plan.count; i++)
		*ret_steps += !plan.is_left_out[i];
	if (difference.is_found)
		print_message("found in %zu steps: %s\n", *ret_steps, difference.text);
	return difference.is_found ? (int)difference.step : -1;
}

static void finds_no_difference_in_native_locks(void **state)
{
	struct settings settings = {.mode = MODE_NATIVE, .steps = 150};
	size_t steps;

	(void)state;
	assert_int_equal(first_difference(&settings, "process", &steps), -1);
}

/* Row 4, by a model that keeps what the kernel drops. */
static void finds_that_native_locks_are_not_process(void **state)
{
	struct settings settings = {.mode = MODE_NATIVE, .steps = 150, .has_wrong_model = true};
	size_t steps;

	(void)state;
	assert_int_not_equal(first_difference(&settings, "process", &steps), -1);
	assert_in_range(steps, 2, 12);
}

static void finds_that_ofd_is_not_process(void **state)
{
	struct settings settings = {.mode = MODE_SHIM, .steps = 150};
	size_t steps;

	(void)state;
	assert_int_not_equal(first_difference(&settings, "ofd", &steps), -1);
	assert_in_range(steps, 2, 12);
}

static void finds_that_the_shim_is_not_legacy(void **state)
{
	struct settings settings = {.mode = MODE_SHIM, .steps = 150, .has_wrong_model = true};
	size_t steps;

	(void)state;
	assert_int_not_equal(first_difference(&settings, "process", &steps), -1);
	assert_in_range(steps, 2, 12);
}

static void makes_one_plan_of_one_seed(void **state)
{
	static struct plan a, b;

	(void)state;
	plan_make(7, 300, &a);
	plan_make(7, 300, &b);
	assert_int_equal(a.count, 300);
	assert_memory_equal(&a, &b, sizeof a);
	plan_make(8, 300, &b);
	assert_memory_not_equal(&a, &b, sizeof a);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(model_has_row_01),
	cmocka_unit_test(model_has_row_04),
	cmocka_unit_test(model_has_row_05),
	cmocka_unit_test(model_has_row_06),
	cmocka_unit_test(makes_one_plan_of_one_seed),
	cmocka_unit_test(finds_no_difference_in_native_locks),
	cmocka_unit_test(finds_that_native_locks_are_not_process),
	cmocka_unit_test(finds_that_ofd_is_not_process),
	cmocka_unit_test(finds_that_the_shim_is_not_legacy),
};

int main(void)
{
	return cmocka_run_group_tests_name("differential", tests, NULL, NULL);
}
