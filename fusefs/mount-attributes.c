/*
 * Extended attributes of the mount's own folder: how its daemon is.  `relock
 * mount --status` reads them, and so can getfattr -d.
 *
 * All of it is in memory: a daemon that answers this is one that serves.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "server.h"

static void print_store(FILE *out, const struct server *server)
{
	fputs(relock_store_url(server->mount.store), out);
}

static void print_version(FILE *out, const struct server *server)
{
	fputs(relock_version(), out);
}

static void print_pid(FILE *out, const struct server *server)
{
	fprintf(out, "%d", (int)getpid());
}

static void print_uptime(FILE *out, const struct server *server)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	fprintf(out, "%" PRId64,
		(now.tv_sec * RELOCK_SECOND + now.tv_nsec - server->started_by_boot) /
			RELOCK_SECOND);
}

/* Holds: a shared lock counts once for each of its holders. */
static void print_locks(FILE *out, const struct server *server)
{
	fprintf(out, "%zu", server->mount.held_count);
}

static void print_waiters(FILE *out, const struct server *server)
{
	fprintf(out, "%zu", server->mount.waiting_count);
}

static void print_requests(FILE *out, const struct server *server)
{
	fprintf(out, "%" PRIu64, server->requests);
}

static void print_names(FILE *out, const struct server *server)
{
	fprintf(out, "%zu", server->mount.entries_by_id.count);
}

static bool is_supervised(const struct server *server)
{
	return server->mount.ledger;
}

static void print_supervisor(FILE *out, const struct server *server)
{
	fprintf(out, "%d", (int)server->mount.keeper_pid);
}

/* Serving processes, this one and those before it. */
static void print_starts(FILE *out, const struct server *server)
{
	fprintf(out, "%" PRIu32, ledger_head(server->mount.ledger)->starts);
}

/* Upgrades that the supervisor has refused. */
static void print_refusals(FILE *out, const struct server *server)
{
	fprintf(out, "%" PRIu32, ledger_head(server->mount.ledger)->refusals);
}

static void print_refusal(FILE *out, const struct server *server)
{
	fputs(ledger_head(server->mount.ledger)->refusal, out);
}

static bool was_refused(const struct server *server)
{
	return is_supervised(server) && ledger_head(server->mount.ledger)->refusals > 0;
}

static const struct attribute {
	const char *key;
	void (*print)(FILE *out, const struct server *server);
	bool (*is_there)(const struct server *server); /* NULL: always */
} attributes[] = {
	{"store", print_store, NULL},
	{"version", print_version, NULL},
	{"pid", print_pid, NULL},
	{"uptime", print_uptime, NULL},
	{"locks", print_locks, NULL},
	{"waiters", print_waiters, NULL},
	{"requests", print_requests, NULL},
	{"names", print_names, NULL},
	{"supervisor", print_supervisor, is_supervised},
	{"starts", print_starts, is_supervised},
	{"refusals", print_refusals, is_supervised},
	{"refusal", print_refusal, was_refused},
};

enum { ATTRIBUTE_COUNT = sizeof attributes / sizeof attributes[0] };

static bool is_there(const struct attribute *attribute, const struct server *server)
{
	return !attribute->is_there || attribute->is_there(server);
}

static const struct attribute *find(const char *key, const struct server *server)
{
	for (size_t i = 0; i < ATTRIBUTE_COUNT; i++)
		if (strcmp(attributes[i].key, key) == 0 && is_there(&attributes[i], server))
			return &attributes[i];
	return NULL;
}

static void print_keys(FILE *out, const struct server *server)
{
	for (size_t i = 0; i < ATTRIBUTE_COUNT; i++)
		if (is_there(&attributes[i], server))
			fprintf(out, "%s%s%c", ATTRIBUTES_PREFIX, attributes[i].key, '\0');
}

static void reply_printed(fuse_req_t request, size_t size,
			  void (*print)(FILE *out, const struct server *server))
{
	char *bytes = NULL;
	size_t length = 0;
	FILE *out = open_memstream(&bytes, &length);

	if (out)
		print(out, server_of(request));
	if (out && fclose(out) == 0)
		attributes_reply(request, bytes, length, size);
	else
		fuse_reply_err(request, ENOMEM);
	free(bytes);
}

void mount_attributes_get(fuse_req_t request, const char *key, size_t size)
{
	const struct attribute *attribute = find(key, server_of(request));

	if (attribute)
		reply_printed(request, size, attribute->print);
	else
		fuse_reply_err(request, ENODATA);
}

void mount_attributes_list(fuse_req_t request, size_t size)
{
	reply_printed(request, size, print_keys);
}
