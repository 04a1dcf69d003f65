/* Which semantics RELOCK_POLICY gives to a file. */
#pragma once

#include <stdbool.h>

#include "settings.h"

/*
 * The semantics of the file behind `fd`: those of the first rule that matches
 * its path, and *ret_by_rule is true, so that they count on FUSE, CIFS and 9p,
 * too; or else the default.
 *
 * To be asked once for a file and remembered: a file may be renamed while it is
 * locked, and its unlock must go the way of its lock.  It takes a readlink(2)
 * in /proc.  Only if settings->has_policy.
 */
enum shim_choice shim_policy_choice(const struct shim_settings *settings, int fd,
				    bool *ret_by_rule);
