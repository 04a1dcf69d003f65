/*
 * The directory: the names of the locks held now, by whomever; and in .history
 * those of the free ones that have a history.  .history itself is not in the
 * listing: "find /locks -name backup" asks whether that lock is held.
 *
 * A listing is made when it is read from the start and is then the same to its
 * end, however many locks come and go meanwhile.  OPENDIR is answered, since
 * the kernel takes ENOSYS for a leave to cache listings.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "errand.h"
#include "history.h"
#include "server.h"

struct listing {
	struct table_node by_id;
	struct relock_status **list;
	size_t count;
};

struct errand_to_list {
	struct errand errand;
	struct server *server;
	fuse_req_t request;
	uint64_t listing;
	fuse_ino_t folder;
	size_t size;
	off_t offset;
	struct relock_status **list;
	size_t count;
};

static struct listing *listing_of(struct server *server, uint64_t id)
{
	struct table_node *node = table_find(&server->listings, id);

	return node ? TABLE_OWNER(node, struct listing, by_id) : NULL;
}

static struct listing *listing_new(struct server *server, uint64_t id)
{
	struct listing *listing = calloc(1, sizeof *listing);

	if (!listing || table_add(&server->listings, &listing->by_id, id) < 0) {
		free(listing);
		return NULL;
	}
	return listing;
}

void list_opendir(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info)
{
	struct server *server = server_of(request);
	struct listing *listing;

	if (id != ROOT_ID && id != HISTORY_ID) {
		fuse_reply_err(request, ENOTDIR);
		return;
	}
	if (!permissions_check(request, MAY_SEE))
		return;
	listing = listing_new(server, mount_next_id(&server->mount));
	if (!listing) {
		fuse_reply_err(request, ENOMEM);
		return;
	}
	info->fh = listing->by_id.key;
	info->cache_readdir = 0;
	if (fuse_reply_open(request, info) < 0) {
		table_remove(&server->listings, &listing->by_id);
		free(listing);
	}
}

static void forget(struct server *server, struct listing *listing)
{
	table_remove(&server->listings, &listing->by_id);
	relock_list_free(listing->list, listing->count);
	free(listing);
}

void list_releasedir(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info)
{
	struct listing *listing = listing_of(server_of(request), info->fh);

	if (listing)
		forget(server_of(request), listing);
	fuse_reply_err(request, 0);
}

void list_end(struct server *server)
{
	struct table_node *node;

	while ((node = table_next(&server->listings, NULL)))
		forget(server, TABLE_OWNER(node, struct listing, by_id));
	table_free(&server->listings);
}

/* Adds a name; false if there is no room for it.  The offset given is where to
 * go on after it. */
static bool add(fuse_req_t request, char *buffer, size_t *used, size_t size, const char *name,
		uint64_t id, mode_t type, off_t next)
{
	struct stat attributes = {.st_ino = id, .st_mode = type};
	size_t needed =
		fuse_add_direntry(request, buffer + *used, size - *used, name, &attributes, next);

	if (needed > size - *used)
		return false;
	*used += needed;
	return true;
}

/* What the mount has no number for yet gets one at its LOOKUP. */
static uint64_t number_of(const struct mount *mount, fuse_ino_t folder, const char *name)
{
	const struct entry *entry =
		folder == HISTORY_ID ? history_find(mount, name) : entry_find(mount, name);

	return entry ? entry_id(entry) : UINT32_MAX;
}

static void reply_names(fuse_req_t request, fuse_ino_t folder, const struct listing *listing,
			size_t size, off_t offset)
{
	const struct mount *mount = &server_of(request)->mount;
	char *buffer = malloc(size);
	size_t used = 0;

	if (!buffer) {
		fuse_reply_err(request, ENOMEM);
		return;
	}
	for (size_t at = (size_t)offset; at < listing->count + 2; at++) {
		const char *name = at == 0 ? "." : at == 1 ? ".." : listing->list[at - 2]->name;
		uint64_t id = at == 0 ? folder : at == 1 ? ROOT_ID : number_of(mount, folder, name);
		if (!add(request, buffer, &used, size, name, id, at < 2 ? S_IFDIR : S_IFREG,
			 (off_t)at + 1))
			break;
	}
	fuse_reply_buf(request, buffer, used);
	free(buffer);
}

static void run(struct errand *errand)
{
	struct errand_to_list *self = (struct errand_to_list *)(void *)errand;

	bool history = self->folder == HISTORY_ID;

	errand->result = relock_list(self->server->mount.store, history ? RELOCK_LIST_FREE : 0,
				     &self->list, &self->count);
	if (errand->result == 0 && history)
		self->count = history_keep(self->list, self->count);
}

static void finish(struct errand *errand)
{
	struct errand_to_list *self = (struct errand_to_list *)(void *)errand;
	struct listing *listing = listing_of(self->server, self->listing);
	int result = errand->result;

	if (result == 0 && !listing) {
		relock_list_free(self->list, self->count);
		result = -EBADF;
	}
	if (result < 0) {
		fuse_reply_err(self->request, -plain_error(result));
	} else {
		relock_list_free(listing->list, listing->count);
		listing->list = self->list;
		listing->count = self->count;
		reply_names(self->request, self->folder, listing, self->size, self->offset);
	}
	free(self);
}

void list_readdir(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset,
		  struct fuse_file_info *info)
{
	struct server *server = server_of(request);
	struct listing *listing = listing_of(server, info->fh);

	/* Opened while another process served: it is read anew. */
	if (!listing && server->mount.ledger)
		listing = listing_new(server, info->fh);
	if (!listing) {
		fuse_reply_err(request, EBADF);
		return;
	}
	if (offset > 0 && listing->list) {
		reply_names(request, id, listing, size, offset);
		return;
	}
	struct errand_to_list *self = malloc(sizeof *self);
	if (!self) {
		fuse_reply_err(request, ENOMEM);
		return;
	}
	*self = (struct errand_to_list){
		.errand = {.run = run, .finish = finish},
		.server = server,
		.request = request,
		.listing = info->fh,
		.folder = id,
		.size = size,
		.offset = offset,
	};
	errands_add(server->looks, &self->errand);
}
