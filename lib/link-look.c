/*
 * What a lock file says, and whether it may be broken.
 *
 * A lock is broken at once if its owner is proven gone (claim-name.c), and when
 * its lifetime is over.  The lifetime's end is the file's modification time, as
 * flufl.lock has it, set by the holder's clock and compared with the looker's.
 * Clocks are wrong, and are set, by an hour too; so that this breaks no living
 * hold, the benefit of the doubt is the holder's:
 *
 *  - A holder counts from its own clock or that of the file system (the server's,
 *    on NFS), whichever is ahead; a looker believes neither its own nor the file
 *    system's alone, both must be past the end.
 *  - On the boot that a hold of relock's was made on, CLOCK_BOOTTIME, which nobody
 *    can set, must be past the end, too: its record says when that is.
 *  - Where there is no such record, and the owner may be alive on this very host,
 *    so that file system, holder and looker may all have the same wrong clock, the
 *    lock is broken by who has seen it unchanged for as long as it was to last.
 *
 * What is no lock file of this protocol (empty, binary, a folder, a link to
 * elsewhere) may be anything of anybody's: it excludes, and stays until a person
 * has looked at it.
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
#include "read-all.h"
#include "status.h"

enum { CONTENT_MAX = PATH_MAX + 16 };

static int64_t moment_of(const struct timespec *time)
{
	return time->tv_sec * RELOCK_SECOND + time->tv_nsec;
}

static int take_status(struct link_look *ret, const struct stat *status)
{
	ret->exists = true;
	ret->device = status->st_dev;
	ret->inode = status->st_ino;
	ret->expires = moment_of(&status->st_mtim);
	ret->set = moment_of(&status->st_ctim);
	if (S_ISDIR(status->st_mode))
		ret->trouble = "a folder";
	else if (S_ISLNK(status->st_mode))
		ret->trouble = "a symbolic link";
	else if (!S_ISREG(status->st_mode))
		ret->trouble = "not a regular file";
	else if (status->st_size > CONTENT_MAX)
		ret->trouble = "too long for a lock file";
	else if (status->st_size == 0)
		ret->trouble = "an empty file";
	return 0;
}

/* What cannot be opened can be looked at. */
static int look_from_outside(const struct link_store *store, const char *name,
			     struct link_look *ret, int error)
{
	struct stat status;

	if (error == -ENOENT || error == -ESTALE)
		return 0; /* link(2) will tell */
	if (error != -EACCES && error != -ELOOP && error != -ENXIO && error != -EPERM)
		return error;
	if (fstatat(store->dir_fd, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	take_status(ret, &status);
	if (!ret->trouble || S_ISREG(status.st_mode))
		ret->trouble = "not yours to read";
	return 0;
}

static int read_content(int fd, const char *name, struct link_look *ret)
{
	char content[CONTENT_MAX + 1];
	size_t length = 0;

	int result = read_all(fd, content, sizeof content, &length);
	if (result < 0)
		return result;
	if (!claim_content_read(content, length, name, ret->claim, &ret->owner)) {
		ret->trouble = "not a lock file of relock's or flufl.lock's";
		return 0;
	}
	ret->life = claim_owner_life(&ret->owner);
	return 0;
}

/* An open asks the server: what is known of a name may be old. */
int link_look(const struct link_store *store, const char *name, struct link_look *ret)
{
	CLEANUP_CLOSE int fd = openat(store->dir_fd, name,
				      O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	struct stat status;

	memset(ret, 0, sizeof *ret);
	if (fd < 0)
		return look_from_outside(store, name, ret, -errno);
	if (fstat(fd, &status) < 0)
		return errno == ESTALE ? 0 : -errno;
	take_status(ret, &status);
	if (ret->trouble)
		return 0;
	int result = read_content(fd, name, ret);
	if (result == -ESTALE) {
		ret->exists = false;
		return 0;
	}
	return result;
}

int link_stuck(const struct link_store *store, const char *name, const struct link_look *look,
	       int error)
{
	return failed(error,
		      "%s: look at %s/%s: it is %s, and nobody but a person can tell whether the "
		      "lock is held; if not, remove it, or: relock unget --force",
		      name, store->path, name, look->trouble);
}

/* Until then nothing will change by itself. */
static enum link_verdict held_for(int64_t left, int64_t *ret_look_at)
{
	int64_t now = clock_now(CLOCK_MONOTONIC);

	if (left < RELOCK_MILLISECOND)
		left = RELOCK_MILLISECOND;
	*ret_look_at = left > INT64_MAX - now ? INT64_MAX : now + left;
	return LINK_HELD;
}

static enum link_verdict observe(relock_lock *lock, const struct link_look *look,
				 int64_t *ret_look_at)
{
	int64_t span = look->expires - look->set, now = clock_now(CLOCK_MONOTONIC);

	if (span <= 0)
		return LINK_EXPIRED;
	if (!lock)
		return held_for(span, ret_look_at);
	struct link_observation *seen = &link_lock_of(lock)->observation;
	if (seen->inode != look->inode || seen->expires != look->expires)
		*seen = (struct link_observation){look->inode, look->expires, now};
	int64_t left = span - (now - seen->since);
	return left <= 0 ? LINK_EXPIRED : held_for(left, ret_look_at);
}

/* The clock of a file system that is not ours, by a file of ours in it. */
static int server_now(relock_lock *lock, const struct link_store *store, int64_t *ret)
{
	struct claim probe = CLAIM_NONE;
	struct claim_owner owner;
	char name[NAME_MAX + 1];

	claim_owner_draw(&owner, NULL);
	int result = claim_name_write(name, ".", lock->name, &owner);
	if (result == 0)
		result = claim_make(store->dir_fd, name, "", 0, &probe);
	if (result < 0)
		return result;
	*ret = probe.made;
	claim_remove(store->dir_fd, &probe);
	return 0;
}

enum link_verdict link_judge(relock_lock *lock, const struct link_store *store, const char *name,
			     const struct link_look *look, int64_t *ret_look_at)
{
	int64_t now = moment_now(), end = look->expires + LINK_CLOCK_SLOP, until, server;

	*ret_look_at = INT64_MAX;
	if (look->trouble)
		return LINK_STUCK;
	if (look->life == CLAIM_GONE)
		return LINK_GONE;
	if (now <= end)
		return held_for(end - now + 1, ret_look_at);
	if (claim_owner_is_of_this_boot(&look->owner)) {
		if (link_record_lasts_until(store, name, look->owner.number, &until) < 0)
			return observe(lock, look, ret_look_at);
		int64_t left = until + LINK_CLOCK_SLOP - clock_now(CLOCK_BOOTTIME);
		return left < 0 ? LINK_EXPIRED : held_for(left + 1, ret_look_at);
	}
	if (look->life == CLAIM_SEEN)
		return observe(lock, look, ret_look_at);
	if (lock && !store->is_local) {
		if (server_now(lock, store, &server) < 0)
			return held_for(RELOCK_SECOND, ret_look_at);
		if (server <= end)
			return held_for(end - server + 1, ret_look_at);
	}
	return LINK_EXPIRED;
}

/* As a status */

static enum relock_state state_of(const struct link_look *look, enum link_verdict verdict)
{
	switch (verdict) {
	case LINK_GONE:
		return RELOCK_STALE;
	case LINK_STUCK:
		return RELOCK_UNKNOWN;
	case LINK_EXPIRED:
		return look->life == CLAIM_UNFOUND ? RELOCK_STALE : RELOCK_EXPIRED;
	case LINK_HELD:
		break;
	}
	/* What flufl.lock calls expired is what the next of its waiters breaks; it
	 * does not count the slop here. */
	if (look->life == CLAIM_UNFOUND)
		return RELOCK_STALE;
	if (look->expires < moment_now())
		return RELOCK_EXPIRED;
	return look->life == CLAIM_SEEN ? RELOCK_HELD : RELOCK_UNKNOWN;
}

static int describe_trouble(const struct link_store *store, const char *name,
			    const struct link_look *look, struct relock_status *status)
{
	char *path = NULL, *why = NULL;

	if (asprintf(&path, "%s/%s", store->path, name) < 0)
		return -ENOMEM;
	if (asprintf(&why, "it is %s, and nobody but a person can tell whether the lock is held",
		     look->trouble) < 0) {
		free(path);
		return -ENOMEM;
	}
	status->look_at = path;
	status->why = why;
	return 0;
}

static void describe_owner(struct relock_holder *holder, const struct claim_owner *owner,
			   enum claim_life life)
{
	if (life == CLAIM_SEEN)
		status_holder_of_process(holder, owner->pid);
	else
		holder->uid = (uid_t)-1;
	free(holder->host);
	holder->host = strdup(owner->host);
}

/* Why a lock is still there that has expired, or whose owner cannot be found. */
int link_status_look(relock_store *store, const char *name, struct snapshot *snapshot,
		     struct relock_status *status)
{
	const struct link_store *link_store = link_store_of(store);
	CLEANUP_FREE struct slot *slot = malloc(sizeof *slot);
	struct link_look look;
	int64_t look_at;

	if (!slot)
		return -ENOMEM;
	int result = link_look(link_store, name, &look);
	if (result < 0)
		return result;
	bool is_recorded = link_record_read(link_store, name, slot);
	if (!look.exists) {
		if (is_recorded)
			status_last_of_slot(status, slot);
		return 0;
	}
	status->state = state_of(&look, link_judge(NULL, link_store, name, &look, &look_at));
	status->mode = RELOCK_EXCLUSIVE;
	if (look.trouble)
		return describe_trouble(link_store, name, &look, status);
	status->expires = look.expires;
	status->ours = claim_owner_is_self(&look.owner);
	status->holders = calloc(1, sizeof *status->holders);
	if (!status->holders)
		return -ENOMEM;
	status->holder_count = 1;
	if (is_recorded && look.owner.is_known && slot->record.hold == look.owner.number)
		status_live_holder_of_slot(status->holders, slot, look.life == CLAIM_SEEN);
	else
		describe_owner(status->holders, &look.owner, look.life);
	return 0;
}
