/*
 * The search of execvp(3): a name with a slash is a path; else the folders of
 * $PATH, an empty one being the current.
 */
#include "find-program.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "message.h"

static int check_file(const char *path)
{
	struct stat stat_buffer;

	if (stat(path, &stat_buffer) < 0)
		return errno == EACCES ? -EACCES : -ENOENT;
	if (!S_ISREG(stat_buffer.st_mode) || faccessat(AT_FDCWD, path, X_OK, AT_EACCESS) < 0)
		return -EACCES;
	return 0;
}

int find_program(const char *name, char **ret)
{
	const char *path = getenv("PATH");
	int result = -ENOENT;

	if (*name == '\0')
		return -ENOENT;
	if (strchr(name, '/')) {
		result = check_file(name);
		if (result == 0)
			*ret = need_text(strdup(name));
		return result;
	}
	if (!path)
		path = "/bin:/usr/bin";
	for (;; path++) {
		CLEANUP_FREE char *candidate = NULL;
		size_t length = strcspn(path, ":");

		if (asprintf(&candidate, "%.*s%s%s", (int)length, path, length ? "/" : "./", name) <
		    0) {
			candidate = NULL;
			out_of_memory();
		}

		int error = check_file(candidate);

		if (error == 0) {
			*ret = candidate;
			candidate = NULL;
			return 0;
		}
		if (error == -EACCES)
			result = -EACCES;
		path += length;
		if (*path == '\0')
			return result;
	}
}
