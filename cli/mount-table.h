/*
 * What is mounted where, as the kernel's table has it: nobody's daemon is asked.
 */
#pragma once

#include <stdbool.h>
#include <stdlib.h>
#include <sys/types.h>

struct mounted {
	char *folder; /* absolute */
	char *type;   /* "fuse.relockfs" */
	char *source; /* of a relockfs: the store's URL */
	uid_t owner;  /* of a FUSE mount: who mounted it; else (uid_t)-1 */
};

/* What is to be seen on this absolute path, to be freed with mounted_free();
 * false: nothing is mounted there. */
bool mount_table_find(const char *folder, struct mounted *ret);

/* All relockfs mounts that can be seen, to be freed with
 * mount_table_free_list(). */
size_t mount_table_list(struct mounted **ret);
void mount_table_free_list(struct mounted *list, size_t count);

bool mounted_is_relockfs(const struct mounted *mounted);

/* The path as the table would have it, to be freed.  Works for the folder of a
 * mount whose daemon is gone or does not answer.  NULL and errno of
 * realpath(3). */
char *mount_table_path(const char *path);

static inline void mounted_free(struct mounted *mounted)
{
	free(mounted->folder);
	free(mounted->type);
	free(mounted->source);
}

#define MOUNTED __attribute__((cleanup(mounted_free))) struct mounted
