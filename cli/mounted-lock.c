/*
 * A mount names its store where other file systems name their device, in the
 * first column of /proc/self/mounts; getmntent() undoes the kernel's escapes.
 * The mount's files lie in its root, so that the folder of one is the mount
 * point.
 */
#include "mounted-lock.h"

#include <mntent.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "message.h"

static void end_mounts(FILE **mounts)
{
	if (*mounts)
		endmntent(*mounts);
}

/* The store that is mounted on the folder, to be freed; NULL: none is. */
static char *store_of_mount(const char *folder)
{
	CLEANUP(end_mounts) FILE *mounts = setmntent("/proc/self/mounts", "re");
	char *store = NULL;
	struct mntent *mount;

	if (!mounts)
		return NULL;
	/* The last mount on a folder is the one that is seen. */
	while ((mount = getmntent(mounts)))
		if (strcmp(mount->mnt_dir, folder) == 0) {
			free(store);
			store = strcmp(mount->mnt_type, "fuse.relockfs") == 0
					? need_text(strdup(mount->mnt_fsname))
					: NULL;
		}
	return store;
}

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

	char *store = store_of_mount(absolute);

	if (!store)
		return false;
	ret->store = store;
	ret->mountpoint = need_text(strdup(absolute));
	ret->name = need_text(strdup(slash + 1));
	ret->file = file_in_store(store, ret->name);
	return true;
}
