/* What the environment asks of the shim. */
#pragma once

#include <stdbool.h>

#include "choice.h"

struct shim_settings {
	enum shim_choice semantics; /* RELOCK_SEMANTICS */
	bool debug;                 /* RELOCK_DEBUG is set */
	const char *debug_file;     /* NULL: standard error */
};

/* The settings of this process.  `scratch` is the caller's, for the case that
 * they cannot be kept yet; the result may point to it. */
const struct shim_settings *shim_settings(struct shim_settings *scratch);
