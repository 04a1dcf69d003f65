/*
 * One mount being served: what the requests of the kernel have to do with.
 *
 *	main.c         options, mounting, signals
 *	loop.c         one thread, three descriptors
 *	operations.c   the table of requests, and those that are refused
 *	open.c         OPEN, CREATE, FLOCK, RELEASE: who wants to hold
 *	poll.c         POLL
 *	look.c         LOOKUP, GETATTR, READ, READDIR, ...: who wants to know
 *	list.c         the directory
 *	history.c      the folder .history
 *	attributes.c   extended attributes
 *	mount-attributes.c  those of the folder itself: how the daemon is
 *	break.c        UNLINK
 *	tell.c         the ioctl(2) that asks what others cannot see
 *	permissions.c  who may do that
 *	------------   below this line nothing knows FUSE
 *	grant.c        who holds and who is next
 *	heirs.c        who has it open, if not who opened it
 *	sight.c        who still has it open
 *	entry.c        names and handles
 *	relock.h       the store
 */
#pragma once

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 312
#endif

#include <fuse3/fuse_lowlevel.h>

#include "entry.h"
#include "permissions.h"

struct server {
	struct mount mount;
	struct fuse_session *session;
	int wake; /* eventfd: some other thread has something for this one */
	struct promises *promises;
	struct callers *callers;
	struct sights *sights;
	bool asks_for_waiters; /* an errand is under way that does, see look.c */
	struct errands *looks, *breaks;
	struct invalidator *invalidator;
	struct table listings; /* open directories, see look.c */
	struct table parked;   /* by the number of their request, see open.c */
	struct table missing;  /* whose request has not come again, see recover.h */
	uint64_t request;      /* the number of the one that is being worked on */
	struct permissions permissions;
	int64_t started;         /* moment */
	int64_t started_by_boot; /* CLOCK_BOOTTIME, which nobody sets */
	uint64_t requests;       /* served so far */
};

static inline struct server *server_of_mount(struct mount *mount)
{
	return (struct server *)(void *)((char *)mount - offsetof(struct server, mount));
}

static inline struct server *server_of(fuse_req_t request)
{
	return fuse_req_userdata(request);
}

/* What a program may be told: fact of FUSE, an OPEN answered ENOSYS succeeds
 * without a lock, and with 512 or more (the kernel's own errors) hangs.  ESTALE
 * makes the kernel try again: only promise.h says when. */
int plain_error(int result);
/* The same, of grant.h, for a descriptor: here ESTALE is meant. */
int holder_error(int result);

extern const struct fuse_lowlevel_ops operations;
extern const struct answers open_answers;
/* This thread has been answered ESTALE about the name, and shall find it. */
bool open_is_promised(fuse_req_t request, const char *name);

/* open.c */
void open_open(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info);
void open_create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
		 struct fuse_file_info *info);
void open_release(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info);
void open_flock(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info, int operation);
void open_getlk(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info, struct flock *lock);
void open_setlk(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info, struct flock *lock,
		int sleep);

/* A signal has come to who sent the request of this number.  False: it is not
 * parked. */
bool open_interrupt(struct server *server, uint64_t number);

/* After another process has served the mount, see recover.h: who was parked
 * takes the place in the queue; and all that will have come again have. */
int open_restore(struct server *server, struct ledger_waiter *kept, struct handle *handle);
void open_recovered(struct server *server);

/* poll.c */
void poll_poll(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info,
	       struct fuse_pollhandle *poll);
/* Wakes all who poll the lock. */
void poll_wake(struct entry *entry);
/* Ends it for this handle, without waking anybody. */
void poll_forget(struct handle *handle);

/* look.c: one name */
void look_lookup(fuse_req_t request, fuse_ino_t parent, const char *name);
void look_forget(fuse_req_t request, fuse_ino_t id, uint64_t count);
void look_forget_multi(fuse_req_t request, size_t count, struct fuse_forget_data *forgets);
void look_getattr(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info);
void look_read(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset,
	       struct fuse_file_info *info);
/* The answer to LOOKUP and CREATE. */
struct fuse_entry_param look_entry(const struct server *server, const struct entry *entry);

/* list.c: the directory */
void list_opendir(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info);
void list_readdir(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset,
		  struct fuse_file_info *info);
void list_releasedir(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info);
void list_end(struct server *server);

/* attributes.c */
void attributes_get(fuse_req_t request, fuse_ino_t id, const char *name, size_t size);
void attributes_list(fuse_req_t request, fuse_ino_t id, size_t size);
void attributes_set(fuse_req_t request, fuse_ino_t id, const char *name, const char *value,
		    size_t size, int flags);
#define ATTRIBUTES_PREFIX "user.relock."
/* What follows the prefix; NULL: it is none of ours. */
const char *attributes_key(const char *name);
/* The answer to both requests: these bytes, or how many they are. */
void attributes_reply(fuse_req_t request, const char *bytes, size_t length, size_t size);
void attributes_remove(fuse_req_t request, fuse_ino_t id, const char *name);

/* mount-attributes.c: of the folder itself */
void mount_attributes_get(fuse_req_t request, const char *key, size_t size);
void mount_attributes_list(fuse_req_t request, size_t size);

/* tell.c */
void tell_ioctl(fuse_req_t request, fuse_ino_t id, const void *bytes, size_t size,
		size_t answer_size);

/* break.c */
void break_unlink(fuse_req_t request, fuse_ino_t parent, const char *name);
void break_ioctl(fuse_req_t request, fuse_ino_t id, const void *bytes, size_t size);
