/*
 * Names of locks.  A name is one component of a path, shown to people and
 * written into logs: 1 to 255 bytes, no '/', no control characters.  What
 * begins with a dot belongs to the stores and to the mount (.history).
 */
#include <errno.h>
#include <string.h>

#include "message.h"
#include "store.h"

int name_check(const char *name, bool any_dot)
{
	size_t length = strlen(name);

	if (length == 0)
		return failed(-EINVAL, "a lock's name cannot be empty");
	if (length > RELOCK_NAME_MAX)
		return failed(-ENAMETOOLONG, "%.32s...: a lock's name has at most %d bytes", name,
			      RELOCK_NAME_MAX);
	for (const char *at = name; *at; at++) {
		if (*at == '/')
			return failed(-EINVAL,
				      "%s: a lock's name cannot have '/' in it; for a lock file "
				      "of your own, begin its path with '/' or './'",
				      name);
		if ((unsigned char)*at < 0x20 || *at == 0x7f)
			return failed(-EINVAL, "%s: a lock's name cannot have control characters",
				      name);
	}
	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return failed(-EINVAL, "%s: that is a folder, not a lock", name);
	if (*name == '.' && !any_dot)
		return failed(-EINVAL, "%s: a lock's name cannot begin with a dot", name);
	return 0;
}
