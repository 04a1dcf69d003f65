/*
 * Extended attributes: the keys of a lock's text one by one, as
 * user.relock.KEY, for scripts that want one of them (getfattr -d).
 *
 * Where several hold the lock, a value has a line for each of them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "look.h"

struct collection {
	FILE *stream;
	const char *key; /* wanted; NULL: the names of all */
	size_t found;
};

static int collect(const struct relock_pair *pair, void *argument)
{
	struct collection *collection = argument;

	if (!collection->key) {
		/* The keys repeat with each holder. */
		if (pair->holder <= 1)
			fprintf(collection->stream, ATTRIBUTES_PREFIX "%s%c", pair->key, '\0');
	} else if (strcmp(pair->key, collection->key) == 0) {
		fprintf(collection->stream, "%s%s", collection->found++ ? "\n" : "", pair->value);
	}
	return 0;
}

const char *attributes_key(const char *name)
{
	size_t length = sizeof ATTRIBUTES_PREFIX - 1;

	return strncmp(name, ATTRIBUTES_PREFIX, length) == 0 ? name + length : NULL;
}

void attributes_reply(fuse_req_t request, const char *bytes, size_t length, size_t size)
{
	if (size == 0)
		fuse_reply_xattr(request, length);
	else if (length > size)
		fuse_reply_err(request, ERANGE);
	else
		fuse_reply_buf(request, bytes, length);
}

static void answer(struct look *look)
{
	struct collection collection = {.key = look->key};
	char *bytes = NULL;
	size_t length = 0;

	collection.stream = open_memstream(&bytes, &length);
	if (collection.stream)
		relock_status_each(look->status, collect, &collection);
	if (!collection.stream || fclose(collection.stream) != 0)
		fuse_reply_err(look->request, ENOMEM);
	else if (look->key && collection.found == 0)
		fuse_reply_err(look->request, ENODATA);
	else
		attributes_reply(look->request, bytes, length, look->size);
	free(bytes);
}

static bool is_dear(const char *key)
{
	static const char *const keys[] = {"waiters", "pid", "started", "process", "open-by"};

	for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
		if (strcmp(key, keys[i]) == 0)
			return true;
	return false;
}

/* `key` is NULL for the list of all. */
static void send(fuse_req_t request, struct entry *entry, const char *key, size_t size)
{
	char *copy = key ? strdup(key) : NULL;

	if (key && !copy) {
		fuse_reply_err(request, ENOMEM);
		return;
	}
	look_send(&(struct look){
		.server = server_of(request),
		.request = request,
		.entry = entry,
		.answer = answer,
		.thorough = !key || is_dear(key),
		.size = size,
		.key = copy,
	});
}

void attributes_get(fuse_req_t request, fuse_ino_t id, const char *name, size_t size)
{
	struct entry *entry = entry_of_id(&server_of(request)->mount, id);
	const char *key = attributes_key(name);

	/* The kernel itself asks for security.capability at each write. */
	if (!key || (!entry && id != ROOT_ID))
		fuse_reply_err(request, ENODATA);
	else if (!permissions_check(request, MAY_SEE))
		return;
	else if (entry)
		send(request, entry, key, size);
	else
		mount_attributes_get(request, key, size);
}

void attributes_list(fuse_req_t request, fuse_ino_t id, size_t size)
{
	struct entry *entry = entry_of_id(&server_of(request)->mount, id);

	if (!permissions_check(request, MAY_SEE))
		return;
	if (entry)
		send(request, entry, NULL, size);
	else if (id == ROOT_ID)
		mount_attributes_list(request, size);
	else
		attributes_reply(request, "", 0, size);
}

void attributes_set(fuse_req_t request, fuse_ino_t id, const char *name, const char *value,
		    size_t size, int flags)
{
	fuse_reply_err(request, EPERM);
}

void attributes_remove(fuse_req_t request, fuse_ino_t id, const char *name)
{
	fuse_reply_err(request, EPERM);
}
