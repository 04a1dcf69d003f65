/*
 * A mount names its store where other file systems name their device.  The mount's files lie in its
 * root, so that the folder of one is the mount point.
 */
#include "mounted-lock.h"

#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "message.h"
#include "mount-table.h"

static char *file_in_store(const char *store, const char *name)
{
	static const char *const schemes[] = {"ofd:", "flock:"};
	char *file = NULL;

	for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
		size_t length = strlen(schemes[i]);

		if (strncmp(store, schemes[i], length) == 0 &&
		    asprintf(&file, "%s/%s", store + length, name) < 0)
			out_of_memory();
	}
	return file;
}

bool mounted_lock_find(const char *path, struct mounted_lock *ret)
{
	CLEANUP_FREE char *absolute = realpath(path, NULL);
	char *slash = absolute ? strrchr(absolute, '/') : NULL;

	if (!slash || slash == absolute)
		return false;
	*slash = '\0';

	MOUNTED mounted = {NULL, NULL, NULL};

	if (!mount_table_find(absolute, &mounted) || !mounted_is_relockfs(&mounted))
		return false;
	ret->store = need_text(strdup(mounted.source));
	ret->mountpoint = need_text(strdup(absolute));
	ret->name = need_text(strdup(slash + 1));
	ret->file = file_in_store(ret->store, ret->name);
	return true;
}
