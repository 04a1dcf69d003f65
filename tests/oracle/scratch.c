#include "scratch.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../common/private-shm.h"

char *scratch_store_make(const char *scheme)
{
	const char *parent = getenv("TMPDIR");
	char *url = NULL;

	/* Semaphores are all in one place, so that has to be ours. */
	if (strcmp(scheme, "sem") == 0)
		return private_shm() == 0 ? strdup("sem:") : NULL;
	if (asprintf(&url, "%s:%s/oracle-XXXXXX", scheme, parent ? parent : "/tmp") < 0)
		return NULL;
	if (!mkdtemp(strchr(url, ':') + 1)) {
		free(url);
		return NULL;
	}
	return url;
}

void scratch_store_remove(char *url)
{
	const char *path = strchr(url, ':') + 1;
	DIR *dir = *path ? opendir(path) : NULL;

	if (dir) {
		for (struct dirent *entry; (entry = readdir(dir));)
			unlinkat(dirfd(dir), entry->d_name, 0); /* not "." and ".." */
		closedir(dir);
	}
	if (*path)
		rmdir(path);
	else
		private_shm_clear();
	free(url);
}
