/* The semantics that RELOCK_SEMANTICS and the rules of RELOCK_POLICY choose
 * from. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum shim_choice {
	SHIM_PROCESS, /* "process" */
	SHIM_OFD,     /* "ofd" */
	SHIM_LEGACY,  /* "off": the calls as the program makes them */
};

/* False: there are no such semantics.  The name need not end in NUL. */
bool shim_choice_from_name(const char *name, size_t length, enum shim_choice *ret);
