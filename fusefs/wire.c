#include "wire.h"

#include <errno.h>
#include <linux/fuse.h>
#include <string.h>
#include <sys/uio.h>

/* Younger than the headers of Debian 12. */
enum { NOTIFY_RESEND = 7, NOTIFY_PRUNE = 9 };

struct prune_notification {
	uint32_t count, padding;
	uint64_t spare;
	uint64_t inode;
};

bool wire_parse(const void *bytes, size_t length, struct wire_request *ret)
{
	struct fuse_in_header header;
	struct fuse_poll_in poll;
	struct fuse_interrupt_in interrupt;

	if (length < sizeof header)
		return false;
	memcpy(&header, bytes, sizeof header);
	*ret = (struct wire_request){
		.unique = header.unique,
		.is_first = header.opcode == FUSE_INIT,
		.has_no_reply = header.opcode == FUSE_FORGET || header.opcode == FUSE_BATCH_FORGET,
	};
	ret->has_no_turn = ret->has_no_reply || header.opcode == FUSE_INTERRUPT;
	if (header.opcode == FUSE_POLL && length >= sizeof header + sizeof poll) {
		memcpy(&poll, (const char *)bytes + sizeof header, sizeof poll);
		if (poll.flags & FUSE_POLL_SCHEDULE_NOTIFY)
			ret->poll = poll.kh;
	}
	if (header.opcode == FUSE_INTERRUPT && length >= sizeof header + sizeof interrupt) {
		memcpy(&interrupt, (const char *)bytes + sizeof header, sizeof interrupt);
		ret->interrupted = interrupt.unique;
	}
	return true;
}

static int send(int fd, struct fuse_out_header header, void *rest, size_t size)
{
	struct iovec parts[] = {{&header, sizeof header}, {rest, size}};

	header.len = (uint32_t)(sizeof header + size);
	return writev(fd, parts, size > 0 ? 2 : 1) < 0 ? -errno : 0;
}

int wire_answer(int fd, uint64_t unique, int error)
{
	return send(fd, (struct fuse_out_header){.unique = unique, .error = error}, NULL, 0);
}

int wire_answer_open(int fd, uint64_t unique, uint64_t file, bool direct_io)
{
	struct fuse_open_out open = {.fh = file, .open_flags = direct_io ? FOPEN_DIRECT_IO : 0};

	return send(fd, (struct fuse_out_header){.unique = unique}, &open, sizeof open);
}

int wire_resend(int fd)
{
	return send(fd, (struct fuse_out_header){.error = NOTIFY_RESEND}, NULL, 0);
}

int wire_prune(int fd, uint64_t inode)
{
	struct prune_notification prune = {.count = 1, .inode = inode};

	return send(fd, (struct fuse_out_header){.error = NOTIFY_PRUNE}, &prune, sizeof prune);
}

int wire_probe(int fd, uint64_t inode)
{
	/* Of its attributes, not its pages: those are not cached, nor the others. */
	struct fuse_notify_inval_inode_out invalidation = {.ino = inode, .off = -1};

	return send(fd, (struct fuse_out_header){.error = FUSE_NOTIFY_INVAL_INODE}, &invalidation,
		    sizeof invalidation);
}

int wire_wake(int fd, uint64_t poll)
{
	struct fuse_notify_poll_wakeup_out wake = {.kh = poll};

	return send(fd, (struct fuse_out_header){.error = FUSE_NOTIFY_POLL}, &wake, sizeof wake);
}
