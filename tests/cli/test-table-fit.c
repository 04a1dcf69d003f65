/*
 * How wide texts are, and how columns share a terminal.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>

#include "table-fit.h"

static void widths_are_in_columns(void **state)
{
	assert_int_equal(text_width(""), 0);
	assert_int_equal(text_width("abc"), 3);
	assert_int_equal(text_width("\xc3\xa4"), 1);
	/* Wide characters, and one that stands on top of another. */
	assert_int_equal(text_width("\xe6\x97\xa5\xe6\x9c\xac"), 4);
	assert_int_equal(text_width("e\xcc\x81"), 1);
	/* What the locale does not know is printed as \\xHH. */
	assert_int_equal(text_width("\xff"), 4);
	assert_int_equal(text_width("a\nlonger\nb"), 6);
}

static void expect_cut(const char *text, size_t width, enum cut cut, const char *expected)
{
	char *made = cut_text(text, width, cut);

	assert_string_equal(made, expected);
	free(made);
}

static void cut_shows_that_something_is_missing(void **state)
{
	expect_cut("0123456789", 10, CUT_END, "0123456789");
	expect_cut("0123456789a", 10, CUT_END, "0123456...");
	expect_cut("/0123456789", 10, CUT_START, "...3456789");
	expect_cut("short\n0123456789a\n", 10, CUT_END, "short\n0123456...\n");
	/* Never within a character, nor wider than allowed. */
	expect_cut("123456\xe6\x97\xa5\xe6\x9c\xac\xe6\x97\xa5", 10, CUT_END, "123456...");
	expect_cut("\xe6\x97\xa5\xe6\x9c\xac\xe6\x97\xa5"
		   "123456",
		   10, CUT_START, "...123456");
}

static void each_line_is_moved_to_the_right(void **state)
{
	char *made = align_right("1\n\n1234", 4);

	assert_string_equal(made, "   1\n    \n1234");
	free(made);
}

static void the_widest_columns_give_first(void **state)
{
	static const bool may_shrink[] = {false, true, true, true};
	size_t widths[] = {30, 100, 60, 12};

	fit_widths(widths, may_shrink, 4, 100);
	assert_int_equal(widths[0], 30);
	assert_int_equal(widths[1] + widths[2], 100 - 3 - 30 - 12);
	assert_true(widths[1] - widths[2] <= 1 || widths[2] - widths[1] <= 1);
	assert_int_equal(widths[3], 12);
	/* It ends where none can give any more. */
	fit_widths(widths, may_shrink, 4, 20);
	assert_int_equal(widths[0], 30);
	for (size_t i = 1; i < 4; i++)
		assert_int_equal(widths[i], NARROWEST);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(widths_are_in_columns),
		cmocka_unit_test(cut_shows_that_something_is_missing),
		cmocka_unit_test(each_line_is_moved_to_the_right),
		cmocka_unit_test(the_widest_columns_give_first),
	};

	if (!setlocale(LC_CTYPE, "C.UTF-8"))
		return 1;
	return cmocka_run_group_tests_name("relock's tables", tests, NULL, NULL);
}
