/*
 * See policy.h.  The path is that of the descriptor, not that of the call that
 * opened it: without symbolic links, and as it was renamed.  A file that was
 * deleted keeps its last path.
 *
 * A signal handler on a small stack may be what runs here, so there is not
 * room for all of a path that the kernel would give (a page).  A path that does
 * not fit is treated as one that is not known.
 */
#include "policy.h"

#include "debug.h"
#include "descriptor-path.h"
#include "policy-rules.h"

enum { PATH_SIZE = 1024 };

enum shim_choice shim_policy_choice(const struct shim_settings *settings, int fd, bool *ret_by_rule)
{
	char path[PATH_SIZE];
	bool is_deleted;
	enum shim_choice choice = settings->semantics;
	ssize_t length = shim_descriptor_path(fd, path, sizeof path, &is_deleted);
	bool is_known = length >= 0 && length < PATH_SIZE;

	*ret_by_rule = shim_policy_match(settings->policy, is_known ? path : NULL, (size_t)length,
					 &choice);
	if (!is_known)
		shim_debug_note("the path of a file is not known (no /proc, or it is too long): "
				"of RELOCK_POLICY only the rule * counts for it");
	return choice;
}
