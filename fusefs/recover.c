#include "recover.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "grant.h"
#include "say.h"
#include "wire.h"

/* A request that has ended so many processes is not tried again. */
enum { DEATHS_MOST = 3 };

static int fuse_descriptor(const struct server *server)
{
	return fuse_session_fd(server->session);
}

/* Descriptors */

static int compare_numbers(const void *a, const void *b)
{
	const int *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

void recover_close_descriptors(struct ledger *ledger, const int *keep, size_t keep_count)
{
	struct ledger_handle *handle = NULL;
	size_t count = keep_count, next = 0;

	while ((handle = ledger_next_handle(ledger, handle)))
		count += handle->hold == HOLDS;
	int *kept = calloc(count + 1, sizeof *kept);
	if (!kept)
		return;
	memcpy(kept, keep, keep_count * sizeof *keep);
	count = keep_count;
	while ((handle = ledger_next_handle(ledger, handle)))
		if (handle->hold == HOLDS)
			kept[count++] = handle->fd;
	qsort(kept, count, sizeof *kept, compare_numbers);
	for (size_t i = 0; i < count; i++) {
		if (kept[i] > (int)next)
			close_range((unsigned)next, (unsigned)kept[i] - 1, 0);
		next = (size_t)kept[i] + 1;
	}
	close_range((unsigned)next, ~0U, 0);
	free(kept);
}

/* Bringing back */

static int restore_entries(struct mount *mount)
{
	struct ledger_entry *kept = NULL;

	while ((kept = ledger_next_entry(mount->ledger, kept)))
		if (!entry_restore(mount, kept))
			return -ENOMEM;
	return 0;
}

static int compare_orders(const void *a, const void *b)
{
	const struct ledger_handle *const *left = a, *const *right = b;

	return ((*left)->order > (*right)->order) - ((*left)->order < (*right)->order);
}

/* In the order of their grants. */
static int restore_handles(struct mount *mount)
{
	struct ledger_handle *kept = NULL, **all;
	size_t count = 0, lost = 0;
	int result = 0;

	while ((kept = ledger_next_handle(mount->ledger, kept)))
		count++;
	all = calloc(count + 1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		all[i] = kept = ledger_next_handle(mount->ledger, kept);
	qsort(all, count, sizeof(*all), compare_orders);
	for (size_t i = 0; i < count && result == 0; i++) {
		struct entry *entry = entry_of_id(mount, all[i]->entry);
		struct handle *handle;
		if (!entry) {
			ledger_remove_handle(mount->ledger, all[i]);
			continue;
		}
		result = handle_restore(&handle, mount, entry, all[i]);
		if (result < 0)
			break;
		if (all[i]->hold == HOLDS)
			lost += grant_restore_hold(mount, handle) < 0;
		else
			handle->hold = all[i]->hold;
	}
	free(all);
	if (lost > 0)
		say("%s: %zu locks were broken while nobody served the mount", mount->path, lost);
	return result;
}

static int compare_arrivals(const void *a, const void *b)
{
	const struct ledger_waiter *const *left = a, *const *right = b;

	return ((*left)->order > (*right)->order) - ((*left)->order < (*right)->order);
}

/* One that was granted has left the queue, or was about to. */
static int restore_waiter(struct server *server, struct ledger_waiter *kept)
{
	struct handle *handle = handle_of_id(&server->mount, kept->handle);

	if (!handle || handle->hold != HOLDS_NOTHING) {
		ledger_remove_waiter(server->mount.ledger, kept);
		return 0;
	}
	return open_restore(server, kept, handle);
}

static int restore_waiters(struct server *server)
{
	struct ledger *ledger = server->mount.ledger;
	struct ledger_waiter *kept = NULL, **all;
	size_t count = 0;
	int result = 0;

	while ((kept = ledger_next_waiter(ledger, kept)))
		count++;
	all = calloc(count + 1, sizeof(*all));
	if (!all)
		return -ENOMEM;
	for (size_t i = 0; i < count; i++)
		all[i] = kept = ledger_next_waiter(ledger, kept);
	qsort(all, count, sizeof(*all), compare_arrivals);
	for (size_t i = 0; i < count && result == 0; i++)
		result = restore_waiter(server, all[i]);
	free(all);
	return result;
}

/* Names that only the kernel knows are to be forgotten again. */
static void settle_entries(struct mount *mount)
{
	struct ledger_entry *kept = NULL;

	while ((kept = ledger_next_entry(mount->ledger, kept))) {
		struct entry *entry = entry_of_id(mount, kept->id);
		if (entry)
			entry_settle(mount, entry);
	}
}

/* Whoever polls has to look again: changes of that time went by unseen. */
static void wake_pollers(struct server *server)
{
	struct ledger_handle *kept = NULL;

	while ((kept = ledger_next_handle(server->mount.ledger, kept))) {
		if (kept->poll != 0)
			(void)wire_wake(fuse_descriptor(server), kept->poll);
		kept->poll = 0;
	}
}

/* Refused, it cannot hold: what was granted to it nobody has been told of. */
static void refuse_waiter(struct server *server, struct ledger_waiter *waiter)
{
	struct mount *mount = &server->mount;
	struct handle *handle = handle_of_id(mount, waiter->handle);
	bool is_refused = wire_answer(fuse_descriptor(server), waiter->request, -ECONNABORTED) == 0;

	if (handle && (is_refused || handle->hold == HOLDS_NOTHING)) {
		grant_release(mount, handle);
		if (waiter->by_open)
			handle_free(mount, handle);
	}
	ledger_remove_waiter(mount->ledger, waiter);
}

static void refuse_untold(struct server *server)
{
	struct mount *mount = &server->mount;
	struct ledger_handle *kept = NULL;

	while ((kept = ledger_next_handle(mount->ledger, kept))) {
		struct handle *handle = handle_of_id(mount, kept->id);
		if (kept->opened_by != 0 && handle &&
		    wire_answer(fuse_descriptor(server), kept->opened_by, -ECONNABORTED) == 0) {
			grant_release(mount, handle);
			handle_free(mount, handle);
		}
	}
}

/* A kernel that does not send again: who waits gets an error, who holds stays. */
static void refuse_all(struct server *server)
{
	struct ledger *ledger = server->mount.ledger;
	const struct ledger_head *head = ledger_head(ledger);
	struct ledger_waiter *waiter = NULL;
	struct ledger_errand *errand = NULL;

	say("%s: this kernel (before Linux 6.9) does not repeat requests: those who waited get "
	    "an error",
	    server->mount.path);
	while ((waiter = ledger_next_waiter(ledger, waiter)))
		refuse_waiter(server, waiter);
	refuse_untold(server);
	while ((errand = ledger_next_errand(ledger, errand)))
		(void)wire_answer(fuse_descriptor(server), errand->request, -ECONNABORTED);
	/* The one that was being worked on: the supervisor has made it the suspect
	 * if it has seen the server's end. */
	if (head->request != 0)
		(void)wire_answer(fuse_descriptor(server), head->request, -ECONNABORTED);
	if (head->suspect != 0)
		(void)wire_answer(fuse_descriptor(server), head->suspect, -ECONNABORTED);
}

static void process_first_request(struct server *server)
{
	struct ledger_head *head = ledger_head(server->mount.ledger);
	struct fuse_buf buffer = {
		.size = head->first_request_length,
		.mem = head->first_request,
		.fd = -1,
	};

	/* libfuse learns what was negotiated; its answer goes to nobody. */
	fuse_session_process_buf(server->session, &buffer);
}

static int have_all_sent_again(struct server *server)
{
	int result = wire_resend(fuse_descriptor(server));

	if (result != -EINVAL)
		return result;
	refuse_all(server);
	return 0;
}

/* The first process finds nothing, not even a first request. */
int recover_begin(struct server *server)
{
	struct mount *mount = &server->mount;
	struct ledger_head *head = ledger_head(mount->ledger);

	head->starts++;
	if (head->first_request_length == 0)
		return 0;
	mount->is_recovering = true;
	if (head->last_id > mount->last_id)
		mount->last_id = head->last_id;
	int result = restore_entries(mount);
	if (result == 0)
		result = restore_handles(mount);
	if (result == 0)
		result = have_all_sent_again(server);
	if (result == 0)
		result = restore_waiters(server);
	if (result < 0)
		return result;
	/* The process may have been killed before it told the kernel, and who
	 * asked may have been killed before it asked again. */
	struct entry *last = entry_of_id(mount, head->counted_entry);
	if (last)
		last->is_miscounted = true;
	settle_entries(mount);
	process_first_request(server);
	head->request = 0;
	wake_pollers(server);
	return 0;
}

static void drop_errands_of_others(struct ledger *ledger)
{
	struct ledger_errand *errand = NULL;

	while ((errand = ledger_next_errand(ledger, errand)))
		if (errand->start != ledger_head(ledger)->starts)
			ledger_remove_errand(ledger, errand);
}

static void finish(struct server *server)
{
	open_recovered(server);
	drop_errands_of_others(server->mount.ledger);
	grant_recovered(&server->mount);
}

void recover_is_idle(struct server *server)
{
	if (server->mount.is_recovering)
		finish(server);
}

static bool is_deadly(const struct ledger_head *head, uint64_t number)
{
	return head->suspect == number && head->suspect_deaths >= DEATHS_MOST;
}

bool recover_request(struct server *server, const struct fuse_buf *buffer)
{
	struct ledger_head *head;
	struct wire_request request;

	if (!server->mount.ledger || !wire_parse(buffer->mem, buffer->size, &request))
		return true;
	head = ledger_head(server->mount.ledger);
	if (request.is_first && buffer->size <= sizeof head->first_request) {
		memcpy(head->first_request, buffer->mem, buffer->size);
		ledger_write_order();
		head->first_request_length = (uint32_t)buffer->size;
	}
	if (server->mount.is_recovering && !request.has_no_turn &&
	    !(request.unique & LEDGER_RESENT))
		finish(server);
	uint64_t number = ledger_request_number(request.unique);
	head->requests_served = server->requests;
	if (is_deadly(head, number) && !request.has_no_reply) {
		say("%s: a request has ended %d serving processes: it gets EIO", server->mount.path,
		    (int)head->suspect_deaths);
		(void)wire_answer(fuse_descriptor(server), request.unique, -EIO);
		return false;
	}
	head->poll = request.poll;
	head->request = request.has_no_turn ? 0 : number;
	ledger_write_order();
	return true;
}

void recover_request_done(struct server *server)
{
	if (server->mount.ledger)
		ledger_head(server->mount.ledger)->request = 0;
}
