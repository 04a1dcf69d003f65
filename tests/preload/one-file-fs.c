/*
 * A FUSE file system with one file in it, `file`, of no contents: something
 * for the shim to find a lock on.  It does not handle locks, so the kernel
 * keeps them; the shim cannot know that.
 *
 *	one-file-fs -f MOUNTPOINT
 */
#define FUSE_USE_VERSION 35

#include <errno.h>
#include <fuse.h>
#include <string.h>
#include <sys/stat.h>

static int look(const char *path, struct stat *ret, struct fuse_file_info *open_file)
{
	(void)open_file;
	memset(ret, 0, sizeof *ret);
	ret->st_nlink = 1;
	if (strcmp(path, "/") == 0)
		ret->st_mode = S_IFDIR | 0755;
	else if (strcmp(path, "/file") == 0)
		ret->st_mode = S_IFREG | 0666;
	else
		return -ENOENT;
	return 0;
}

static int allow(const char *path, struct fuse_file_info *open_file)
{
	(void)path;
	(void)open_file;
	return 0;
}

static const struct fuse_operations operations = {.getattr = look, .open = allow};

int main(int argument_count, char **arguments)
{
	return fuse_main(argument_count, arguments, &operations, NULL);
}
