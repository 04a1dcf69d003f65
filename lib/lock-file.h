/*
 * Lock files: what the stores share whose locks are kernel locks on a file
 * DIR/NAME.  A store of this kind is a struct lock_primitive and a table of
 * operations made of the functions below.
 */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/stat.h>

#include "lock-line.h"
#include "record.h"
#include "store.h"
#include "wait.h"

/* The kernel lock that a store uses. */
struct lock_primitive {
	enum lock_line_type line_type; /* how /proc shows it */
	/* An exclusive lock needs a descriptor that is open for writing. */
	bool writes;
	/* Sets the mode (enum hold_mode *): see struct wait_operation. */
	struct wait_operation wait;
	/* Does anybody else hold it?  0 or 1 (then the mode is set), or
	 * -ENOSYS if that cannot be found out without disturbing others. */
	int (*test)(int fd, enum hold_mode *ret_mode);
	/* A short lock of another kind on the same file, under which shared
	 * holders choose their slots.  -EAGAIN */
	int (*guard_slots)(int fd);
	void (*leave_slots)(int fd);
	/* After a grant, and before a release; both may be NULL.  True if there
	 * is another file of this name now, and ours is to be closed. */
	void (*granted)(relock_lock *lock);
	bool (*before_release)(relock_lock *lock);
};

/* What lock-file-waits.c keeps of the last look. */
struct kept_waits {
	atomic_bool wanted;
	pthread_mutex_t mutex; /* guards the rest */
	int64_t read;          /* when /proc/locks was, by CLOCK_MONOTONIC; 0: never */
	struct file_id *files; /* those that were waited for */
	size_t count;
	/* How /proc/locks has the device that stat(2) calls so. */
	dev_t device;
	unsigned major, minor;
};

struct file_store {
	int dir_fd;
	bool any_folder;
	bool stamps; /* the folder's times can be trusted, see lock_file_is_current() */
	const struct lock_primitive *primitive;
	atomic_uint walks_in_vain;     /* see orphan.c */
	_Atomic int64_t no_walk_until; /* CLOCK_MONOTONIC */
	struct kept_waits waits;
};

/* When a folder last changed. */
struct stamp {
	struct timespec modified, changed;
};

struct file_lock {
	int fd;        /* -1: not open */
	bool writable; /* opened for writing */
	bool linked;   /* has other names: then it is not ours to write into */
	bool strange;  /* not looked at since it was opened, see no_orphan() */
	bool recorded; /* the present hold has a record */
	bool ended;    /* which says already how it ends */
	bool plain;    /* the image is that of a request without particulars but the holder */
	bool folded;   /* so is the image, see lock-file-record.c */
	bool whole;    /* it never is: the store's own files use it, too */
	bool stamped;  /* `stamp` is set */
	dev_t device;
	ino_t inode;
	uid_t uid;
	enum hold_mode mode;
	struct stamp stamp; /* of the folder, when the name last led to the file */
	size_t slot;
	uint64_t next_hold;
	uint64_t constant_sum;
	struct slot *image; /* of the present or last hold; cut after the info */
};

static inline struct file_store *file_store_of(const relock_store *store)
{
	return (struct file_store *)store->private;
}

static inline struct file_lock *file_lock_of(const relock_lock *lock)
{
	return (struct file_lock *)lock->private;
}

/* The operations of struct store_operations, but for open(), in which a store
 * calls this. */
int lock_file_store_open(relock_store *store, const char *rest, bool any_folder,
			 const struct lock_primitive *primitive);
void lock_file_store_close(relock_store *store);
int lock_file_lock_open(relock_lock *lock);
void lock_file_lock_close(relock_lock *lock);
void lock_file_forget(relock_lock *lock);
int lock_file_acquire(relock_lock *lock, const struct grant *grant);
int lock_file_adopt(relock_lock *lock, int fd, const struct grant *grant);
int lock_file_release(relock_lock *lock);
int lock_file_leave(relock_lock *lock);
int lock_file_convert(relock_lock *lock, const struct grant *grant);
int lock_file_pass(relock_lock *lock, const struct grant *grant);
int lock_file_check(relock_lock *lock);
int lock_file_mark_broken(relock_lock *lock, const struct breaker *by);
int lock_file_set_info(relock_lock *lock, const void *info, size_t length);
int lock_file_info(const relock_lock *lock, char **ret, size_t *ret_length);
int lock_file_token(const relock_lock *lock, uint64_t *ret);
int lock_file_fd(const relock_lock *lock);
int lock_file_probe(relock_lock *lock);
int lock_file_look(relock_store *store, const char *name, struct snapshot *snapshot,
		   struct relock_status *status);
int lock_file_nobody_waits(relock_lock *lock, int64_t age);
int lock_file_each_name(relock_store *store, int (*callback)(const char *name, void *argument),
			void *argument);
int lock_file_break(relock_store *store, const char *name, const struct breaker *by);
int lock_file_prune(relock_store *store, const char *name, int64_t age);

#define LOCK_FILE_OPERATIONS                                                                       \
	.store_size = sizeof(struct file_store), .close = lock_file_store_close,                   \
	.acquire = lock_file_acquire, .adopt = lock_file_adopt, .release = lock_file_release,      \
	.convert = lock_file_convert, .leave = lock_file_leave, .pass = lock_file_pass,            \
	.check = lock_file_check, .set_info = lock_file_set_info,                                  \
	.mark_broken = lock_file_mark_broken, .info = lock_file_info, .token = lock_file_token,    \
	.fd = lock_file_fd, .probe = lock_file_probe, .look = lock_file_look,                      \
	.nobody_waits = lock_file_nobody_waits, .each_name = lock_file_each_name,                  \
	.break_hold = lock_file_break, .prune = lock_file_prune

/* The name still leads to the open file: 1, or 0 if not. */
int lock_file_is_current(const struct file_store *store, struct file_lock *file, const char *name);

/* lock-file-open.c */

/* Opens an existing lock file: for writing if possible (`ret_writable` says
 * so), else for reading.  -ENOENT; -ELOOP, -EISDIR, -EBADF for what is no
 * file; -EACCES and others of open(2). */
int lock_file_open_existing(const struct file_store *store, const char *name, int *ret_fd,
			    bool *ret_writable, struct stat *ret_status);

/* Makes a complete lock file and gives it its name: 0, or -EEXIST. */
int lock_file_create(const struct file_store *store, const char *name, int *ret_fd);

/* Opens the file of a handle, for locking it in this mode. */
int lock_file_open(relock_lock *lock, enum hold_mode mode);

/* Takes a descriptor that has come from elsewhere for that of the handle. */
int lock_file_open_as(struct file_lock *file, int fd);

/* Closes it, and with it gives back what is held. */
void lock_file_close(struct file_lock *file);

/* Gives the error of an open its message. */
int lock_file_explain(const char *name, int error);

/* lock-file-waits.c */
void kept_waits_init(struct kept_waits *kept);
void kept_waits_end(struct kept_waits *kept);

/* lock-file-folder.c: removes what is old, once a day. */
void lock_file_prune_daily(relock_store *store);
