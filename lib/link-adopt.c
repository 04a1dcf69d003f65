/*
 * Taking up a hold by a descriptor of its claim file.
 *
 * The hold is that of the process which its claim names.  Where that is the one
 * that keeps the descriptors for us, it goes on as it is; else the lock file is
 * exchanged for one with a claim in our name, or the hold would end with the other.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "link-store.h"
#include "message.h"
#include "process.h"

/* The length of its content. */
static ssize_t claim_of(int fd, const char *name, struct claim *ret, struct claim_owner *ret_owner)
{
	char content[PATH_MAX + 16];
	struct stat status;

	if (fstat(fd, &status) < 0)
		return -ESTALE;
	ssize_t length = pread(fd, content, sizeof content, 0);
	if (length <= 0 || !S_ISREG(status.st_mode) ||
	    !claim_content_read(content, (size_t)length, name, ret->name, ret_owner))
		return -ESTALE;
	ret->device = status.st_dev;
	ret->inode = status.st_ino;
	return length;
}

/*
 * The hold of a process that may end before us, in our own name: its claim is
 * seized, and a second name of ours is renamed over the lock's, which so leads to
 * some claim at each moment.
 */
static int replace_claim(relock_lock *relock, const struct claim *old, const struct grant *grant)
{
	struct link_store *store = link_store_of(relock->store);
	struct link_lock *lock = link_lock_of(relock);
	char right[NAME_MAX + 1], second[NAME_MAX + 1];
	struct claim_owner other;

	int result = link_make_claim(relock, grant);
	if (result == 0)
		result = claim_set_time(&lock->term.claim, link_end_of(lock));
	if (result == 0)
		result = claim_name_write(right, ".", relock->name, &lock->owner);
	if (result == 0) {
		claim_owner_draw(&other, NULL);
		result = claim_name_write(second, ".", relock->name, &other);
	}
	if (result == 0)
		result = claim_link(store->dir_fd, &lock->term.claim, second);
	if (result < 0)
		return result;
	result = claim_seize(store->dir_fd, old->name, right, old->device, old->inode);
	if (result == 0 && claim_is_at(store->dir_fd, relock->name, old->device, old->inode) != 1)
		result = -ESTALE;
	if (result == 0 && renameat(store->dir_fd, second, store->dir_fd, relock->name) < 0) {
		result = -errno;
		(void)renameat(store->dir_fd, right, store->dir_fd, old->name);
	}
	if (result == 0)
		unlinkat(store->dir_fd, right, 0);
	else
		unlinkat(store->dir_fd, second, 0);
	return result == -ENOENT ? -ESTALE : result;
}

static int take_up(relock_lock *relock, struct claim *claim, const struct grant *grant)
{
	struct link_store *store = link_store_of(relock->store);
	struct link_lock *lock = link_lock_of(relock);
	int fd = claim->fd;
	struct claim_owner owner;

	ssize_t length = claim_of(fd, relock->name, claim, &owner);
	int result = length < 0 ? -ESTALE : 0;
	if (result == 0 &&
	    claim_is_at(store->dir_fd, claim->name, claim->device, claim->inode) != 1)
		result = -ESTALE;
	if (result == 0 &&
	    claim_is_at(store->dir_fd, relock->name, claim->device, claim->inode) != 1)
		result = -ESTALE;
	if (result < 0)
		return result;
	claim->fd = fd;
	if (link_is_kept_by(&owner, grant->on_behalf)) {
		lock->owner = owner;
		lock->content_length = (size_t)length;
		lock->term.claim = *claim;
		lock->term.clock_ahead = 0;
		lock->term.since = 0;
		claim->fd = -1;
		result = link_extend(store->dir_fd, relock->name, &lock->term, lock->term.lifetime);
	} else {
		result = replace_claim(relock, claim, grant);
	}
	if (result == 0)
		link_record_adopt(relock, grant, owner.number);
	return result;
}

int link_adopt(relock_lock *relock, int fd, const struct grant *grant)
{
	struct link_lock *lock = link_lock_of(relock);
	struct claim claim = {.fd = fd};

	link_drop_claim(relock);
	link_set_lifetime(lock, grant);
	int result = link_refuse(relock, grant);
	if (result == 0)
		result = take_up(relock, &claim, grant);
	close_keeping_errno(claim.fd);
	if (result < 0) {
		/* A hold that cannot be refreshed is another's as before. */
		if (lock->term.claim.fd == fd)
			close(TAKE_FD(lock->term.claim.fd));
		else
			link_drop_claim(relock);
		return result == -ESTALE
			       ? failed(result, "%s: the lock is not held any more", relock->name)
			       : link_explain(relock, result);
	}
	link_begin_refreshing(relock, grant);
	return 0;
}
