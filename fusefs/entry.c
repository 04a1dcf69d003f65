#include "entry.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void mount_init(struct mount *mount, relock_store *store, const char *path,
		struct store_waits *waits, const struct answers *answers)
{
	*mount = (struct mount){
		.store = store,
		.path = path,
		.waits = waits,
		.answers = answers,
		.last_id = HISTORY_ID,
	};
	TAILQ_INIT(&mount->idle);
}

void entry_leave_idle(struct mount *mount, struct entry *entry)
{
	if (!entry->idle)
		return;
	TAILQ_REMOVE(&mount->idle, entry, in_idle);
	mount->idle_count--;
	entry->idle = false;
}

static void entry_free(struct mount *mount, struct entry *entry)
{
	entry_leave_idle(mount, entry);
	relock_lock_close(entry->spare);
	table_remove(&mount->entries_by_id, &entry->by_id);
	table_remove(&mount->entries_by_name, &entry->by_name);
	free(entry);
}

void mount_end(struct mount *mount)
{
	struct table_node *node;

	while ((node = table_next(&mount->handles, NULL))) {
		struct handle *handle = TABLE_OWNER(node, struct handle, by_id);
		handle_free(mount, handle);
	}
	while ((node = table_next(&mount->entries_by_id, NULL)))
		entry_free(mount, TABLE_OWNER(node, struct entry, by_id));
	table_free(&mount->handles);
	table_free(&mount->entries_by_id);
	table_free(&mount->entries_by_name);
}

int entry_check_name(const char *name)
{
	size_t length = strlen(name);

	if (length > RELOCK_NAME_MAX)
		return -ENAMETOOLONG;
	if (length == 0 || name[0] == '.')
		return -EINVAL;
	for (const char *at = name; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f || *at == '/')
			return -EINVAL;
	return 0;
}

struct entry *entry_find(const struct mount *mount, const char *name)
{
	struct table_node *node = table_find(&mount->entries_by_name, table_key_of_text(name));

	for (; node; node = table_find_next(node)) {
		struct entry *entry = TABLE_OWNER(node, struct entry, by_name);
		if (strcmp(entry->name, name) == 0)
			return entry;
	}
	return NULL;
}

struct entry *entry_of_id(const struct mount *mount, uint64_t id)
{
	struct table_node *node = table_find(&mount->entries_by_id, id);

	return node ? TABLE_OWNER(node, struct entry, by_id) : NULL;
}

struct entry *entry_get(struct mount *mount, const char *name)
{
	struct entry *entry = entry_find(mount, name);
	size_t length = strlen(name);

	if (entry)
		return entry;
	entry = calloc(1, sizeof *entry + length + 1);
	if (!entry)
		return NULL;
	memcpy(entry->name, name, length + 1);
	LIST_INIT(&entry->handles);
	LIST_INIT(&entry->pollers);
	TAILQ_INIT(&entry->holders);
	TAILQ_INIT(&entry->queue);
	if (table_add(&mount->entries_by_id, &entry->by_id, ++mount->last_id) < 0) {
		free(entry);
		return NULL;
	}
	if (table_add(&mount->entries_by_name, &entry->by_name, table_key_of_text(name)) < 0) {
		table_remove(&mount->entries_by_id, &entry->by_id);
		free(entry);
		return NULL;
	}
	return entry;
}

uint64_t entry_id(const struct entry *entry)
{
	return entry->by_id.key;
}

bool entry_is_held(const struct entry *entry)
{
	return !TAILQ_EMPTY(&entry->holders);
}

void entry_settle(struct mount *mount, struct entry *entry)
{
	bool used = !LIST_EMPTY(&entry->handles) || !TAILQ_EMPTY(&entry->queue) || entry->wait ||
		    entry->pins > 0;
	struct timespec now;

	if (!used && entry->lookups == 0) {
		entry_free(mount, entry);
		return;
	}
	if (used)
		entry_leave_idle(mount, entry);
	if (used || entry->idle)
		return;
	entry->idle = true;
	clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	entry->idle_since = now.tv_sec * RELOCK_SECOND + now.tv_nsec;
	TAILQ_INSERT_TAIL(&mount->idle, entry, in_idle);
	mount->idle_count++;
}

void entry_forget(struct mount *mount, struct entry *entry, uint64_t count)
{
	entry->lookups -= count < entry->lookups ? count : entry->lookups;
	entry_settle(mount, entry);
}

int handle_new(struct handle **ret, struct mount *mount, struct entry *entry, int access)
{
	struct handle *handle = calloc(1, sizeof *handle);

	if (!handle)
		return -ENOMEM;
	if (table_add(&mount->handles, &handle->by_id, ++mount->last_id) < 0) {
		free(handle);
		return -ENOMEM;
	}
	handle->entry = entry;
	handle->access = access;
	handle->changes_seen = entry->changes;
	LIST_INSERT_HEAD(&entry->handles, handle, in_entry);
	entry_settle(mount, entry);
	*ret = handle;
	return 0;
}

struct handle *handle_of_id(const struct mount *mount, uint64_t id)
{
	struct table_node *node = table_find(&mount->handles, id);

	return node ? TABLE_OWNER(node, struct handle, by_id) : NULL;
}

uint64_t handle_id(const struct handle *handle)
{
	return handle->by_id.key;
}

void handle_free(struct mount *mount, struct handle *handle)
{
	struct entry *entry = handle->entry;

	LIST_REMOVE(handle, in_entry);
	table_remove(&mount->handles, &handle->by_id);
	free(handle->info);
	free(handle->heirs);
	free(handle->text);
	free(handle);
	entry_settle(mount, entry);
}
