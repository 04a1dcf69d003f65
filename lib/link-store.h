/*
 * The store "link:DIR": what its files share.
 *
 *	store-link.c     the table of operations
 *	link-acquire.c   claims, tries, waits
 *	link-hold.c      release, refresh, ...
 *	link-adopt.c     a hold that has come by its descriptor
 *	link-look.c      what a lock file says; may it be broken?
 *	link-break.c     breaking, by claim-file.c's right
 *	link-record.c    token, info, history: DIR/.NAME.relock
 *	link-refresh.c   a thread that refreshes holds
 *	link-folder.c    names, and what the dead have left
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "claim-file.h"
#include "claim-name.h"
#include "folder-watch.h"
#include "record.h"
#include "store.h"

/* flufl.lock's: how far clocks may be apart. */
#define LINK_CLOCK_SLOP (10 * RELOCK_SECOND)
/* And its default. */
#define LINK_LIFETIME (15 * RELOCK_SECOND)

struct link_store {
	int dir_fd;
	bool is_local;
	char *path;             /* absolute; it is written into claim files */
	_Atomic int64_t tidied; /* CLOCK_MONOTONIC */
};

/* What a waiter has seen for how long. */
struct link_observation {
	ino_t inode;
	int64_t expires;
	int64_t since; /* CLOCK_MONOTONIC */
};

/* A hold, as far as it concerns its lifetime. */
struct link_term {
	struct claim claim;
	int64_t clock_ahead; /* the file system's, of ours */
	int64_t lifetime;
	int64_t since; /* the record's; 0: there is none */
};

/* A hold that a thread refreshes. */
struct link_refreshed {
	struct link_term term; /* as it was when that began */
	int dir_fd;
	const char *name;
	bool is_on;     /* of the handle: link_refresh_begin() was called */
	bool is_listed; /* this and what follows: link-refresh.c, its mutex */
	bool is_busy;
	int64_t due; /* CLOCK_BOOTTIME */
	struct link_refreshed *previous, *next;
};

struct link_lock {
	struct link_term term; /* its claim may be there without a hold */
	struct claim_owner owner;
	size_t content_length; /* of the claim file */
	struct folder_watch watch;
	struct link_observation observation;
	bool recorded; /* the present hold has a record */
	bool ended;    /* which says already how it ends */
	bool plain;    /* the image is that of a request without any particulars */
	int record_fd; /* of the last record, where files can be kept open; else -1 */
	struct slot *image;
	struct link_refreshed refreshed;
};

static inline struct link_store *link_store_of(const relock_store *store)
{
	return (struct link_store *)store->private;
}

static inline struct link_lock *link_lock_of(const relock_lock *lock)
{
	return (struct link_lock *)lock->private;
}

/* link-look.c */

struct link_look {
	bool exists;
	const char *trouble; /* why it is not a lock file of this protocol; else NULL */
	dev_t device;
	ino_t inode;
	int64_t expires; /* its modification time */
	int64_t set;     /* when that was set, by the file system's clock */
	char claim[NAME_MAX + 1];
	struct claim_owner owner;
	enum claim_life life;
};

enum link_verdict {
	LINK_HELD,
	LINK_EXPIRED, /* may be broken */
	LINK_GONE,    /* likewise: its owner is proven gone */
	LINK_STUCK,   /* nothing can be told; a person has to look */
};

/* 0, also where there is none; errors of open(2) that tell nothing. */
int link_look(const struct link_store *store, const char *name, struct link_look *ret);

/* `lock`: who asks, and may have observed it before; NULL: just a look.  A held
 * lock is worth another look at `ret_look_at` (CLOCK_MONOTONIC). */
enum link_verdict link_judge(relock_lock *lock, const struct link_store *store, const char *name,
			     const struct link_look *look, int64_t *ret_look_at);

/* Keeps the message of why nothing can be done about such a lock file. */
int link_stuck(const struct link_store *store, const char *name, const struct link_look *look,
	       int error);

int link_status_look(relock_store *store, const char *name, struct snapshot *snapshot,
		     struct relock_status *status);

/* link-acquire.c */

int link_acquire(relock_lock *lock, const struct grant *grant);
/* What this store cannot do.  -EOPNOTSUPP */
int link_refuse(const relock_lock *lock, const struct grant *grant);
/* Gives an error its message. */
int link_explain(const relock_lock *lock, int error);
/* The claim of a handle: made, and removed. */
int link_make_claim(relock_lock *lock, const struct grant *grant);
void link_drop_claim(relock_lock *lock);
/* Whoever that names keeps the hold of such a grant. */
bool link_is_kept_by(const struct claim_owner *owner, const struct relock_on_behalf *on_behalf);
void link_set_lifetime(struct link_lock *lock, const struct grant *grant);
/* The end of a lifetime that begins now. */
int64_t link_end_of(const struct link_lock *lock);
void link_begin_refreshing(relock_lock *lock, const struct grant *grant);
/* Makes a claim file that says whose it is; its content's length. */
ssize_t link_claim(const struct link_store *store, const char *name,
		   const struct relock_on_behalf *on_behalf, struct claim_owner *ret_owner,
		   struct claim *ret);

/* link-hold.c, link-adopt.c */

int link_adopt(relock_lock *lock, int fd, const struct grant *grant);
int link_check(relock_lock *lock);
int link_release(relock_lock *lock);
int link_convert(relock_lock *lock, const struct grant *grant);
int link_pass(relock_lock *lock, const struct grant *grant);
int link_refresh(relock_lock *lock, int64_t lifetime);
void link_at_exit(relock_lock *lock);
int link_set_info(relock_lock *lock, const void *info, size_t length);
int link_mark_broken(relock_lock *lock, const struct breaker *by);
int link_info(const relock_lock *lock, char **ret, size_t *ret_length);
int link_token(const relock_lock *lock, uint64_t *ret);
int link_fd(const relock_lock *lock);

/* link-break.c */

/* 0: it is not there any more; -EAGAIN: somebody else is about to see to it, or
 * it was refreshed.  `by`: who breaks it, NULL if it ends because its owner is
 * gone. */
int link_break(const struct link_store *store, const char *name, const struct link_look *look,
	       const struct breaker *by);
/* By a person's will, whatever the verdict. */
int link_break_hold(relock_store *store, const char *name, const struct breaker *by);

/* link-record.c: the file that other tools ignore. */

/* The record of a grant that has just come about: with its token, and until when
 * it lasts.  A lock is as good without it. */
void link_record_grant(relock_lock *lock, const struct grant *grant);
/* The hold that has come with a descriptor. */
void link_record_adopt(relock_lock *lock, const struct grant *grant, uint64_t old_number);
int link_record_set_info(relock_lock *lock, const void *info, size_t length);
/* The present hold is about to end; `by`: by whose will, NULL: the holder's. */
void link_record_end(relock_lock *lock, const struct breaker *by);
/* That of somebody else. */
void link_record_break(const struct link_store *store, const char *name, uint64_t number,
		       const struct breaker *by);
/* Refreshes the hold that began at `since`: from now on, for that long. */
void link_record_extend(int dir_fd, const char *name, int64_t since, int64_t lifetime);
/* CLOCK_BOOTTIME's end of the hold with that claim, made on this boot.  -ENODATA */
int link_record_lasts_until(const struct link_store *store, const char *name, uint64_t number,
			    int64_t *ret);
/* Closes the file that is kept open. */
void link_record_close(struct link_lock *lock);
bool link_record_read(const struct link_store *store, const char *name, struct slot *ret);
/* It is a record of ours, last written so long ago, and its token is not needed. */
bool link_record_is_old(const struct link_store *store, const char *name, int64_t age);
/* DIR/.NAME.relock */
bool link_record_name(char buffer[NAME_MAX + 1], const char *name);
/* The name of the lock that such a file is of. */
bool link_record_is(const char *file, char ret_name[NAME_MAX + 1]);

/* link-refresh.c */

/* Has a hold refreshed, from now on until it is taken off. */
void link_refresh_begin(relock_lock *lock);
/* After this, nobody touches it. */
void link_refresh_end(struct link_lock *lock);
/* A child has none of its parent's holds. */
void link_refresh_forget(struct link_lock *lock);
/* Sets the hold's end: 0 or -ESTALE, the hold is lost. */
int link_extend(int dir_fd, const char *name, const struct link_term *term, int64_t lifetime);

/* link-folder.c */
int link_each_name(relock_store *store, int (*callback)(const char *name, void *argument),
		   void *argument);
int link_prune(relock_store *store, const char *name, int64_t age);
/* Removes claim files of processes that are proven gone. */
void link_tidy(const struct link_store *store);
/* The file of this inode that somebody has taken the right with: its name, and
 * whose.  -ENOENT */
int link_find_right(const struct link_store *store, const char *name, const struct link_look *look,
		    char ret_right[NAME_MAX + 1], struct claim_owner *ret);
