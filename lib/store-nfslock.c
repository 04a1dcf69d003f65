/*
 * The store "nfslock:DIR": locks by link(2), as Core_unix's Lock_file.Nfs has
 * them, for working together with it; across machines where DIR is on NFS.
 *
 * NAME.nfs_lock is the lock: who gives a file that name has it, and link(2) gives
 * it to one.  The file says who, as an s-expression (nfslock-info.c), and is
 * complete before it has the name, as that of create_v2 is.  NAME itself, which
 * Core_unix writes as well, and calls useless, is left alone: somebody's data may
 * have that name.
 *
 * The two bugs that its documentation names are not here.  That a clean-up of a
 * stale lock removes one that is not: nfslock-look.c says what counts as stale, and
 * nfslock-break.c how it is removed.  That a lock file stays empty: it has its
 * content before it is one.
 *
 * The kernel frees nothing here.  A lock ends by its release, by relock_lock_close(),
 * or by the end of the process: where that is an ordinary one, exit(3) or a return
 * from main(), the library's destructor gives back what is held; no signal handler
 * is needed for that, and none is installed.  After _exit(2), a signal, or a crash
 * the lock is stale: whoever wants it on the same machine finds its holder gone,
 * and removes it; a waiter there is woken by the holder's end (pidfd_open(2)).  On
 * another machine it stays until somebody on the holder's machine wants it, or a
 * person breaks it.
 *
 * The protocol has one mode, exclusive; and a hold that belongs to a process, so it
 * cannot be inherited.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "folder.h"
#include "message.h"
#include "nfslock.h"
#include "process.h"

/* So many claims are made for each look at what the dead have left. */
enum { CLAIMS_PER_TIDY = 256 };

/* The store and its handles */

static int open_store(relock_store *relock, const char *rest, bool any_folder)
{
	struct nfslock_store *store = nfslock_store_of(relock);
	CLEANUP_CLOSE int fd = -1;

	int result = folder_open(rest, any_folder, &fd);
	if (result < 0)
		return result;
	store->path = strdup(rest);
	if (!store->path)
		return -ENOMEM;
	store->dir_fd = TAKE_FD(fd);
	store->is_local = folder_is_local(store->dir_fd);
	return 0;
}

static void close_store(relock_store *relock)
{
	struct nfslock_store *store = nfslock_store_of(relock);

	close(store->dir_fd);
	free(store->path);
}

static int open_lock(relock_lock *relock)
{
	struct nfslock_lock *lock = nfslock_lock_of(relock);

	lock->claim.fd = lock->hold_fd = lock->record.fd = lock->watch.fd = -1;
	return nfslock_name(lock->lock_name, relock->name);
}

/* What is open, and nothing else: a child's copies. */
static void forget(relock_lock *relock)
{
	struct nfslock_lock *lock = nfslock_lock_of(relock);

	if (lock->hold_fd >= 0)
		close(TAKE_FD(lock->hold_fd));
	if (lock->claim.fd >= 0)
		close(TAKE_FD(lock->claim.fd));
	*lock->claim.name = '\0';
	nfslock_record_close(relock);
	folder_watch_end(&lock->watch);
}

static void close_lock(relock_lock *relock)
{
	forget(relock);
	free(nfslock_lock_of(relock)->record.image);
}

/* Claims */

static uint64_t random_number(void)
{
	uint64_t number;

	if (getrandom(&number, sizeof number, GRND_NONBLOCK) != sizeof number)
		number = (uint64_t)clock_now(CLOCK_MONOTONIC) * UINT64_C(0x9e3779b97f4a7c15);
	return number;
}

static void drop_claim(relock_lock *relock)
{
	const struct nfslock_store *store = nfslock_store_of(relock->store);
	struct nfslock_lock *lock = nfslock_lock_of(relock);

	if (!*lock->claim.name)
		return;
	nfslock_record_drop(relock);
	if (lock->claim.fd >= 0)
		close(TAKE_FD(lock->claim.fd));
	unlinkat(store->dir_fd, lock->claim.name, 0);
	*lock->claim.name = '\0';
}

/* Its modification time, together with the inode, is the hold's alone: an inode's
 * number may be used again at once, and a kernel's clock ticks every 4 ms. */
static int make_key(struct nfslock_lock *lock)
{
	struct stat status;

	int64_t second = lock->claim.made - lock->claim.made % RELOCK_SECOND;
	int64_t fraction = (int64_t)(random_number() % (uint64_t)RELOCK_SECOND);
	int result = claim_set_time(&lock->claim, second + fraction);
	if (result < 0)
		return result;
	if (fstat(lock->claim.fd, &status) < 0)
		return -errno;
	lock->key = (struct nfslock_key){status.st_dev, status.st_ino,
					 status.st_mtim.tv_sec * RELOCK_SECOND +
						 status.st_mtim.tv_nsec};
	/* Written to the server, and not open when its name is removed. */
	return close(TAKE_FD(lock->claim.fd)) < 0 ? -errno : 0;
}

static int make_claim(relock_lock *relock, const struct grant *grant)
{
	const struct nfslock_store *store = nfslock_store_of(relock->store);
	struct nfslock_lock *lock = nfslock_lock_of(relock);
	char name[64];

	claim_owner_draw(&lock->owner, grant->on_behalf);
	struct nfslock_info info = {
		.host = (char *)process_self()->host,
		.pid = lock->owner.pid,
		.message = (char *)grant->info,
		.message_length = grant->info_length,
		.started = nfslock_started(lock->owner.start_time),
	};
	CLEANUP_FREE char *text = nfslock_info_write(&info);
	if (!text)
		return -ENOMEM;
	snprintf(name, sizeof name, ".relock-new-%016llx", (unsigned long long)lock->owner.number);
	int result = claim_make(store->dir_fd, name, text, strlen(text), &lock->claim);
	if (result < 0) {
		*lock->claim.name = '\0';
		return result;
	}
	if (lock->owner.number % CLAIMS_PER_TIDY == 0)
		nfslock_tidy(store, lock->claim.made);
	result = make_key(lock);
	if (result == 0)
		result = nfslock_record_make(relock, grant);
	if (result < 0)
		drop_claim(relock);
	return result;
}

/* By the file system's clock. On one that is not ours only a claim tells, and
 * without one it is long ago. */
static int64_t file_system_now(const struct nfslock_store *store, const struct nfslock_lock *lock)
{
	if (store->is_local)
		return moment_now();
	return *lock->claim.name ? lock->claim.made : 0;
}

/* Taking */

static int take_name(relock_lock *relock, const struct grant *grant)
{
	const struct nfslock_store *store = nfslock_store_of(relock->store);
	struct nfslock_lock *lock = nfslock_lock_of(relock);
	int result = 0;

	if (!*lock->claim.name)
		result = make_claim(relock, grant);
	if (result == 0)
		result = claim_link(store->dir_fd, &lock->claim, lock->lock_name);
	if (result < 0)
		return result == -EEXIST ? -EAGAIN : result;
	unlinkat(store->dir_fd, lock->claim.name, 0);
	*lock->claim.name = '\0';
	return 0;
}

/* Whether what another version is writing has stood for long is told by the file
 * system's clock: for that a claim has to be new. */
static int look_again(relock_lock *relock, const struct grant *grant, struct nfslock_look *look)
{
	const struct nfslock_store *store = nfslock_store_of(relock->store);

	drop_claim(relock);
	int result = make_claim(relock, grant);
	if (result < 0)
		return result;
	nfslock_look_end(look);
	*look = (struct nfslock_look)NFSLOCK_LOOK_NONE;
	return nfslock_look(store, relock->name, nfslock_lock_of(relock)->claim.made, look);
}

/* 0, and it is ours; -EAGAIN, and `look` is what is in the way. */
static int try_to_take(relock_lock *relock, const struct grant *grant, struct nfslock_look *look)
{
	const struct nfslock_store *store = nfslock_store_of(relock->store);
	struct nfslock_lock *lock = nfslock_lock_of(relock);

	int result = nfslock_look(store, relock->name, file_system_now(store, lock), look);
	if (result == 0 && look->is_first_version && !store->is_local)
		result = look_again(relock, grant, look);
	if (result < 0)
		return result;
	if (look->exists && look->verdict != NFSLOCK_GONE)
		return -EAGAIN;
	if (look->exists) {
		debug("%s: its holder is gone", relock->name);
		result = nfslock_remove(store, relock->name, look, NULL);
	}
	return result < 0 ? result : take_name(relock, grant);
}

struct wait {
	relock_lock *relock;
	struct nfslock_look look;
	int process_fd;
};

static void end_wait(struct wait *wait)
{
	nfslock_look_end(&wait->look);
	if (wait->process_fd >= 0)
		close(TAKE_FD(wait->process_fd));
}

static void wait_cancelled(void *argument)
{
	struct wait *wait = argument;

	end_wait(wait);
	drop_claim(wait->relock);
}

/* A holder here that is killed leaves its lock as it is; its end wakes. */
static int holder_fd(const struct nfslock_look *look)
{
	if (look->verdict != NFSLOCK_HELD)
		return -1;
	pid_t pid = look->is_seized   ? look->remover.pid
		    : look->has_owner ? look->owner.pid
				      : look->info.pid;
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

static int wait_for_change(struct wait *wait, const struct grant *grant)
{
	struct nfslock_lock *lock = nfslock_lock_of(wait->relock);
	int64_t look_at = INT64_MAX;
	int result;

	wait->process_fd = holder_fd(&wait->look);
	/* Nothing tells when what is written has stood for long; nor when the
	 * flock of who removes a lock is free. */
	if (wait->look.is_first_version || wait->look.verdict == NFSLOCK_GONE)
		look_at = clock_now(CLOCK_MONOTONIC) + RELOCK_SECOND / 4;
	pthread_cleanup_push(wait_cancelled, wait);
	result = folder_watch_wait(&lock->watch, grant->deadline, look_at, wait->process_fd,
				   grant->cancel_state);
	pthread_cleanup_pop(0);
	return result;
}

static int one_round(relock_lock *relock, const struct grant *grant, bool *ret_is_over)
{
	const struct nfslock_store *store = nfslock_store_of(relock->store);
	struct nfslock_lock *lock = nfslock_lock_of(relock);
	struct wait wait = {relock, NFSLOCK_LOOK_NONE, -1};
	bool waits = grant->deadline != AT_ONCE;

	if (waits)
		folder_watch_begin(&lock->watch, store->dir_fd, lock->lock_name, store->is_local);
	int result = try_to_take(relock, grant, &wait.look);
	*ret_is_over = result != -EAGAIN || !waits;
	if (result == -EAGAIN && waits) {
		result = wait_for_change(&wait, grant);
		*ret_is_over = result < 0;
	}
	if ((result == -EAGAIN || result == -ETIMEDOUT) && wait.look.exists &&
	    wait.look.verdict == NFSLOCK_STUCK)
		result = nfslock_stuck(store, relock->name, &wait.look, result);
	end_wait(&wait);
	return result;
}

static int take(relock_lock *relock, const struct grant *grant)
{
	bool is_over = false;
	int result = nfslock_check_grant(relock, grant);

	if (result < 0)
		return result;
	nfslock_lock_of(relock)->watch.pause = 0;
	do
		result = one_round(relock, grant, &is_over);
	while (!is_over);
	if (result < 0)
		drop_claim(relock);
	return result;
}

static int acquire(relock_lock *relock, const struct grant *grant)
{
	const struct nfslock_store *store = nfslock_store_of(relock->store);
	struct nfslock_lock *lock = nfslock_lock_of(relock);

	int result = take(relock, grant);
	if (result < 0)
		return result;
	lock->record.ended = false;
	nfslock_record_grant(relock);
	/* For whoever goes on with it by relock_adopt(); others need none. */
	if (grant->on_behalf && grant->on_behalf->keeper_pid)
		lock->hold_fd =
			openat(store->dir_fd, lock->lock_name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return 0;
}

/* Looking */

static int probe(relock_lock *relock)
{
	const struct nfslock_store *store = nfslock_store_of(relock->store);
	__attribute__((cleanup(nfslock_look_end))) struct nfslock_look look = NFSLOCK_LOOK_NONE;

	int result = nfslock_look(store, relock->name, 0, &look);
	return result < 0 ? result : look.exists && look.verdict != NFSLOCK_GONE ? -EAGAIN : 0;
}

/* History */

static bool is_old(const struct nfslock_store *store, const char *history, int64_t age)
{
	struct stat status;

	return fstatat(store->dir_fd, history, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
	       S_ISREG(status.st_mode) &&
	       moment_now() - (status.st_mtim.tv_sec * RELOCK_SECOND + status.st_mtim.tv_nsec) >=
		       age;
}

/* Under the lock, but without a record of that hold, which would be the last. */
static int prune_held(relock_lock *relock, const char *history, int64_t age)
{
	const struct nfslock_store *store = nfslock_store_of(relock->store);
	const struct grant grant = {.mode = RELOCK_EXCLUSIVE, .deadline = AT_ONCE};

	int result = take(relock, &grant);
	if (result < 0)
		return result;
	bool removed = is_old(store, history, age) && unlinkat(store->dir_fd, history, 0) == 0;
	result = nfslock_release(relock);
	return result < 0 ? result : removed;
}

static int prune(relock_store *opened, const char *name, int64_t age)
{
	const struct nfslock_store *store = nfslock_store_of(opened);
	CLEANUP_FREE relock_lock *relock = calloc(1, sizeof *relock + sizeof(struct nfslock_lock));
	char history[NAME_MAX + 1];

	if (!relock)
		return -ENOMEM;
	if (!nfslock_history_name(history, name) || !is_old(store, history, age))
		return 0;
	relock->store = opened;
	relock->name = (char *)name;
	int result = open_lock(relock);
	if (result < 0)
		return result;
	result = prune_held(relock, history, age);
	close_lock(relock);
	nfslock_tidy(store, moment_now());
	return result;
}

const struct store_operations store_nfslock = {
	.scheme = "nfslock",
	.store_size = sizeof(struct nfslock_store),
	.lock_size = sizeof(struct nfslock_lock),
	.open = open_store,
	.close = close_store,
	.lock_open = open_lock,
	.lock_close = close_lock,
	.forget = forget,
	.acquire = acquire,
	.adopt = nfslock_adopt,
	.release = nfslock_release,
	.leave = nfslock_release,
	.convert = nfslock_convert,
	.pass = nfslock_pass,
	.check = nfslock_check,
	.mark_broken = nfslock_mark_broken,
	.set_info = nfslock_set_info,
	.info = nfslock_read_info,
	.token = nfslock_token,
	.fd = nfslock_fd,
	.at_exit = nfslock_at_exit,
	.probe = probe,
	.look = nfslock_status,
	.each_name = nfslock_each_name,
	.break_hold = nfslock_break_hold,
	.prune = prune,
};
