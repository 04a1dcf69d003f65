/*
 * The exclusion oracle (tests/oracle/) with legacy record locks: half of the
 * processes under the shim and half of them not, on one file.  The second half
 * of the cases are those in which it must find something, because an oracle
 * that has never failed has proved nothing: what harms a careless program
 * natively, and what a rewrite call by call does to a careful one.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "program.h"

/* Natively if there is no semantics. */
struct run {
	const char *semantics, *driver, *other, *grants, *forks;
};

static void run_oracle(const struct run *run, struct program_output *ret)
{
	char driver[32], other[32], grants[32], forks[32], preload[4096], semantics[48];

	snprintf(driver, sizeof driver, "--driver=%s", run->driver);
	snprintf(other, sizeof other, "--mix=%s", run->other);
	snprintf(grants, sizeof grants, "--grants=%s", run->grants);
	snprintf(forks, sizeof forks, "--fork-every=%s", run->forks);
	snprintf(preload, sizeof preload, "--preload=%s", shim_path());
	snprintf(semantics, sizeof semantics, "RELOCK_SEMANTICS=%s", run->semantics);
	program_run(
		&(struct program_start){
			.arguments = {"preload-oracle", "--fresh=legacy", driver, other, grants,
				      forks, run->semantics ? preload : NULL},
			.settings = {run->semantics ? semantics : NULL},
		},
		ret);
}

static void expect_nothing(const struct run *run)
{
	struct program_output output;

	run_oracle(run, &output);
	if (output.status != 0 || strstr(output.error, "oracle:"))
		fail_msg("found something: %s\n%s", output.out, output.error);
}

static void expect_overlap(const struct run *run)
{
	struct program_output output;

	run_oracle(run, &output);
	assert_true(WIFEXITED(output.status));
	assert_int_equal(WEXITSTATUS(output.status), 1);
	if (!strstr(output.error, "oracle: overlap:"))
		fail_msg("found no overlap, but: %s\n%s", output.out, output.error);
}

static void native_programs_exclude_each_other(void **state)
{
	(void)state;
	expect_nothing(&(struct run){
		.driver = "legacy", .other = "legacy", .grants = "20000", .forks = "50"});
}

static void programs_under_process_exclude_native_ones(void **state)
{
	(void)state;
	expect_nothing(&(struct run){.semantics = "process",
				     .driver = "legacy",
				     .other = "legacy",
				     .grants = "20000",
				     .forks = "50"});
}

/* Rows 4 to 7: what it is all for. */
static void careless_programs_under_process_exclude_native_ones(void **state)
{
	(void)state;
	expect_nothing(&(struct run){.semantics = "process",
				     .driver = "legacy",
				     .other = "careless",
				     .grants = "20000",
				     .forks = "50"});
}

/* `ofd` does for a program that forks nowhere. */
static void programs_under_ofd_exclude_native_ones(void **state)
{
	(void)state;
	expect_nothing(&(struct run){.semantics = "ofd",
				     .driver = "legacy",
				     .other = "legacy",
				     .grants = "20000",
				     .forks = "0"});
}

static void row_04_a_careless_close_is_found_natively(void **state)
{
	(void)state;
	expect_overlap(&(struct run){
		.driver = "legacy", .other = "careless", .grants = "20000", .forks = "0"});
}

static void row_04_a_careless_close_is_found_with_legacy_calls(void **state)
{
	(void)state;
	expect_overlap(&(struct run){.semantics = "off",
				     .driver = "legacy",
				     .other = "careless",
				     .grants = "20000",
				     .forks = "0"});
}

static void row_08_an_unlock_by_a_child_is_found_under_ofd(void **state)
{
	(void)state;
	expect_overlap(&(struct run){.semantics = "ofd",
				     .driver = "legacy",
				     .other = "legacy",
				     .grants = "20000",
				     .forks = "20"});
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(native_programs_exclude_each_other),
		cmocka_unit_test(programs_under_process_exclude_native_ones),
		cmocka_unit_test(careless_programs_under_process_exclude_native_ones),
		cmocka_unit_test(programs_under_ofd_exclude_native_ones),
		cmocka_unit_test(row_04_a_careless_close_is_found_natively),
		cmocka_unit_test(row_04_a_careless_close_is_found_with_legacy_calls),
		cmocka_unit_test(row_08_an_unlock_by_a_child_is_found_under_ofd),
	};

	return cmocka_run_group_tests_name("oracle", tests, NULL, NULL);
}
