/*
 * Libraries that only some subcommands need, loaded when one of them runs.
 *
 * Linked, they would be mapped and relocated each time `relock run` starts,
 * which is meant to be as quick as flock(1).  Each user has a struct of
 * function pointers and a list of their names, and keeps both in step by
 * making them from one macro list, checked against the library's own header.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct lazy_symbol {
	const char *name;
	void **function;
};

/* Loads `file` and looks up every symbol.  If it cannot: says what to install
 * ("`package`"), and returns false. */
bool lazy_library_load(const char *file, const char *package, const struct lazy_symbol *symbols,
		       size_t count);
