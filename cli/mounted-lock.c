/*
 * A mount names its store where other file systems name their device.  The mount's
 * files lie in its root, so that the folder of one is the mount point; the mount
 * itself is not asked, which has no file of a lock that is free, and may not answer.
 */
#include "mounted-lock.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "message.h"
#include "mount-table.h"

#define HISTORY ".history"

enum { LINKS_MOST = 40 }; /* as the kernel follows */

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

/* Where a path leads by its last component, if that is a symbolic link; to be freed.
 * NULL: it is none. */
static char *follow(const char *folder, const char *path)
{
	char target[PATH_MAX];
	ssize_t length = readlink(path, target, sizeof target - 1);
	char *next = NULL;

	if (length < 0)
		return NULL;
	target[length] = '\0';
	if (target[0] == '/')
		return need_text(strdup(target));
	if (asprintf(&next, "%s/%s", folder, target) < 0)
		out_of_memory();
	return next;
}

/* The folder that the path is in, as the table of mounts would have it, to be freed;
 * NULL and errno.  A file in .history stands for the lock itself. */
static char *folder_of(const char *path)
{
	static const char history[] = "/" HISTORY;
	const char *slash = strrchr(path, '/');
	size_t length = slash ? (size_t)(slash - path) : 0;

	if (length > sizeof history - 1 &&
	    strncmp(path + length - (sizeof history - 1), history, sizeof history - 1) == 0)
		length -= sizeof history - 1;

	CLEANUP_FREE char *folder =
		need_text(slash ? strndup(path, length > 0 ? length : 1) : strdup("."));

	return mount_table_path(folder);
}

static bool find_in_folder(const char *folder, const char *name, struct mounted_lock *ret)
{
	MOUNTED mounted = {NULL, NULL, NULL};

	if (!mount_table_find(folder, &mounted) || !mounted_is_relockfs(&mounted))
		return false;
	ret->store = need_text(strdup(mounted.source));
	ret->mountpoint = need_text(strdup(folder));
	ret->name = need_text(strdup(name));
	ret->file = file_in_store(ret->store, ret->name);
	return true;
}

bool mounted_lock_find(const char *path, struct mounted_lock *ret)
{
	CLEANUP_FREE char *at = need_text(strdup(path));

	for (int links = 0; links < LINKS_MOST; links++) {
		CLEANUP_FREE char *folder = folder_of(at);
		const char *slash = strrchr(at, '/'), *name = slash ? slash + 1 : at;

		if (!folder || !*name)
			return false;
		if (find_in_folder(folder, name, ret))
			return true;

		char *next = follow(folder, at);

		if (!next)
			return false;
		free(at);
		at = next;
	}
	return false;
}
