/*
 * /proc/self/mounts; getmntent() undoes the kernel's escapes (\040 for a blank).
 * The last mount on a folder is the one that is seen.
 */
#include "mount-table.h"

#include <errno.h>
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

static uid_t owner_of(const struct mntent *mount)
{
	const char *option = hasmntopt(mount, "user_id");
	unsigned owner;

	return option && sscanf(option, "user_id=%u", &owner) == 1 ? (uid_t)owner : (uid_t)-1;
}

static void take(struct mounted *mounted, const struct mntent *mount)
{
	mounted_free(mounted);
	mounted->folder = need_text(strdup(mount->mnt_dir));
	mounted->type = need_text(strdup(mount->mnt_type));
	mounted->source = need_text(strdup(mount->mnt_fsname));
	mounted->owner = owner_of(mount);
}

bool mount_table_find(const char *folder, struct mounted *ret)
{
	CLEANUP(end_mounts) FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mounted mounted = {0};
	struct mntent *mount;

	while (mounts && (mount = getmntent(mounts)))
		if (strcmp(mount->mnt_dir, folder) == 0)
			take(&mounted, mount);
	if (!mounted.folder)
		return false;
	*ret = mounted;
	return true;
}

bool mounted_is_relockfs(const struct mounted *mounted)
{
	return strcmp(mounted->type, "fuse.relockfs") == 0;
}

static struct mounted *find_in(struct mounted *list, size_t count, const char *folder)
{
	for (size_t i = 0; i < count; i++)
		if (strcmp(list[i].folder, folder) == 0)
			return &list[i];
	return NULL;
}

/* Drops those that something else is mounted on. */
static size_t keep_relockfs(struct mounted *list, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++)
		if (mounted_is_relockfs(&list[i]))
			list[kept++] = list[i];
		else
			mounted_free(&list[i]);
	return kept;
}

size_t mount_table_list(struct mounted **ret)
{
	CLEANUP(end_mounts) FILE *mounts = setmntent("/proc/self/mounts", "re");
	struct mounted *list = NULL;
	struct mntent *mount;
	size_t count = 0;

	while (mounts && (mount = getmntent(mounts))) {
		struct mounted *place = find_in(list, count, mount->mnt_dir);

		if (!place) {
			list = reallocarray(list, count + 1, sizeof *list);
			if (!list)
				out_of_memory();
			place = &list[count++];
			*place = (struct mounted){0};
		}
		take(place, mount);
	}
	*ret = list;
	return keep_relockfs(list, count);
}

void mount_table_free_list(struct mounted *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		mounted_free(&list[i]);
	free(list);
}

/* realpath(3) of newer C libraries reads links only, which for a folder asks no
 * daemon; that of older ones stats, and fails on a dead mount.  The folder above
 * it is none. */
char *mount_table_path(const char *path)
{
	char *absolute = realpath(path, NULL), *joined = NULL;

	if (absolute || errno != ENOTCONN)
		return absolute;

	CLEANUP_FREE char *copy = need_text(strdup(path));

	for (size_t end = strlen(copy); end > 1 && copy[end - 1] == '/'; end--)
		copy[end - 1] = '\0';

	char *slash = strrchr(copy, '/');
	const char *name = slash ? slash + 1 : copy;
	CLEANUP_FREE char *above =
		slash ? need_text(strndup(copy, slash == copy ? 1 : (size_t)(slash - copy)))
		      : need_text(strdup("."));
	CLEANUP_FREE char *folder = realpath(above, NULL);

	if (!folder)
		return NULL;
	if (asprintf(&joined, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder, name) < 0)
		out_of_memory();
	return joined;
}
