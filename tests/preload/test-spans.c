/*
 * Which open has locked which bytes: spans.c against the plainest model there
 * is, an array with an entry for each byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spans.h"

enum { BYTES = 40, OPENS = 4, STEPS = 200000 };

static uint32_t list;
static uint32_t model[BYTES];

static void assign(off_t first, off_t last, uint32_t open)
{
	assert_true(spans_reserve());
	spans_assign(&list, first, last, open);
	for (off_t byte = first; byte <= last && byte < BYTES; byte++)
		model[byte] = open;
}

/* Sorted, without overlap, each byte of its owner, and no two that could be
 * one. */
static void check_against_model(void)
{
	const struct span *before = NULL;
	off_t from = 0;

	for (uint32_t number = list; number; number = span_at(number)->next) {
		const struct span *span = span_at(number);
		assert_true(span->first >= from && span->last >= span->first);
		if (before && before->last + 1 == span->first)
			assert_int_not_equal(before->open, span->open);
		for (; from < span->first && from < BYTES; from++)
			assert_int_equal(model[from], 0);
		for (; from <= span->last && from < BYTES; from++)
			assert_int_equal(model[from], span->open);
		before = span;
		if (span->last == INT64_MAX)
			return;
		from = span->last + 1;
	}
	for (; from < BYTES; from++)
		assert_int_equal(model[from], 0);
}

static void random_assignments(void **state)
{
	unsigned seed = 20;

	(void)state;
	for (int step = 0; step < STEPS; step++) {
		off_t first = rand_r(&seed) % BYTES;
		off_t last = rand_r(&seed) % 8 == 0 ? INT64_MAX : first + rand_r(&seed) % 12;
		assign(first, last, (uint32_t)rand_r(&seed) % (OPENS + 1));
		check_against_model();
	}
	spans_free(&list);
	assert_int_equal(list, 0);
	memset(model, 0, sizeof model);
}

static void one_byte_out_of_the_middle(void **state)
{
	(void)state;
	assign(0, INT64_MAX, 1);
	assign(10, 10, 2);
	check_against_model();
	const struct span *middle = span_at(span_at(list)->next);
	assert_int_equal(middle->first, 10);
	assert_int_equal(middle->last, 10);
	assert_int_equal(span_at(middle->next)->first, 11);
	assert_true(span_at(middle->next)->last == INT64_MAX);
	assign(10, 10, 1);
	assert_int_equal(span_at(list)->next, 0);
	spans_free(&list);
	memset(model, 0, sizeof model);
}

/* Objects that came back are used again: a program that locks for years needs
 * no more memory than its most locks at a time. */
static void memory_is_used_again(void **state)
{
	uint32_t largest = 0;

	(void)state;
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < 1000; i++)
			assign(i * 2, i * 2, 1);
		for (uint32_t number = list; number; number = span_at(number)->next)
			largest = number > largest ? number : largest;
		assign(0, INT64_MAX, 0);
	}
	assert_in_range(largest, 1000, 1002);
	memset(model, 0, sizeof model);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(random_assignments),
	cmocka_unit_test(one_byte_out_of_the_middle),
	cmocka_unit_test(memory_is_used_again),
};

int main(void)
{
	return cmocka_run_group_tests_name("spans", tests, NULL, NULL);
}
