/*
 * Breaking a lock, by the right that its claim file is (claim-file.c): whoever
 * renames that away, and nobody else, removes the lock.
 *
 *	the claim file is there     it is renamed to a right of ours
 *	it has another name         somebody has the right, and the name says who: taken
 *	                            over only from one that is proven gone
 *	nobody has                  the claim was removed by other means
 *
 * A lock that is broken because its lifetime is over may be refreshed at that very
 * moment.  The holder touches its file and then looks whether its claim is there;
 * we rename the claim and then look at the file's time: one of the two sees the
 * other.  If we do, we give the claim back; if the holder does, it takes the hold
 * for lost.
 *
 * Without a claim file there is no right that two could race for, so a person has
 * to break such a lock (unget --force): then the lock file itself is renamed, and
 * looked at, and put back if in that moment it was already the next one's.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "link-store.h"
#include "message.h"
#include "process.h"

static int draw_right(char right[NAME_MAX + 1], const char *name)
{
	struct claim_owner self;

	claim_owner_draw(&self, NULL);
	return claim_name_write(right, ".", name, &self);
}

static int refuse(const struct link_store *store, const char *name, int error)
{
	if (error == -EACCES || error == -EPERM)
		return failed(-EPERM,
			      "%s: you may not remove %s/%s, which is another user's; ask its "
			      "owner, or root",
			      name, store->path, name);
	return failed(error, "%s: cannot remove %s/%s: %s", name, store->path, name,
		      strerrordesc_np(-error));
}

/* Was it refreshed before we had the right? */
static bool has_new_life(const struct link_store *store, const char *right,
			 const struct link_look *look)
{
	struct stat status;

	if (fstatat(store->dir_fd, right, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	return status.st_mtim.tv_sec * RELOCK_SECOND + status.st_mtim.tv_nsec > look->expires;
}

/* Who has the right is in the middle of removing the lock, or died there. */
static int take_over(const struct link_store *store, const char *name, const struct link_look *look,
		     const char *right, bool is_forced)
{
	char other[NAME_MAX + 1];
	struct claim_owner owner;

	int result = link_find_right(store, name, look, other, &owner);
	if (result < 0)
		return result;
	if (!is_forced && claim_owner_life(&owner) != CLAIM_GONE)
		return failed(
			-EAGAIN,
			"%s: pid %d on %s has begun to remove the lock; if it is gone, remove "
			"%s/%s and %s/%s",
			name, (int)owner.pid, owner.host, store->path, name, store->path, other);
	return claim_seize(store->dir_fd, other, right, look->device, look->inode);
}

static int refuse_without_claim(const struct link_store *store, const char *name,
				const struct link_look *look)
{
	return failed(-EAGAIN,
		      "%s: look at %s/%s: its claim file %s is missing, so it cannot be broken "
		      "safely; if nobody holds the lock, remove it, or: relock unget --force",
		      name, store->path, name, look->claim);
}

/* By a person's will. */
static int break_without_claim(const struct link_store *store, const char *name,
			       const struct link_look *look, const char *right)
{
	struct stat status;

	if (fstatat(store->dir_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (S_ISDIR(status.st_mode))
		return failed(-EISDIR, "%s: %s/%s is a folder; remove it yourself", name,
			      store->path, name);
	if (renameat(store->dir_fd, name, store->dir_fd, right) < 0)
		return errno == ENOENT ? 0 : refuse(store, name, -errno);
	if (claim_is_at(store->dir_fd, right, look->device, look->inode) == 1) {
		unlinkat(store->dir_fd, right, 0);
		return 0;
	}
	if (linkat(store->dir_fd, right, store->dir_fd, name, 0) == 0)
		unlinkat(store->dir_fd, right, 0);
	return -EAGAIN;
}

static int seize(const struct link_store *store, const char *name, const struct link_look *look,
		 const char *right, bool is_forced)
{
	int result = -ENOENT;

	/* What a lock file says may be anything: the claim must be its own. */
	if (!look->trouble)
		result = claim_is_at(store->dir_fd, look->claim, look->device, look->inode) == 1
				 ? claim_seize(store->dir_fd, look->claim, right, look->device,
					       look->inode)
				 : take_over(store, name, look, right, is_forced);
	return result;
}

int link_break(const struct link_store *store, const char *name, const struct link_look *look,
	       const struct breaker *by, bool is_forced)
{
	char right[NAME_MAX + 1];

	int result = draw_right(right, name);
	if (result < 0)
		return result;
	result = seize(store, name, look, right, is_forced);
	if (result == -ENOENT) {
		/* It may just have been released. */
		if (claim_is_at(store->dir_fd, name, look->device, look->inode) != 1)
			return 0;
		if (!is_forced)
			return refuse_without_claim(store, name, look);
		return break_without_claim(store, name, look, right);
	}
	if (result < 0)
		return result == -EAGAIN ? result : refuse(store, name, result);
	if (by && !is_forced && has_new_life(store, right, look)) {
		(void)renameat(store->dir_fd, right, store->dir_fd, look->claim);
		return -EAGAIN;
	}
	if (by && look->owner.is_known)
		link_record_break(store, name, look->owner.number, by);
	result = claim_unlock(store->dir_fd, name, look->claim, right, look->device, look->inode);
	if (result < 0 && result != -ESTALE)
		return refuse(store, name, result);
	debug("%s: broke the lock of pid %d on %s: %s", name, (int)look->owner.pid,
	      look->owner.host,
	      is_forced ? "asked to"
	      : by      ? "expired"
			: "gone");
	if (!by)
		link_tidy(store);
	return 0;
}

int link_break_hold(relock_store *relock, const char *name)
{
	const struct link_store *store = link_store_of(relock);
	const struct breaker by = {getpid(), geteuid(), process_self()->command};
	struct link_look look;

	int result = link_look(store, name, &look);
	if (result < 0)
		return result;
	if (!look.exists)
		return -ENOENT;
	return link_break(store, name, &look, &by, true);
}
