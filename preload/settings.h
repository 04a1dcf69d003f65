/* What the environment asks of the shim. */
#pragma once

#include <stdbool.h>

#include "choice.h"

struct shim_settings {
	enum shim_choice semantics; /* RELOCK_SEMANTICS */
	bool has_policy;            /* RELOCK_POLICY has rules, see policy.h */
	const char *policy;
	bool debug;             /* RELOCK_DEBUG is set */
	const char *debug_file; /* NULL: standard error */
	const char *trace_file; /* RELOCK_TRACE; NULL: not set */
};

/* Is a lock call to be written down? */
static inline bool shim_settings_want_reports(const struct shim_settings *settings)
{
	return settings->debug || settings->trace_file;
}

/* The settings of this process.  `scratch` is the caller's, for the case that
 * they cannot be kept yet; the result may point to it. */
const struct shim_settings *shim_settings(struct shim_settings *scratch);
