/*
 * Names, and who has them open.
 *
 * An entry is a name of the mount that somebody takes an interest in: it is
 * held, waited for, open, or known to the kernel.  It is also the inode: the
 * kernel knows it by its number, from the first LOOKUP that is answered with
 * it until the last FORGET.  A handle is an open file, from the answer to OPEN
 * or CREATE until RELEASE.
 *
 * A name in the folder .history (history.h) is an entry too, as ".history/NAME":
 * no lock can have such a name, so the two never meet.
 *
 * Everything here and in grant.c belongs to the session thread: there is no
 * lock.  Nothing here knows FUSE: requests come in as waiters, answers go out
 * through struct answers.
 */
#pragma once

#include <relock.h>
#include <stdbool.h>
#include <sys/queue.h>
#include <unistd.h>

#include "ledger.h"
#include "process.h"
#include "table.h"

enum hold {
	HOLDS_NOTHING,
	HOLDS,
	HOLD_BROKEN, /* it held, and somebody has taken it away: ESTALE */
};

/* What a handle has while it holds. */
struct held {
	struct process holder;
	relock_lock *lock;
	int64_t since;
	uint64_t token;      /* 0: none */
	char *info;          /* NULL: none */
	struct heirs *heirs; /* see heirs.h; NULL: the holder has it, or it is not known */
	int descriptor;      /* the holder's, where it was last seen; -1: not known */
	uint32_t info_length;
};

/* Whom poll(2) on a handle is to wake. */
struct poller {
	LIST_ENTRY(poller) in_entry;
	struct handle *handle;
	void *poll; /* the front end's */
};

/* There are as many as there are locks and waiters, and most of them are neither
 * read nor polled, nor hold while they wait: so what only some have is apart. */
struct handle {
	struct table_node by_id;
	struct entry *entry;
	LIST_ENTRY(handle) in_entry;
	TAILQ_ENTRY(handle) in_holders; /* while it HOLDS */
	struct held *held;              /* NULL unless it HOLDS, or is about to */
	struct ledger_handle *kept;
	struct poller *poller; /* NULL: nobody polls */
	/* What a reader sees, from its read at offset 0 on. */
	char *text;
	size_t text_length;
	uint64_t changes_seen; /* of the entry, for poll(2) */
	pid_t thread;          /* that opened it; 0: out of sight; see handle_is_of() */
	unsigned waiters; /* those queued that want it to hold: more than one only by flock(2) */
	uint8_t access;   /* O_RDONLY, O_WRONLY or O_RDWR */
	enum hold hold : 8;
	enum relock_mode mode : 8; /* while it HOLDS */
};

struct waiter {
	TAILQ_ENTRY(waiter) in_queue;
	struct handle *handle; /* what shall hold */
	struct ledger_waiter *kept;
	struct process process;
	enum relock_mode mode : 8;
	uint8_t wish, stage; /* the front end's; the wish is kept for it */
	bool by_open;        /* an open(2) is never let wait for itself */
	bool no_wait;
	bool queued;
	bool again; /* queued while another one of the same handle was */
	bool began; /* the hold of its handle */
};

struct entry {
	struct table_node by_id, by_name;
	LIST_HEAD(handle_list, handle) handles;
	LIST_HEAD(poller_list, poller) pollers;
	/* In the order of their grant.  More than one only if all are shared. */
	TAILQ_HEAD(holder_list, handle) holders;
	TAILQ_HEAD(waiter_list, waiter) queue;
	unsigned waiter_count, again_count;
	/* See grant.c. */
	relock_lock *in_hand;
	int *in_hand_result; /* where to say how that hold ended, or NULL */
	enum relock_mode in_hand_mode;
	unsigned passes;
	relock_lock *spare;
	struct store_wait *wait;

	uint64_t lookups; /* what the kernel has to FORGET */
	uint64_t changes; /* of the lock's state, for poll(2) */
	TAILQ_ENTRY(entry) in_idle;
	int64_t idle_since; /* CLOCK_MONOTONIC */
	struct ledger_entry *kept;
	unsigned pins; /* somebody further up the stack works on it */
	bool idle;
	/* It was there before this process: a FORGET may have been lost with the
	 * one that had read it. */
	bool is_restored;
	bool is_miscounted; /* perhaps: one lookup more than the kernel knows */
	char name[];
};

struct mount;

/* How a wait ends. */
struct answers {
	/* waiter->handle holds the lock now.  Negative: nobody is there any
	 * more to take it; then the hold is ended, and abandoned() called. */
	int (*granted)(struct mount *mount, struct waiter *waiter);
	void (*abandoned)(struct mount *mount, struct waiter *waiter);
	/* A negative errno; -EAGAIN for a waiter that shall not wait. */
	void (*refused)(struct mount *mount, struct waiter *waiter, int error);
	/* The state of the lock has changed. */
	void (*changed)(struct entry *entry);
};

struct mount {
	relock_store *store;
	const char *path; /* of the mount point: part of the records */
	dev_t device;
	const struct answers *answers;
	struct store_waits *waits;
	/* NULL unless the mount is supervised, and then by whom; see ledger.h. */
	struct ledger *ledger;
	pid_t keeper_pid;
	uint64_t keeper_start_time;
	/* Waiters are being brought back: nobody is served, see recover.h. */
	bool is_recovering;
	struct table entries_by_id, entries_by_name, handles;
	uint64_t last_id;
	size_t held_count, waiting_count;
	/* Names that nobody uses, longest so first: the kernel may know them still,
	 * and who has locked a name once may do so again.  The kernel itself
	 * forgets a name, when the lock is free, upon each new open of it. */
	TAILQ_HEAD(entry_list, entry) idle;
	size_t idle_count;
	/* What every holder is described with, see state_begin(). */
	char *host, *via;
};

/* The process that has the locks of the store, as others see it. */
static inline pid_t mount_pid(const struct mount *mount)
{
	return mount->keeper_pid ? mount->keeper_pid : getpid();
}

#define ROOT_ID    1
#define HISTORY_ID 2

#define HISTORY_NAME   ".history"
#define HISTORY_PREFIX HISTORY_NAME "/"

void mount_init(struct mount *mount, relock_store *store, const char *path,
		struct store_waits *waits, const struct answers *answers);
/* Frees all that is left after grant_end(). */
void mount_end(struct mount *mount);

/* A number that nothing else in the mount has, or had. */
uint64_t mount_next_id(struct mount *mount);

/* 0, -EINVAL or -ENAMETOOLONG */
int entry_check_name(const char *name);
struct entry *entry_find(const struct mount *mount, const char *name);
struct entry *entry_of_id(const struct mount *mount, uint64_t id);
/* The entry of that name, made if need be; NULL without memory. */
struct entry *entry_get(struct mount *mount, const char *name);
/* The same with the number it had before; for recovery. */
struct entry *entry_restore(struct mount *mount, struct ledger_entry *kept);
uint64_t entry_id(const struct entry *entry);
bool entry_is_held(const struct entry *entry);
/* It is the file of a name in .history, not the lock itself. */
bool entry_is_history(const struct entry *entry);
/* The name as it is in its folder: that of the lock. */
const char *entry_lock_name(const struct entry *entry);
/* To be called when something has ended that kept an entry: makes it idle if the
 * kernel alone still knows it, or else frees it, unless it is idle already. */
void entry_settle(struct mount *mount, struct entry *entry);
/* It is on the way out: not idle any more, until it is used again. */
void entry_leave_idle(struct mount *mount, struct entry *entry);
/* The kernel is about to be told of the entry; to be called before it is, since a
 * FORGET may follow at once.  `end` if that failed. */
void entry_begin_lookup(struct mount *mount, struct entry *entry);
void entry_end_lookup(struct entry *entry);
/* The kernel forgets `count` lookups. */
void entry_forget(struct mount *mount, struct entry *entry, uint64_t count);

/* -ENOMEM */
int handle_new(struct handle **ret, struct mount *mount, struct entry *entry, int access);
int handle_restore(struct handle **ret, struct mount *mount, struct entry *entry,
		   struct ledger_handle *kept);
/* That thread opens it. */
void handle_is_of(struct handle *handle, pid_t thread);
/* Its opener has the answer. */
void handle_is_told(struct handle *handle);
/* It has what a hold needs: -ENOMEM if not. */
int handle_prepare_hold(struct handle *handle);
/* Ends that, and frees it with all that is known of the hold but its lock. */
void handle_drop_hold(struct handle *handle);
struct handle *handle_of_id(const struct mount *mount, uint64_t id);
uint64_t handle_id(const struct handle *handle);
/* Must hold nothing any more. */
void handle_free(struct mount *mount, struct handle *handle);
