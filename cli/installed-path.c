/*
 * RELOCK_BINDIR is where this program was meant to be installed.  If it runs
 * from ROOT/RELOCK_BINDIR, its parts are in ROOT/...; if it runs from
 * elsewhere, from the build tree, they are beside it.
 */
#include "installed-path.h"

#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "message.h"

/* The folder of the running program; false without /proc. */
static bool own_folder(char folder[static PATH_MAX])
{
	ssize_t length = readlink("/proc/self/exe", folder, PATH_MAX - 1);

	if (length <= 0)
		return false;
	folder[length] = '\0';

	char *slash = strrchr(folder, '/');

	if (!slash)
		return false;
	*slash = '\0';
	return true;
}

static char *join_if_exists(const char *folder, const char *separator, const char *path)
{
	CLEANUP_FREE char *joined = NULL;

	if (asprintf(&joined, "%s%s%s", folder, separator, path) < 0) {
		joined = NULL;
		out_of_memory();
	}
	if (access(joined, F_OK) < 0)
		return NULL;

	char *found = joined;

	joined = NULL;
	return found;
}

char *installed_path(const char *in_build_tree, const char *installed)
{
	char folder[PATH_MAX];

	if (!own_folder(folder))
		return join_if_exists("", "", installed);

	size_t length = strlen(folder), bindir_length = strlen(RELOCK_BINDIR);

	if (length < bindir_length || strcmp(folder + length - bindir_length, RELOCK_BINDIR) != 0) {
		char *found = join_if_exists(folder, "/", in_build_tree);

		return found ? found : join_if_exists("", "", installed);
	}
	folder[length - bindir_length] = '\0';
	return join_if_exists(folder, "", installed);
}
