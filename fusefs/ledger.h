/*
 * What outlives the serving process of a supervised mount.
 *
 * The kernel keeps the mount as long as somebody has its /dev/fuse open, and a
 * lock as long as somebody has its open file description: both stay with the
 * supervisor, which shares its table of descriptors (supervise.h).  What only
 * the serving process knows is written down here, in shared memory, at each
 * change: which number is which name, whose file is open, who holds through
 * which descriptor, who waits in which place.  A successor reads it once
 * (recover.h).
 *
 * A process can be killed between any two instructions.  So a slot counts from
 * the moment its number is written, which is last, and until it is erased,
 * which is first; and a hold is written down after the lock is taken, and
 * erased before it is given back.  A lock that is held and not written down is
 * one that nobody was told of: its descriptor is closed.
 *
 * All functions take NULL for a mount that is not supervised, and do nothing.
 * What cannot be written down for want of room is lost with the process.
 * Session thread only.
 */
#pragma once

#include <relock.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "process.h"

enum {
	/* Of the structures below, in any way: who finds another number leaves
	 * the mount to the program that wrote it. */
	LEDGER_LAYOUT = 2,
	LEDGER_FIRST_REQUEST_MAX = 256,
	LEDGER_PROMISES = 64,
	/* With room for a name, with its NUL: for most, and for all (".history/"
	 * and a name). */
	LEDGER_ENTRY_SIZE = 64,
	LEDGER_LONG_ENTRY_SIZE = 288,
};

struct ledger_entry {
	uint64_t id; /* 0: the slot is free; the same below */
	uint64_t lookups;
	char name[];
};

struct ledger_handle {
	uint64_t id;
	uint64_t entry;
	uint64_t opened_by; /* the request; 0 when its answer has been written */
	uint64_t poll;      /* the kernel's number of who polls; 0: nobody */
	uint64_t order;     /* of its grant among those of the mount */
	uint64_t token;
	int64_t since;
	pid_t thread; /* that opened it */
	int32_t fd;   /* of the lock in the store */
	uint8_t access, hold, mode;
	struct process holder;
};

struct ledger_waiter {
	uint64_t request;
	uint64_t handle;
	uint64_t order; /* of its arrival */
	uint8_t mode, by_open, wish;
	struct process process;
};

/* A request that another thread is at work on. */
struct ledger_errand {
	uint64_t request;
	uint32_t start; /* which process sent it: ledger_head.starts */
	uint8_t is_break;
};

struct ledger_promise {
	uint64_t made; /* CLOCK_MONOTONIC, s */
	pid_t thread;
	uid_t uid;
	char name[RELOCK_NAME_MAX + 1];
};

struct ledger_head {
	uint32_t layout;
	char mountpoint[4096], store[4096]; /* path and URL */
	uint32_t starts;                    /* serving processes so far */
	int64_t started, started_by_boot;   /* the first of them */
	uint64_t requests_served;
	uint64_t last_id, last_order;
	/* The request that is being worked on, and the poll number in it. */
	uint64_t request, poll;
	/* What it has done already. */
	uint64_t counted_request, counted_entry;
	uint64_t breaking_request, breaking_order;
	/* The supervisor's: it has killed its server so many times in a row. */
	uint64_t suspect;
	uint32_t suspect_deaths;
	/* Thread id of the serving process's first thread: the kernel clears it
	 * when that thread ends. */
	_Atomic uint32_t server;
	/* FUSE_INIT, which the kernel sends once. */
	uint32_t first_request_length;
	unsigned char first_request[LEDGER_FIRST_REQUEST_MAX];
	uint32_t next_promise;
	struct ledger_promise promises[LEDGER_PROMISES];
	/* The supervisor's: how often it has refused an upgrade, and why at last. */
	uint32_t refusals;
	char refusal[512];
};

struct ledger;

/* An empty one.  -ENOMEM and errors of memfd_create(2) */
int ledger_new(struct ledger **ret);
/* The one in that memory.  -EPROTO: of another layout; errors of mmap(2) */
int ledger_open(struct ledger **ret, int fd);
/* The memory, and its descriptor, go on. */
void ledger_free(struct ledger *ledger);
int ledger_fd(const struct ledger *ledger);
struct ledger_head *ledger_head(const struct ledger *ledger);

/* Each returns NULL if there is no ledger, or no room in it. */
struct ledger_entry *ledger_add_entry(struct ledger *ledger, uint64_t id, const char *name);
struct ledger_handle *ledger_add_handle(struct ledger *ledger, uint64_t id, uint64_t entry,
					int access);
struct ledger_waiter *ledger_add_waiter(struct ledger *ledger, const struct ledger_waiter *waiter);
struct ledger_errand *ledger_add_errand(struct ledger *ledger, bool is_break);

/* NULL is allowed. */
void ledger_remove_entry(struct ledger *ledger, struct ledger_entry *slot);
void ledger_remove_handle(struct ledger *ledger, struct ledger_handle *slot);
void ledger_remove_waiter(struct ledger *ledger, struct ledger_waiter *slot);
void ledger_remove_errand(struct ledger *ledger, struct ledger_errand *slot);

/* The slots in use, each once; NULL starts. */
struct ledger_entry *ledger_next_entry(struct ledger *ledger, struct ledger_entry *slot);
struct ledger_handle *ledger_next_handle(struct ledger *ledger, struct ledger_handle *slot);
struct ledger_waiter *ledger_next_waiter(struct ledger *ledger, struct ledger_waiter *slot);
struct ledger_errand *ledger_next_errand(struct ledger *ledger, struct ledger_errand *slot);

/* One in that place, for what comes next to be written after what was. */
static inline void ledger_write_order(void)
{
	/* The next process runs on when the kernel has ended this one: it is
	 * the compiler alone that must not change the order. */
	atomic_signal_fence(memory_order_seq_cst);
}

/* Of a request as the kernel numbers it: the same when it is sent again. */
#define LEDGER_RESENT (UINT64_C(1) << 63)
static inline uint64_t ledger_request_number(uint64_t unique)
{
	return unique & ~LEDGER_RESENT;
}

/* The request being worked on; 0 without a ledger. */
uint64_t ledger_request(const struct ledger *ledger);
