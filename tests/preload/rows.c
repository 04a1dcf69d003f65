/* See rows.h. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "rows.h"

#include <string.h>

const char *const entry_names[] = {"fcntl", "fcntl64", "syscall", "lockf", "lockf64"};

_Static_assert(sizeof entry_names / sizeof *entry_names == ENTRY_COUNT, "a name for each entry");

static void check(const struct program_start *start, const char *where, const char *expected)
{
	const char *said = program_says(start), *argument = start->arguments[4];

	if (strcmp(said, expected) != 0)
		fail_msg("%s %s by %s, %s:\n    said     %s\n    expected %s", start->arguments[1],
			 argument ? argument : "", start->arguments[3], where, said, expected);
}

void check_columns(const char *subject_case, const char *argument, const char *path,
		   const char *entry, const struct columns *expected)
{
	const struct {
		enum regime regime;
		const char *where, *expected;
	} each[] = {
		{NATIVE, "natively", expected->native},
		{PROCESS, "in `process`", expected->process},
		{OFD, "in `ofd`", expected->ofd},
	};

	for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
		struct program_start start = {
			.regime = each[i].regime,
			.arguments = {"preload-subject", subject_case, path ? path : fresh_file(),
				      entry, argument},
		};
		if (each[i].expected)
			check(&start, each[i].where, each[i].expected);
	}
}

void check_row(void **state)
{
	const struct row *row = *state;

	for (int i = 0; i < ENTRY_COUNT; i++)
		if (row->entries & 1U << i)
			check_columns(row->subject_case, row->argument, NULL, entry_names[i],
				      &row->expected);
}
