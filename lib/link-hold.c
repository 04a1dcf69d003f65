/*
 * What a holder does with its lock of claim files.
 *
 * It may have lost it: the lock's name leads to its claim file, and that has its
 * own name, as long as it has not.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "link-store.h"
#include "message.h"
#include "process.h"

/*
 * 0 if it is ours.  Where only the claim is missing, somebody who has taken the
 * lock for expired is about to break it, or to give the claim back because it was
 * refreshed: that takes three system calls.
 */
static int is_held(const relock_lock *relock)
{
	enum { TRIES = 100 };
	const struct link_store *store = link_store_of(relock->store);
	const struct claim *claim = &link_lock_of(relock)->term.claim;
	int result = 0;

	for (int i = 0; i < TRIES; i++) {
		result = claim_is_at(store->dir_fd, relock->name, claim->device, claim->inode);
		if (result <= 0)
			break;
		result = claim_is_at(store->dir_fd, claim->name, claim->device, claim->inode);
		if (result != 0)
			break;
		struct timespec pause = clock_timespec(RELOCK_MILLISECOND);
		clock_nanosleep(CLOCK_MONOTONIC, 0, &pause, NULL);
	}
	return result == 1 ? 0 : result < 0 ? result : -ESTALE;
}

static int lost(relock_lock *relock)
{
	struct link_lock *lock = link_lock_of(relock);

	link_refresh_end(lock);
	/* Whoever broke it has not always removed it; it has one name then. */
	link_drop_claim(relock);
	lock->recorded = false;
	return failed(-ESTALE,
		      "%s: the lock was broken by somebody else, or has expired and been "
		      "taken",
		      relock->name);
}

int link_check(relock_lock *relock)
{
	int result = is_held(relock);

	return result == -ESTALE ? lost(relock) : result;
}

static int cannot_release(relock_lock *relock, int error)
{
	return failed(error,
		      "%s: cannot be given back: %s; %s/%s stays until its lifetime is over, or "
		      "somebody removes it",
		      relock->name, strerrordesc_np(-error), link_store_of(relock->store)->path,
		      relock->name);
}

int link_release(relock_lock *relock)
{
	const struct link_store *store = link_store_of(relock->store);
	struct link_lock *lock = link_lock_of(relock);
	char next[NAME_MAX + 1];

	link_refresh_end(lock);
	/* Were it lost, this describes nothing: the record is another's. */
	if (lock->recorded && !lock->ended)
		link_record_end(relock, NULL);
	strcpy(next, lock->term.claim.name);
	claim_name_turn(next);
	int result = claim_release(store->dir_fd, &lock->term.claim, relock->name, next);
	if (result == -ENOENT && is_held(relock) == 0) /* the right has been given back */
		result = claim_release(store->dir_fd, &lock->term.claim, relock->name, next);
	if (result == -ENOENT || result == -ESTALE)
		return lost(relock);
	if (result < 0) {
		/* It is not held any more, but nobody can tell. */
		close(TAKE_FD(lock->term.claim.fd));
		return cannot_release(relock, result);
	}
	if (!lock->recorded)
		link_drop_claim(relock); /* or an older hold's record would be taken for the next */
	lock->recorded = false;
	return 0;
}

int link_convert(relock_lock *relock, const struct grant *grant)
{
	return link_refuse(relock, grant);
}

int link_pass(relock_lock *relock, const struct grant *grant)
{
	int result = link_check(relock);
	if (result < 0)
		return result;
	bool is_refreshed = link_lock_of(relock)->refreshed.is_on;
	link_refresh_end(link_lock_of(relock));
	link_record_grant(relock, grant);
	if (is_refreshed)
		link_refresh_begin(relock);
	return 0;
}

int link_refresh(relock_lock *relock, int64_t lifetime)
{
	struct link_lock *lock = link_lock_of(relock);

	int result = link_extend(link_store_of(relock->store)->dir_fd, relock->name, &lock->term,
				 lifetime ? lifetime : lock->term.lifetime);
	if (result == -ESTALE)
		return link_check(relock);
	return result < 0 ? failed(result, "%s: cannot be refreshed: %s", relock->name,
				   strerrordesc_np(-result))
			  : 0;
}

void link_at_exit(relock_lock *relock)
{
	if (relock->held)
		(void)link_release(relock);
	link_drop_claim(relock);
}

static int no_record(const relock_lock *relock)
{
	char file[NAME_MAX + 1];

	return failed(-ENODATA, "%s: %s/%s cannot be written to", relock->name,
		      link_store_of(relock->store)->path,
		      link_record_name(file, relock->name) ? file : "its record");
}

int link_set_info(relock_lock *relock, const void *info, size_t length)
{
	int result = link_check(relock);
	if (result < 0)
		return result;
	if (!link_lock_of(relock)->recorded)
		return no_record(relock);
	return link_record_set_info(relock, info, length);
}

int link_mark_broken(relock_lock *relock, const struct breaker *by)
{
	struct link_lock *lock = link_lock_of(relock);

	int result = link_check(relock);
	if (result < 0 || !lock->recorded)
		return result;
	link_record_end(relock, by);
	return 0;
}

int link_info(const relock_lock *relock, char **ret, size_t *ret_length)
{
	const struct link_lock *lock = link_lock_of(relock);
	size_t length = lock->recorded ? lock->image->record.info_length : 0;

	if (length == 0)
		return -ENODATA;
	char *copy = malloc(length + 1);
	if (!copy)
		return -ENOMEM;
	memcpy(copy, lock->image->info, length);
	copy[length] = '\0';
	*ret = copy;
	*ret_length = length;
	return 0;
}

int link_token(const relock_lock *relock, uint64_t *ret)
{
	const struct link_lock *lock = link_lock_of(relock);

	/* Who was broken before may have drawn it after the next one did. */
	int result = is_held(relock);
	if (result == -ESTALE)
		return failed(result, "%s: the lock was broken by somebody else", relock->name);
	if (result < 0)
		return result;
	if (!lock->recorded)
		return no_record(relock);
	*ret = lock->image->record.token;
	return 0;
}

int link_fd(const relock_lock *relock)
{
	return relock->held ? link_lock_of(relock)->term.claim.fd : -1;
}
