/*
 * A table of cases, each with what the subject has to say natively, and under
 * the shim in `process` and in `ofd`: the three columns of the contract.
 */
#pragma once

#include <cmocka.h>

#include "program.h"

/* The functions that a program can make a lock call by. */
enum entry { FCNTL = 1, FCNTL64 = 2, SYSCALL = 4, LOCKF = 8, LOCKF64 = 16 };
enum {
	ANY_FCNTL = FCNTL | FCNTL64 | SYSCALL,
	ANY_LOCKF = LOCKF | LOCKF64,
	ANY = ANY_FCNTL | ANY_LOCKF,
	CANCELLABLE = ANY & ~SYSCALL,
};
extern const char *const entry_names[];
enum { ENTRY_COUNT = 5 };

/* What the subject has to say in each regime; NULL: not run in that one. */
struct columns {
	const char *native, *process, *ofd;
};

/* Runs a case of the subject in each regime; argument and path may be NULL: no
 * argument, a fresh file for each. */
void check_columns(const char *subject_case, const char *argument, const char *path,
		   const char *entry, const struct columns *expected);

struct row {
	const char *subject_case, *argument;
	unsigned entries;
	struct columns expected;
};

/* Runs it through each entry. */
void check_row(void **state);

#define ROW_OF(number, subject, argument, entries, native, process, ofd)                           \
	{                                                                                          \
		.name = "row_" number "_" subject "_" argument, .test_func = check_row,            \
		.initial_state =                                                                   \
			&(struct row){subject, argument, entries, {native, process, ofd}},         \
	}
#define ROW(number, subject, entries, native, process, ofd)                                        \
	{                                                                                          \
		.name = "row_" number "_" subject, .test_func = check_row,                         \
		.initial_state = &(struct row){subject, NULL, entries, {native, process, ofd}},    \
	}
/* For which no row promises a difference. */
#define SAME(number, subject, entries, all) ROW(number, subject, entries, all, all, all)
