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

uint64_t mount_next_id(struct mount *mount)
{
	uint64_t id = ++mount->last_id;

	if (mount->ledger)
		ledger_head(mount->ledger)->last_id = id;
	return id;
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
	ledger_remove_entry(mount->ledger, entry->kept);
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
	free(mount->host);
	free(mount->via);
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

static struct entry *entry_new(struct mount *mount, const char *name, uint64_t id)
{
	size_t length = strlen(name);
	struct entry *entry = calloc(1, sizeof *entry + length + 1);

	if (!entry)
		return NULL;
	memcpy(entry->name, name, length + 1);
	LIST_INIT(&entry->handles);
	LIST_INIT(&entry->pollers);
	TAILQ_INIT(&entry->holders);
	TAILQ_INIT(&entry->queue);
	if (table_add(&mount->entries_by_id, &entry->by_id, id) < 0) {
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

struct entry *entry_get(struct mount *mount, const char *name)
{
	struct entry *entry = entry_find(mount, name);

	if (entry)
		return entry;
	entry = entry_new(mount, name, mount_next_id(mount));
	if (entry)
		entry->kept = ledger_add_entry(mount->ledger, entry_id(entry), name);
	return entry;
}

struct entry *entry_restore(struct mount *mount, struct ledger_entry *kept)
{
	struct entry *entry = entry_new(mount, kept->name, kept->id);

	if (entry) {
		entry->kept = kept;
		entry->lookups = kept->lookups;
		entry->is_restored = true;
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

bool entry_is_history(const struct entry *entry)
{
	return entry->name[0] == '.';
}

const char *entry_lock_name(const struct entry *entry)
{
	return entry->name + (entry_is_history(entry) ? sizeof HISTORY_PREFIX - 1 : 0);
}

void entry_settle(struct mount *mount, struct entry *entry)
{
	bool used = !LIST_EMPTY(&entry->handles) || !TAILQ_EMPTY(&entry->queue) || entry->wait ||
		    entry->pins > 0;
	struct timespec now;

	if (!used && entry->lookups == 0 && !entry->idle) {
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

static void count_lookups(struct entry *entry, uint64_t count)
{
	entry->lookups = count;
	if (entry->kept)
		entry->kept->lookups = count;
}

void entry_begin_lookup(struct mount *mount, struct entry *entry)
{
	uint64_t request = ledger_request(mount->ledger);

	/* A request that comes again may have been counted already. */
	if (request != 0 && ledger_head(mount->ledger)->counted_request == request)
		return;
	if (request != 0)
		ledger_head(mount->ledger)->counted_entry = entry_id(entry);
	ledger_write_order();
	count_lookups(entry, entry->lookups + 1);
	ledger_write_order();
	if (request != 0)
		ledger_head(mount->ledger)->counted_request = request;
}

void entry_end_lookup(struct entry *entry)
{
	count_lookups(entry, entry->lookups - 1);
}

void entry_forget(struct mount *mount, struct entry *entry, uint64_t count)
{
	count_lookups(entry, entry->lookups - (count < entry->lookups ? count : entry->lookups));
	entry_settle(mount, entry);
}

static int make_handle(struct handle **ret, struct mount *mount, struct entry *entry, int access,
		       uint64_t id)
{
	struct handle *handle = calloc(1, sizeof *handle);

	if (!handle)
		return -ENOMEM;
	if (table_add(&mount->handles, &handle->by_id, id) < 0) {
		free(handle);
		return -ENOMEM;
	}
	handle->entry = entry;
	handle->access = (uint8_t)access;
	handle->changes_seen = entry->changes;
	LIST_INSERT_HEAD(&entry->handles, handle, in_entry);
	entry_settle(mount, entry);
	*ret = handle;
	return 0;
}

int handle_new(struct handle **ret, struct mount *mount, struct entry *entry, int access)
{
	int result = make_handle(ret, mount, entry, access, mount_next_id(mount));

	if (result == 0)
		(*ret)->kept =
			ledger_add_handle(mount->ledger, handle_id(*ret), entry_id(entry), access);
	return result;
}

int handle_restore(struct handle **ret, struct mount *mount, struct entry *entry,
		   struct ledger_handle *kept)
{
	int result = make_handle(ret, mount, entry, kept->access, kept->id);

	if (result == 0) {
		(*ret)->kept = kept;
		(*ret)->thread = kept->thread;
	}
	return result;
}

void handle_is_of(struct handle *handle, pid_t thread)
{
	handle->thread = thread;
	if (handle->kept)
		handle->kept->thread = thread;
}

void handle_is_told(struct handle *handle)
{
	if (handle->kept)
		handle->kept->opened_by = 0;
}

int handle_prepare_hold(struct handle *handle)
{
	if (!handle->held)
		handle->held = calloc(1, sizeof *handle->held);
	return handle->held ? 0 : -ENOMEM;
}

void handle_drop_hold(struct handle *handle)
{
	if (!handle->held)
		return;
	free(handle->held->info);
	free(handle->held->heirs);
	free(handle->held);
	handle->held = NULL;
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

	ledger_remove_handle(mount->ledger, handle->kept);
	LIST_REMOVE(handle, in_entry);
	table_remove(&mount->handles, &handle->by_id);
	handle_drop_hold(handle);
	free(handle->text);
	if (handle->poller)
		LIST_REMOVE(handle->poller, in_entry);
	free(handle->poller);
	free(handle);
	entry_settle(mount, entry);
}
