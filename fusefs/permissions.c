#include "permissions.h"

#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "say.h"
#include "server.h"

/* Decimal, as ids are written; false if it is no number, or the one that stands
 * for none. */
static bool parse_id(const char *text, unsigned *ret)
{
	char *end;

	if (*text < '0' || *text > '9')
		return false;
	errno = 0;
	unsigned long number = strtoul(text, &end, 10);
	if (*end != '\0' || errno != 0 || number >= (unsigned)-1)
		return false;
	*ret = (unsigned)number;
	return true;
}

static int parse_user(const char *text, uid_t *ret)
{
	const struct passwd *user;

	if (parse_id(text, ret))
		return 0;
	user = getpwnam(text);
	if (!user) {
		say("uid=%s: there is no such user", text);
		return -EINVAL;
	}
	*ret = user->pw_uid;
	return 0;
}

static int parse_group(const char *text, gid_t *ret)
{
	const struct group *group;

	if (parse_id(text, ret))
		return 0;
	group = getgrnam(text);
	if (!group) {
		say("gid=%s: there is no such group", text);
		return -EINVAL;
	}
	*ret = group->gr_gid;
	return 0;
}

static int parse_mode(const char *text, mode_t *ret)
{
	size_t length = strspn(text, "01234567");
	unsigned long mode = strtoul(text, NULL, 8);

	if (length == 0 || text[length] != '\0' || length > 8 || mode > 0777) {
		say("mode=%s: a mode is an octal number up to 0777, 0660 for example: who may see "
		    "(r) and who may acquire (w)",
		    text);
		return -EINVAL;
	}
	*ret = (mode_t)mode & 0666;
	return 0;
}

int permissions_parse(struct permissions *ret, const char *uid, const char *gid, const char *mode)
{
	struct permissions permissions = {
		.uid = geteuid(), .gid = getegid(), .restricted = mode != NULL, .mode = 0666};
	int result = uid ? parse_user(uid, &permissions.uid) : 0;

	if (result == 0 && gid)
		result = parse_group(gid, &permissions.gid);
	if (result == 0 && mode)
		result = parse_mode(mode, &permissions.mode);
	if (result == 0)
		*ret = permissions;
	return result;
}

/* Reads /proc/TID/status, which the kernel fills from its own memory. */
static bool has_supplementary(fuse_req_t request, gid_t wanted)
{
	gid_t few[64], *groups = few;
	int room = sizeof few / sizeof few[0];
	bool found = false;

	int count = fuse_req_getgroups(request, room, few);
	if (count > room) {
		room = count;
		groups = calloc((size_t)room, sizeof *groups);
		count = groups ? fuse_req_getgroups(request, room, groups) : 0;
	}
	for (int i = 0; i < count && i < room && !found; i++)
		found = groups[i] == wanted;
	if (groups != few)
		free(groups);
	return found;
}

static bool is_in_group(fuse_req_t request, gid_t gid)
{
	return fuse_req_ctx(request)->gid == gid || has_supplementary(request, gid);
}

unsigned permissions_of(fuse_req_t request)
{
	const struct permissions *permissions = &server_of(request)->permissions;
	const struct fuse_ctx *caller = fuse_req_ctx(request);
	unsigned of_group = permissions->mode >> 3 & 6, of_others = permissions->mode & 6;

	if (!permissions->restricted || caller->uid == 0)
		return MAY_SEE | MAY_ACQUIRE;
	if (caller->uid == permissions->uid)
		return permissions->mode >> 6 & 6;
	if (of_group == of_others || is_in_group(request, permissions->gid))
		return of_group;
	return of_others;
}

bool permissions_check(fuse_req_t request, unsigned needed)
{
	if ((permissions_of(request) & needed) == needed)
		return true;
	fuse_reply_err(request, EACCES);
	return false;
}

mode_t permissions_folder_mode(const struct permissions *permissions)
{
	mode_t mode = permissions->mode;

	return mode | (mode & 0444) >> 2 | (mode & 0222) >> 1;
}

mode_t permissions_file_mode(const struct permissions *permissions)
{
	/* Unrestricted, everybody may wait for everybody's lock; what is shown is
	 * that only its holder writes to it. */
	return permissions->restricted ? permissions->mode : 0644;
}
