/*
 * poll(2): a descriptor is ready when the lock's state has changed since its
 * text was last read from the start; like /proc/mounts, by POLLPRI too, which
 * says that it is this kind of readiness.
 *
 * Who polls is told once, and then asks again.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>

#include "server.h"

void poll_forget(struct handle *handle)
{
	struct poller *poller = handle->poller;

	if (!poller)
		return;
	fuse_pollhandle_destroy(poller->poll);
	LIST_REMOVE(poller, in_entry);
	free(poller);
	handle->poller = NULL;
	if (handle->kept)
		handle->kept->poll = 0;
}

static int remember(struct mount *mount, struct handle *handle, struct fuse_pollhandle *poll)
{
	struct poller *poller = calloc(1, sizeof *poller);

	if (!poller)
		return -ENOMEM;
	poll_forget(handle);
	poller->handle = handle;
	poller->poll = poll;
	handle->poller = poller;
	if (handle->kept)
		handle->kept->poll = ledger_head(mount->ledger)->poll;
	LIST_INSERT_HEAD(&handle->entry->pollers, poller, in_entry);
	return 0;
}

void poll_wake(struct entry *entry)
{
	struct poller *poller;

	while ((poller = LIST_FIRST(&entry->pollers))) {
		fuse_lowlevel_notify_poll(poller->poll);
		poll_forget(poller->handle);
	}
}

void poll_poll(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info,
	       struct fuse_pollhandle *poll)
{
	struct mount *mount = &server_of(request)->mount;
	struct handle *handle = handle_of_id(mount, info->fh);
	unsigned events = 0;

	int result = !handle ? -EBADF : poll ? remember(mount, handle, poll) : 0;
	if (result < 0) {
		if (poll)
			fuse_pollhandle_destroy(poll);
		fuse_reply_err(request, -result);
		return;
	}
	if (handle->hold == HOLDS)
		events |= POLLOUT;
	if (handle->hold == HOLD_BROKEN)
		events |= POLLERR;
	if (entry_is_history(handle->entry))
		events |= POLLIN | POLLRDNORM;
	if (handle->changes_seen != handle->entry->changes)
		events |= POLLIN | POLLRDNORM | POLLPRI;
	fuse_reply_poll(request, events);
}
