/*
 * Globs for paths, matched byte by byte:
 *
 *	?        one byte but '/'
 *	*        any bytes but '/', or none
 *	**       any bytes, or none; as a whole component before others it
 *	         stands for any number of components, none among them
 *	[a-z_]   one of these bytes; a ']' that stands first is one of them
 *	[!a-z]   one byte but these and '/'; [^a-z] is the same
 *	\x       x itself
 *
 * fnmatch(3) is no help: it may allocate memory, it looks at the locale, its
 * time may grow without bounds, and it has no `**`.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum { SHIM_GLOB_MAX = 1023 };

/* What is wrong with a glob, as the end of a sentence that begins with it:
 * "has a [ without its ]"; NULL: nothing. */
const char *shim_glob_fault(const char *glob, size_t length);

/* Does a glob without fault match the whole text?  Neither ends in NUL.  Takes
 * at most so many steps as the product of the lengths. */
bool shim_glob_matches(const char *glob, size_t glob_length, const char *text, size_t text_length);
