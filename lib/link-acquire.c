/*
 * Acquiring a lock of claim files: making a claim, linking it to the lock's name,
 * breaking what may be broken, and waiting.
 *
 * A handle keeps its claim file from hold to hold: to make and remove one costs
 * more than the rest of an acquire and a release together.  It is made when it is
 * first needed, which is never for who only finds the lock held.
 *
 * A wait is woken by the removal of the lock file's name (folder-watch.c), by the
 * end of the holder's process (a pidfd), and at the moment at which the lock may
 * be broken.  Where none of these tells all, it looks again each second.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "link-store.h"
#include "message.h"
#include "process.h"

int link_explain(const relock_lock *relock, int error)
{
	const char *path = link_store_of(relock->store)->path;

	switch (error) {
	case -EACCES:
		return failed(error, "%s: no permission to make files in %s", relock->name, path);
	case -EROFS:
		return failed(error, "%s: %s is on a read-only file system", relock->name, path);
	case -ENOSPC:
	case -EDQUOT:
		return failed(error, "%s: no space left for a claim file in %s", relock->name,
			      path);
	case -ENAMETOOLONG:
		return failed(error,
			      "%s: too long a name: a claim file has it, and the host's, in its "
			      "name",
			      relock->name);
	case -EPERM:
	case -EOPNOTSUPP:
		return failed(error, "%s: the file system of %s has no hard links", relock->name,
			      path);
	default:
		return error;
	}
}

ssize_t link_claim(const struct link_store *store, const char *name,
		   const struct relock_on_behalf *on_behalf, struct claim_owner *ret_owner,
		   struct claim *ret)
{
	CLEANUP_FREE char *path = NULL;
	char file[NAME_MAX + 1];
	int result, length;

	do {
		claim_owner_draw(ret_owner, on_behalf);
		result = claim_name_write(file, "", name, ret_owner);
		if (result < 0)
			return result;
		free(TAKE_POINTER(path));
		length = asprintf(&path, "%s/%s", store->path, file);
		if (length < 0) {
			path = NULL;
			return -ENOMEM;
		}
		result = claim_make(store->dir_fd, file, path, (size_t)length, ret);
	} while (result == -EEXIST);
	return result < 0 ? result : length;
}

bool link_is_kept_by(const struct claim_owner *owner, const struct relock_on_behalf *on_behalf)
{
	if (!on_behalf || !on_behalf->keeper_pid)
		return claim_owner_is_self(owner);
	return claim_owner_is_of_this_boot(owner) && owner->pid == on_behalf->keeper_pid &&
	       owner->start_time == on_behalf->keeper_start_time;
}

int link_make_claim(relock_lock *relock, const struct grant *grant)
{
	struct link_lock *lock = link_lock_of(relock);

	ssize_t length = link_claim(link_store_of(relock->store), relock->name, grant->on_behalf,
				    &lock->owner, &lock->term.claim);
	if (length < 0)
		return (int)length;
	lock->content_length = (size_t)length;
	int64_t ahead = lock->term.claim.made - moment_now();
	lock->term.clock_ahead = ahead > 0 ? ahead : 0;
	return 0;
}

/* The one of the last hold, which has its next name now: what it says ends as that
 * does. */
static int use_claim_again(struct link_lock *lock)
{
	const struct claim *claim = &lock->term.claim;
	const char *digits = claim->name + strlen(claim->name) - CLAIM_TURN_DIGITS;
	uint32_t turn = (uint32_t)strtoul(digits, NULL, 16);

	if (turn == lock->owner.turn)
		return 0;
	off_t at = (off_t)lock->content_length - CLAIM_TURN_DIGITS;
	ssize_t written = pwrite(claim->fd, digits, CLAIM_TURN_DIGITS, at);
	if (written != CLAIM_TURN_DIGITS)
		return written < 0 ? -errno : -EIO;
	lock->owner.turn = turn;
	return 0;
}

int64_t link_end_of(const struct link_lock *lock)
{
	int64_t end;

	if (__builtin_add_overflow(moment_now() + lock->term.clock_ahead, lock->term.lifetime,
				   &end))
		return INT64_MAX;
	return end;
}

/* The lifetime begins before the lock does.  -EAGAIN: somebody has it. */
static int try_claim(relock_lock *relock)
{
	const struct link_store *store = link_store_of(relock->store);
	struct link_lock *lock = link_lock_of(relock);

	int result = use_claim_again(lock);
	if (result == 0)
		result = claim_set_time(&lock->term.claim, link_end_of(lock));
	if (result == 0)
		result = claim_link(store->dir_fd, &lock->term.claim, relock->name);
	return result == -EEXIST ? -EAGAIN : result;
}

/* Without a look, with a claim that is there already: where nobody has the lock,
 * that is all it takes. */
static int try_at_once(relock_lock *relock, const struct grant *grant)
{
	struct link_lock *lock = link_lock_of(relock);

	if (lock->term.claim.fd < 0)
		return -EAGAIN;
	int result = link_is_kept_by(&lock->owner, grant->on_behalf) ? try_claim(relock) : -ESTALE;
	if (result == 0 || result == -EAGAIN)
		return result;
	link_drop_claim(relock); /* somebody has removed it, perhaps; a new one will tell */
	return -EAGAIN;
}

/* The lock's name leads nowhere. */
static int try_with_new_claim(relock_lock *relock, const struct grant *grant)
{
	if (link_lock_of(relock)->term.claim.fd < 0) {
		int result = link_make_claim(relock, grant);
		if (result < 0)
			return result;
	}
	int result = try_claim(relock);
	if (result < 0 && result != -EAGAIN)
		link_drop_claim(relock);
	return result;
}

static struct breaker self_as_breaker(void)
{
	const struct self *self = process_self();

	return (struct breaker){self->pid, geteuid(), self->command};
}

/* When it is worth to look again, whatever happens, and who holds it. */
struct outlook {
	int64_t look_at;
	pid_t pid; /* on this host, of that start time; 0: not seen from here */
	uint64_t start_time;
};

/* 0, it is ours; -EAGAIN, it is another's. */
static int try_once(relock_lock *relock, const struct grant *grant, struct outlook *ret)
{
	const struct link_store *store = link_store_of(relock->store);
	struct link_look look;

	*ret = (struct outlook){.look_at = INT64_MAX};
	int result = try_at_once(relock, grant);
	if (result == 0)
		return 0;
	result = link_look(store, relock->name, &look);
	if (result < 0)
		return result;
	if (!look.exists)
		return try_with_new_claim(relock, grant);
	const struct breaker by = self_as_breaker();
	switch (link_judge(relock, store, relock->name, &look, &ret->look_at)) {
	case LINK_HELD:
		if (look.life == CLAIM_SEEN && look.owner.is_known)
			*ret = (struct outlook){ret->look_at, look.owner.pid,
						look.owner.start_time};
		return -EAGAIN;
	case LINK_GONE:
		result = link_break(store, relock->name, &look, NULL);
		break;
	case LINK_EXPIRED:
		result = link_break(store, relock->name, &look, &by);
		break;
	case LINK_STUCK:
		return link_stuck(store, relock->name, &look, -EAGAIN);
	}
	/* It may be somebody else's by now. */
	return result < 0 ? result : -EINPROGRESS;
}

static void stop_waiting(void *argument)
{
	close_keeping_errno(*(int *)argument);
}

static int open_process(const struct outlook *outlook)
{
	if (outlook->pid == 0 || outlook->pid == process_self()->pid)
		return -1;
	int fd = (int)syscall(SYS_pidfd_open, outlook->pid, 0);
	if (fd >= 0 && process_is_proven_gone(outlook->pid, outlook->start_time))
		close(TAKE_FD(fd)); /* the pid is another's now: look again soon */
	return fd;
}

/* Something that a person has to see to may be seen to. */
static int64_t soon(const struct outlook *outlook)
{
	int64_t at = clock_now(CLOCK_MONOTONIC) + RELOCK_SECOND;

	return outlook->look_at < at ? outlook->look_at : at;
}

static int wait_once(relock_lock *relock, const struct grant *grant, const struct outlook *outlook)
{
	int process_fd = open_process(outlook), result;
	/* A holder that cannot be watched may still be seen to be gone. */
	int64_t look_at = process_fd < 0 ? soon(outlook) : outlook->look_at;

	pthread_cleanup_push(stop_waiting, &process_fd);
	result = folder_watch_wait(&link_lock_of(relock)->watch, grant->deadline, look_at,
				   process_fd, grant->cancel_state);
	pthread_cleanup_pop(1);
	return result;
}

static int take(relock_lock *relock, const struct grant *grant)
{
	enum { BREAKS = 100 };
	const struct link_store *store = link_store_of(relock->store);
	struct link_lock *lock = link_lock_of(relock);
	struct outlook outlook;
	int result, breaks = 0;

	lock->watch.pause = 0;
	for (;;) {
		if (grant->deadline != AT_ONCE)
			folder_watch_begin(&lock->watch, store->dir_fd, relock->name,
					   store->is_local);
		result = try_once(relock, grant, &outlook);
		if (result == -EINPROGRESS && breaks++ < BREAKS)
			continue;
		if (result == -EINPROGRESS)
			result = -EAGAIN;
		if (result != -EAGAIN || grant->deadline == AT_ONCE)
			return result;
		result = wait_once(relock, grant, &outlook);
		if (result < 0)
			return result;
	}
}

int link_refuse(const relock_lock *relock, const struct grant *grant)
{
	if (grant->mode == RELOCK_SHARED)
		return failed(-EOPNOTSUPP, "%s: a link: store has exclusive locks only",
			      relock->name);
	if (grant->flags & RELOCK_INHERIT)
		return failed(-EOPNOTSUPP,
			      "%s: a lock of a link: store cannot be inherited: it is that of the "
			      "process which acquires it",
			      relock->name);
	return 0;
}

void link_set_lifetime(struct link_lock *lock, const struct grant *grant)
{
	lock->term.lifetime = grant->lifetime ? grant->lifetime : LINK_LIFETIME;
}

void link_begin_refreshing(relock_lock *relock, const struct grant *grant)
{
	if (grant->lifetime == 0 || grant->flags & RELOCK_REFRESH)
		link_refresh_begin(relock);
}

int link_acquire(relock_lock *relock, const struct grant *grant)
{
	struct link_lock *lock = link_lock_of(relock);

	int result = link_refuse(relock, grant);
	if (result < 0)
		return result;
	link_set_lifetime(lock, grant);
	result = take(relock, grant);
	if (grant->deadline != AT_ONCE)
		folder_watch_rest(&lock->watch);
	if (result < 0)
		return link_explain(relock, result);
	link_record_grant(relock, grant);
	link_begin_refreshing(relock, grant);
	return 0;
}

void link_drop_claim(relock_lock *relock)
{
	claim_remove(link_store_of(relock->store)->dir_fd, &link_lock_of(relock)->term.claim);
}
