#include "history.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

#include "look.h"

struct name {
	char text[sizeof HISTORY_PREFIX + RELOCK_NAME_MAX];
};

/* A lock's name as that of the entry here; it must have been checked. */
static struct name full_name(const char *lock)
{
	struct name name;

	snprintf(name.text, sizeof name.text, "%s%s", HISTORY_PREFIX, lock);
	return name;
}

struct entry *history_find(const struct mount *mount, const char *lock)
{
	return entry_find(mount, full_name(lock).text);
}

int history_check(const struct relock_status *status)
{
	return status->state == RELOCK_FREE && status->last_end != RELOCK_END_NONE ? 0 : -ENOENT;
}

size_t history_keep(struct relock_status **list, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++)
		if (history_check(list[i]) == 0)
			list[kept++] = list[i];
		else
			relock_status_free(list[i]);
	return kept;
}

static void answer_lookup(struct look *look)
{
	struct fuse_entry_param answer = look_entry(look->server, look->entry);

	entry_begin_lookup(&look->server->mount, look->entry);
	if (fuse_reply_entry(look->request, &answer) < 0)
		entry_end_lookup(look->entry);
}

/* Whether it is there says the lock file, which is an errand. */
void history_lookup(fuse_req_t request, const char *lock)
{
	struct server *server = server_of(request);
	struct entry *entry = NULL;

	int result = entry_check_name(lock);
	if (result == -EINVAL)
		result = -ENOENT;
	if (result == 0 && !(entry = entry_get(&server->mount, full_name(lock).text)))
		result = -ENOMEM;
	if (result < 0) {
		fuse_reply_err(request, -result);
		return;
	}
	look_send(&(struct look){
		.server = server, .request = request, .entry = entry, .answer = answer_lookup});
}

void history_open(fuse_req_t request, struct entry *entry, struct fuse_file_info *info)
{
	struct mount *mount = &server_of(request)->mount;
	struct handle *handle;

	if ((info->flags & O_ACCMODE) != O_RDONLY || info->flags & O_TRUNC) {
		fuse_reply_err(request, EPERM);
		return;
	}
	if (!permissions_check(request, MAY_SEE))
		return;
	int result = handle_new(&handle, mount, entry, O_RDONLY);
	if (result < 0) {
		fuse_reply_err(request, -result);
		return;
	}
	handle_is_of(handle, fuse_req_ctx(request)->pid);
	info->fh = handle_id(handle);
	info->direct_io = 1;
	if (fuse_reply_open(request, info) < 0)
		handle_free(mount, handle);
	else
		handle_is_told(handle);
}
