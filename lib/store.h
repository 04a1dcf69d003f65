/*
 * The seam between locks and the ways to hold one.
 *
 *	relock.h        lock.c, status.c, break.c: arguments, threads, fork
 *	                   |
 *	                struct store_operations           (this file)
 *	                   |
 *	store-ofd.c, store-flock.c, ...                   one file, one store
 *	                   |
 *	lock-file.c     what stores with a kernel lock on a file share
 *
 * A store is one file behind one table of functions, and one line in the table
 * of schemes in store.c.  Nothing outside its file knows which store it talks
 * to; what it keeps for a store and for a handle is private to it.
 */
#pragma once

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

#include "relock.h"

struct breaker;
struct snapshot;

/* A request that has been checked. */
struct grant {
	enum relock_mode mode;
	int64_t deadline; /* of CLOCK_MONOTONIC; INT64_MIN: at once, INT64_MAX: for ever */
	int cancel_state; /* the caller's, to be set while waiting */
	unsigned flags;
	const void *info;
	size_t info_length;
	const char *command;
	const struct relock_on_behalf *on_behalf;
	int64_t lifetime; /* 0: the store's own, and refreshed */
};

#define AT_ONCE INT64_MIN

struct store_operations {
	const char *scheme;
	bool is_whole; /* the scheme alone is a URL: nothing follows its colon */
	/* Sizes of the private parts; they start out zeroed. */
	size_t store_size, lock_size;

	/* `rest` is what follows the scheme's colon.  With `any_folder`, the
	 * user has named the folder itself, see relock_lock_open_path(). */
	int (*open)(relock_store *store, const char *rest, bool any_folder);
	void (*close)(relock_store *store);

	/* A handle is made, and ends.  A child forgets what its parent holds:
	 * it closes, and must not release. */
	int (*lock_open)(relock_lock *lock);
	void (*lock_close)(relock_lock *lock);
	void (*forget)(relock_lock *lock);

	/* -EAGAIN where the deadline is AT_ONCE and another holds it. */
	int (*acquire)(relock_lock *lock, const struct grant *grant);
	/* The hold of a description that has come from elsewhere; `fd` is the
	 * handle's from then on. */
	int (*adopt)(relock_lock *lock, int fd, const struct grant *grant);
	/* -ESTALE: the hold was broken. After these the handle holds nothing. */
	int (*release)(relock_lock *lock);
	/* The same, but who has inherited the hold keeps it. */
	int (*leave)(relock_lock *lock);

	/* The rest leave the hold as it is if they fail, but for -ESTALE. */
	int (*convert)(relock_lock *lock, const struct grant *grant);
	int (*pass)(relock_lock *lock, const struct grant *grant);
	int (*check)(relock_lock *lock);
	/* Records that the hold is about to end, by somebody's will. */
	int (*mark_broken)(relock_lock *lock, const struct breaker *by);
	int (*set_info)(relock_lock *lock, const void *info, size_t length);
	int (*info)(const relock_lock *lock, char **ret, size_t *ret_length);
	int (*token)(const relock_lock *lock, uint64_t *ret);
	int (*fd)(const relock_lock *lock);

	/* NULL: a hold of this store has no lifetime. */
	int (*refresh)(relock_lock *lock, int64_t lifetime);
	/* The process ends in an ordinary way with this handle, held or not.
	 * NULL: the kernel sees to it. */
	void (*at_exit)(relock_lock *lock);

	/* Does anybody hold it?  0, -EAGAIN if so. */
	int (*probe)(relock_lock *lock);
	/* Fills in all but name, store and now.  The snapshot is shared by the
	 * looks of one listing. */
	int (*look)(relock_store *store, const char *name, struct snapshot *snapshot,
		    struct relock_status *status);
	/* 0 if the last look, no older than `age`, saw nobody wait for the lock, else
	 * -EAGAIN. */
	int (*nobody_waits)(relock_lock *lock, int64_t age);
	/* Calls back with each name that may be a lock's. */
	int (*each_name)(relock_store *store, int (*callback)(const char *name, void *argument),
			 void *argument);
	/* Frees a lock that processes hold themselves, as `by` wants it. */
	int (*break_hold)(relock_store *store, const char *name, const struct breaker *by);
	/* Removes the traces of a lock free for `age`: 1 if it did. */
	int (*prune)(relock_store *store, const char *name, int64_t age);
};

struct relock_store {
	const struct store_operations *operations;
	char *url;
	_Alignas(max_align_t) unsigned char private[];
};

struct relock_lock {
	relock_store *store;
	bool owns_store;
	char *name;
	relock_lock *previous, *next; /* fork.c: its mutex */

	pthread_mutex_t mutex; /* guards what follows, and the private part */
	bool waiting;          /* a thread waits without the mutex: hands off the private part */
	bool held;
	enum relock_mode mode;
	unsigned flags;
	_Alignas(max_align_t) unsigned char private[];
};

extern const struct store_operations store_ofd, store_flock, store_link, store_nfslock, store_sem;

/* relock_store_open(), and the same for a folder that the user named. */
int store_open(relock_store **ret, const char *url, bool any_folder);

/* A name of a lock; with `any_dot`, one may begin with a dot (the file of a
 * path).  -EINVAL, -ENAMETOOLONG, with message. */
int name_check(const char *name, bool any_dot);
