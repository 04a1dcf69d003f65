/*
 * The directory: the names of the locks held now, by whomever; and in .history
 * those of the free ones that have a history.  .history itself is not in the
 * listing: "find /locks -name backup" asks whether that lock is held.
 *
 * A listing is made when it is read from the start and is then the same to its
 * end, however many locks come and go meanwhile.  If the mount goes over to
 * another process on the way, that makes one of its own, and goes on at the same
 * place: names are in the order of their keys, which are the offsets, too.  So
 * no name comes twice, and none that was there all the time is left out.
 *
 * OPENDIR is answered, since the kernel takes ENOSYS for a leave to cache
 * listings.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "errand.h"
#include "history.h"
#include "server.h"

/* Offsets 0 to 2 are around "." and "..". */
#define FIRST_COOKIE 4

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

static struct listing *make_listing(struct server *server, uint64_t id)
{
	struct listing *listing = calloc(1, sizeof *listing);

	if (listing && table_add(&server->listings, &listing->by_id, id) < 0) {
		free(listing);
		return NULL;
	}
	return listing;
}

void list_opendir(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info)
{
	struct server *server = server_of(request);

	if (id != ROOT_ID && id != HISTORY_ID) {
		fuse_reply_err(request, ENOTDIR);
		return;
	}
	if (!permissions_check(request, MAY_SEE))
		return;
	struct listing *listing = make_listing(server, mount_next_id(&server->mount));
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

static off_t cookie_of(const struct relock_status *status)
{
	return (off_t)(table_key_of_text(status->name) >> 1 | FIRST_COOKIE);
}

static int compare_cookies(const void *first, const void *second)
{
	off_t a = cookie_of(*(struct relock_status *const *)first);
	off_t b = cookie_of(*(struct relock_status *const *)second);

	return (a > b) - (a < b);
}

/* The first name behind the offset. */
static size_t name_behind(const struct listing *listing, off_t offset)
{
	size_t low = 0, high = listing->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (cookie_of(listing->list[middle]) > offset)
			high = middle;
		else
			low = middle + 1;
	}
	return low;
}

static void reply_names(fuse_req_t request, fuse_ino_t folder, const struct listing *listing,
			size_t size, off_t offset)
{
	static const char *const dots[] = {".", ".."};
	const struct mount *mount = &server_of(request)->mount;
	char *buffer = malloc(size);
	size_t used = 0;

	if (!buffer) {
		fuse_reply_err(request, ENOMEM);
		return;
	}
	bool room = true;
	for (; room && offset < 2; offset += room)
		room = add(request, buffer, &used, size, dots[offset],
			   offset == 0 ? folder : ROOT_ID, S_IFDIR, offset + 1);
	for (size_t i = name_behind(listing, offset); room && i < listing->count; i++) {
		const struct relock_status *status = listing->list[i];
		room = add(request, buffer, &used, size, status->name,
			   number_of(mount, folder, status->name), S_IFREG, cookie_of(status));
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
	if (errand->result == 0 && self->count > 0)
		qsort(self->list, self->count, sizeof(struct relock_status *), compare_cookies);
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
	bool is_new = !listing;

	if (is_new && !server->mount.ledger) {
		fuse_reply_err(request, EBADF);
		return;
	}
	/* Opened when another process served the mount. */
	if (is_new && !(listing = make_listing(server, info->fh))) {
		fuse_reply_err(request, ENOMEM);
		return;
	}
	if (offset > 0 && !is_new) {
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
