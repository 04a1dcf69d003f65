/*
 * The store "nfslock:DIR": what its files share.
 *
 *	store-nfslock.c   acquire, wait, release, ...     the table of operations
 *	nfslock-hold.c    what can be done with a hold, and its end
 *	nfslock-look.c    what has a lock's name; may it be removed?
 *	nfslock-break.c   removing it
 *	nfslock-record.c  token, info, history, and who took the lock
 *	nfslock-status.c  the same as a status, for people
 *	nfslock-folder.c  names, and what the dead have left
 *	nfslock-info.c    the text of a lock file
 *
 * Of a lock NAME there are in DIR:
 *
 *	NAME.nfs_lock         Core_unix's lock file: who has its name has the lock
 *	NAME                  Core_unix's as well; not made here
 *	.relock-INODE-TIME    the record of the hold whose lock file has that inode
 *	                      and modification time: so it is found from the lock
 *	                      file, and is that of one hold only.  It is made before
 *	                      the lock file has its name, and is the right to
 *	                      remove it (claim-file.c)
 *	.relock-INODE-TIME.r|HOST|PID|...    the right, and who has taken it
 *	.NAME.relock          another name of the last hold's record: token, history
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

#include "claim-file.h"
#include "claim-name.h"
#include "folder-watch.h"
#include "lock-file.h"
#include "nfslock-info.h"
#include "store.h"

#define NFSLOCK_SUFFIX ".nfs_lock"

struct nfslock_store {
	int dir_fd;
	bool is_local;
	char *path; /* as the user named it, for messages */
};

/* The key of a hold: of its lock file. */
struct nfslock_key {
	dev_t device;
	ino_t inode;
	int64_t modified;
};

struct nfslock_lock {
	char lock_name[NAME_MAX + 1]; /* NAME.nfs_lock */
	struct claim claim;           /* what will be the lock file, while it is none */
	struct nfslock_key key;
	struct claim_owner owner;
	int hold_fd;             /* of the lock file, for relock_lock_fd(); -1: none */
	struct file_lock record; /* its fd is the record's; of the rest, what records need */
	struct folder_watch watch;
};

static inline struct nfslock_store *nfslock_store_of(const relock_store *store)
{
	return (struct nfslock_store *)store->private;
}

static inline struct nfslock_lock *nfslock_lock_of(const relock_lock *lock)
{
	return (struct nfslock_lock *)lock->private;
}

/* nfslock-look.c */

enum nfslock_verdict {
	NFSLOCK_HELD,  /* its holder lives */
	NFSLOCK_GONE,  /* its holder is proven gone */
	NFSLOCK_STUCK, /* nothing can be told from here: a person has to look */
};

/* What has the name of a lock's file. */
struct nfslock_look {
	bool exists;
	int fd; /* while it is looked at; -1: not open */
	struct nfslock_key key;
	bool is_first_version; /* create's: another name of it is NAME itself */
	char *text;            /* what it says; NULL: not read */
	size_t length;
	bool has_info;
	struct nfslock_info info;
	/* Of a hold of relock's: */
	char record[NAME_MAX + 1];  /* its file; "": there is none */
	bool is_seized;             /* whose name says that somebody is removing the lock */
	struct claim_owner remover; /* who that is */
	bool has_owner;
	struct claim_owner owner;
	struct slot *slot; /* NULL: not readable */
	enum nfslock_verdict verdict;
	char why[320]; /* of NFSLOCK_STUCK */
};

#define NFSLOCK_LOOK_NONE                                                                          \
	{                                                                                          \
		.fd = -1                                                                           \
	}

/* `now` is the file system's clock.  0, also where there is none; an error of
 * open(2) that tells nothing. */
int nfslock_look(const struct nfslock_store *store, const char *name, int64_t now,
		 struct nfslock_look *ret);
void nfslock_look_end(struct nfslock_look *look);

/* To open a folder makes a client of NFS ask the server whether it has changed
 * (nfs(5), "Close-to-open cache consistency"); only then is what it remembers of the
 * names in it worth anything. */
void nfslock_ask_server(const struct nfslock_store *store);

/* Does this name lead to that file now, whatever a network file system remembers?
 * 1, 0, or an error of stat(2). */
int nfslock_is_at(const struct nfslock_store *store, const char *file,
		  const struct nfslock_key *key);

/* Is there a record of that hold, or somebody's right to remove it?  1, 0, or an
 * error of stat(2) or opendir(3).  0 is certain only under the lock file's flock. */
int nfslock_has_record(const struct nfslock_store *store, const struct nfslock_key *key);

/* NAME.nfs_lock.  -ENAMETOOLONG, with message */
int nfslock_name(char buffer[NAME_MAX + 1], const char *name);

/* Keeps the message that says which file to look at; returns the error. */
int nfslock_stuck(const struct nfslock_store *store, const char *name,
		  const struct nfslock_look *look, int error);

/* The moment at which a process began, as Core_unix computes it; 0: not known. */
int64_t nfslock_started(uint64_t start_time);

/* nfslock-hold.c */

/* What this store cannot do: -EOPNOTSUPP, with message. */
int nfslock_check_grant(const relock_lock *lock, const struct grant *grant);
int nfslock_check(relock_lock *lock);
int nfslock_release(relock_lock *lock);
void nfslock_at_exit(relock_lock *lock);
int nfslock_adopt(relock_lock *lock, int fd, const struct grant *grant);
int nfslock_convert(relock_lock *lock, const struct grant *grant);
int nfslock_pass(relock_lock *lock, const struct grant *grant);
int nfslock_mark_broken(relock_lock *lock, const struct breaker *by);
int nfslock_set_info(relock_lock *lock, const void *info, size_t length);
int nfslock_read_info(const relock_lock *lock, char **ret, size_t *ret_length);
int nfslock_token(const relock_lock *lock, uint64_t *ret);
int nfslock_fd(const relock_lock *lock);

/* nfslock-break.c */

/* Removes a lock: 0, or -EAGAIN if it has changed meanwhile, or somebody else is
 * about to.  `by`: who breaks it; NULL: nobody, its holder is gone. */
int nfslock_remove(const struct nfslock_store *store, const char *name,
		   const struct nfslock_look *look, const struct breaker *by);
int nfslock_break_hold(relock_store *store, const char *name, const struct breaker *by);

/* With the right, as claim_unlock(), which takes two files of one inode for one. */
int nfslock_unlock(const struct nfslock_store *store, const char *lock_name, const char *record,
		   const char *right, const struct nfslock_key *key);

/* nfslock-record.c */

/* The record's name, and that with which this process has the right. */
void nfslock_record_name(char buffer[NAME_MAX + 1], const struct nfslock_key *key);
int nfslock_right_name(char buffer[NAME_MAX + 1], const struct nfslock_key *key);

/* Makes the record of a hold that is about to be made, and whose lock file is
 * there.  Errors of open(2) and write(2), after which there is none. */
int nfslock_record_make(relock_lock *lock, const struct grant *grant);
/* It is granted: it gets its token, and is that of the last hold from now on. */
void nfslock_record_grant(relock_lock *lock);
/* The same for a hold that passes from one holder to another. */
int nfslock_record_pass(relock_lock *lock, const struct grant *grant);
/* With the right to remove that lock: its record is the last hold's now, or will never
 * be.  A holder that is granted it just now would else put its token in the place of
 * the next one's. */
void nfslock_record_stop(const struct nfslock_store *store, const struct nfslock_key *key);
/* For a hold that goes on here: its record file, and what is in it. */
int nfslock_record_adopt(relock_lock *lock, const char *file, const struct slot *slot);
void nfslock_record_end(relock_lock *lock, const struct breaker *by);
/* Closes it, and removes it where the hold was never made. */
void nfslock_record_close(relock_lock *lock);
void nfslock_record_drop(relock_lock *lock);

/* Reads the record file of that name: who made it, and the rest.  -ENOENT; else 0,
 * and what cannot be read stays as it is. */
int nfslock_record_read(int dir_fd, const char *file, bool *ret_has_owner,
			struct claim_owner *ret_owner, struct slot **ret_slot);

/* .NAME.relock; false if that is too long. */
bool nfslock_history_name(char buffer[NAME_MAX + 1], const char *name);

/* nfslock-status.c */
int nfslock_status(relock_store *store, const char *name, struct snapshot *snapshot,
		   struct relock_status *status);

/* nfslock-folder.c */
int nfslock_each_name(relock_store *store, int (*callback)(const char *name, void *argument),
		      void *argument);
/* Removes what processes that are gone have left behind; `now` as above. */
void nfslock_tidy(const struct nfslock_store *store, int64_t now);
/* The record file with which somebody has taken the right to remove that lock. */
int nfslock_find_right(const struct nfslock_store *store, const struct nfslock_key *key,
		       char ret_name[NAME_MAX + 1], struct claim_owner *ret_remover);
