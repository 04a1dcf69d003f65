/*
 * The store "link:DIR": a lock is a file DIR/NAME that was made by link(2), as
 * flufl.lock makes it, so that machines which share nothing but a folder exclude
 * each other.  It can only be exclusive.
 *
 *	claim      DIR/NAME|HOST|PID|...   contains its own path; its modification
 *	                                   time is the end of the lock's lifetime
 *	link       to DIR/NAME             one of all who try succeeds
 *	rename     the claim to a right    one of all who want to end it succeeds
 *	unlink     DIR/NAME, the right
 *
 * claim-file.c argues why that excludes; link-look.c says when a lock may be
 * broken, claim-name.c when its owner is proven gone.
 *
 * Nobody frees the lock of a process that has died but who wants it next.  On the
 * same machine it waits for the holder's end with a pidfd, so that is at once.
 *
 * The kernel knows of no hold here: a descriptor that is inherited holds nothing,
 * and the hold is that of the process which is named in the claim.
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
#include "folder.h"
#include "link-store.h"
#include "message.h"
#include "process.h"

/* The store */

static int absolute_path(const char *path, char **ret)
{
	CLEANUP_FREE char *here = *path == '/' ? NULL : getcwd(NULL, 0);
	size_t length = strlen(path);
	char *absolute = NULL;

	if (*path != '/' && !here)
		return -errno;
	while (length > 0 && path[length - 1] == '/')
		length--;
	if (asprintf(&absolute, "%s%s%.*s", here ? here : "", here ? "/" : "", (int)length, path) <
	    0)
		return -ENOMEM;
	*ret = absolute;
	return 0;
}

static int open_store(relock_store *relock, const char *rest, bool any_folder)
{
	struct link_store *store = link_store_of(relock);
	CLEANUP_CLOSE int fd = -1;

	if (strpbrk(rest, "|\n"))
		return failed(-EINVAL,
			      "%s: flufl.lock could not read the name of a lock file in a folder "
			      "with '|' in its path",
			      rest);
	int result = folder_open(rest, any_folder, &fd);
	if (result < 0)
		return result;
	result = absolute_path(rest, &store->path);
	if (result < 0)
		return result;
	store->is_local = folder_is_local(fd);
	store->dir_fd = TAKE_FD(fd);
	return 0;
}

static void close_store(relock_store *relock)
{
	close(link_store_of(relock)->dir_fd);
	free(link_store_of(relock)->path);
}

/* Handles */

static int open_lock(relock_lock *relock)
{
	struct link_lock *lock = link_lock_of(relock);

	if (strchr(relock->name, '|'))
		return failed(-EINVAL, "%s: in a link: store a lock's name cannot have '|' in it",
			      relock->name);
	lock->term.claim.fd = -1;
	lock->watch.fd = -1;
	lock->record_fd = -1;
	return 0;
}

static void close_lock(relock_lock *relock)
{
	struct link_lock *lock = link_lock_of(relock);

	link_drop_claim(relock);
	link_record_close(lock);
	folder_watch_end(&lock->watch);
	free(lock->image);
}

static void forget(relock_lock *relock)
{
	struct link_lock *lock = link_lock_of(relock);

	/* A thread that is gone may have been about to make it larger. */
	lock->image = NULL;
	link_refresh_forget(lock);
	if (lock->term.claim.fd >= 0)
		close(TAKE_FD(lock->term.claim.fd)); /* the file is the parent's */
	link_record_close(lock);
	folder_watch_end(&lock->watch);
}

/* A hold of nobody that lives is none. */
static int probe(relock_lock *relock)
{
	struct link_look look;

	int result = link_look(link_store_of(relock->store), relock->name, &look);
	if (result < 0)
		return result;
	return look.exists && (look.trouble || look.life != CLAIM_GONE) ? -EAGAIN : 0;
}

const struct store_operations store_link = {
	.scheme = "link",
	.store_size = sizeof(struct link_store),
	.lock_size = sizeof(struct link_lock),
	.open = open_store,
	.close = close_store,
	.lock_open = open_lock,
	.lock_close = close_lock,
	.forget = forget,
	.acquire = link_acquire,
	.adopt = link_adopt,
	.release = link_release,
	.leave = link_release,
	.convert = link_convert,
	.pass = link_pass,
	.check = link_check,
	.mark_broken = link_mark_broken,
	.set_info = link_set_info,
	.info = link_info,
	.token = link_token,
	.fd = link_fd,
	.refresh = link_refresh,
	.at_exit = link_at_exit,
	.probe = probe,
	.look = link_status_look,
	.each_name = link_each_name,
	.break_hold = link_break_hold,
	.prune = link_prune,
};
