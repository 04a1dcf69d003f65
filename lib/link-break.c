/*
 * Breaking a lock, by the right that its claim file is (claim-file.c): whoever
 * renames that away, and nobody else, removes the lock.
 *
 *	the claim file is there     it is renamed to a right of ours
 *	it has another name         somebody has the right, and the name says who: taken
 *	                            over only from one that is proven gone; by force
 *	                            also from one that cannot be seen from here, and
 *	                            has had its time; never from one that lives
 *	nobody has                  the claim was removed by other means
 *
 * A lock that is broken because its lifetime is over may be refreshed at that very
 * moment.  The holder touches its file and then looks whether its claim is there;
 * we rename the claim and then look at the file's time: one of the two sees the
 * other.  If we do, we give the claim back; if the holder does, it takes the hold
 * for lost.
 *
 * Without a claim file there is no right that two could race for, so a person has
 * to break such a lock (unget --force): when none has been found for as long as a
 * removal may take, the lock file itself is renamed, and looked at, and put back if
 * in that moment it was already the next one's.
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

/* Whose will it is that a lock ends, beyond what its verdict allows. */
enum force {
	NOT_FORCED,
	FORCED,    /* a person's */
	INSISTENT, /* and who else is removing it, if anybody, has had the time */
};

/* Who has the right is in the middle of removing the lock, or died there. */
static int take_over(const struct link_store *store, const char *name, const struct link_look *look,
		     const char *right, enum force force)
{
	char other[NAME_MAX + 1];
	struct claim_owner owner;

	int result = link_find_right(store, name, look, other, &owner);
	if (result < 0)
		return result;
	enum claim_life life = claim_owner_life(&owner);
	if (life == CLAIM_SEEN || (life != CLAIM_GONE && force != INSISTENT))
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
		 const char *right, enum force force)
{
	int result = -ENOENT;

	if (look->trouble)
		return result;
	/* What a lock file says may be anything: the claim must be its own. */
	if (claim_is_at(store->dir_fd, look->claim, look->device, look->inode) == 1)
		result = claim_seize(store->dir_fd, look->claim, right, look->device, look->inode);
	return result == -ENOENT ? take_over(store, name, look, right, force) : result;
}

static int break_by(const struct link_store *store, const char *name, const struct link_look *look,
		    const struct breaker *by, enum force force)
{
	char right[NAME_MAX + 1];

	int result = draw_right(right, name);
	if (result < 0)
		return result;
	result = seize(store, name, look, right, force);
	if (result == -ENOENT) {
		/* It may just have been released. */
		if (claim_is_at(store->dir_fd, name, look->device, look->inode) != 1)
			return 0;
		if (force == NOT_FORCED || (force == FORCED && !look->trouble))
			return refuse_without_claim(store, name, look);
		return break_without_claim(store, name, look, right);
	}
	if (result < 0)
		return result == -EAGAIN ? result : refuse(store, name, result);
	if (by && force == NOT_FORCED && has_new_life(store, right, look)) {
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
	      force != NOT_FORCED ? "asked to"
	      : by                ? "expired"
				  : "gone");
	if (!by)
		link_tidy(store);
	return 0;
}

int link_break(const struct link_store *store, const char *name, const struct link_look *look,
	       const struct breaker *by)
{
	return break_by(store, name, look, by, NOT_FORCED);
}

/* -EAGAIN: somebody else is removing it.  `first`: the hold that is to end; that of
 * the first look. */
static int break_once(const struct link_store *store, const char *name, const struct breaker *by,
		      enum force force, struct link_look *first)
{
	struct link_look look;

	int result = link_look(store, name, &look);
	if (result < 0)
		return result;
	if (!first->exists)
		*first = look;
	if (!first->exists)
		return -ENOENT;
	if (!look.exists || look.inode != first->inode || strcmp(look.claim, first->claim) != 0)
		return 0; /* ended, and perhaps another has begun */
	return break_by(store, name, &look, by, force);
}

int link_break_hold(relock_store *relock, const char *name, const struct breaker *by)
{
	const struct link_store *store = link_store_of(relock);
	int64_t began = clock_now(CLOCK_MONOTONIC);
	struct link_look first = {0};
	enum force force = FORCED;

	int result = break_once(store, name, by, force, &first);
	while (result == -EAGAIN && force != INSISTENT) {
		if (!claim_await_removal(began))
			force = INSISTENT;
		result = break_once(store, name, by, force, &first);
	}
	return result;
}
