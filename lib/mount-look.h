/*
 * What only a mount knows of a lock: who waits for it there, and who has it open,
 * if not who acquired it.  Asked for by an ioctl(2) on the mount's root directory,
 * with the lock's name.
 *
 * The store has one record of a hold, and of all the waiters of a mount the one
 * thread at most that waits in the store for them.  So whoever shows a lock asks
 * its mounts as well.  An ioctl, as in ask-mount.h: the kernel takes no lock for
 * it, and the daemon answers from memory, but for a look at the descriptors of
 * who holds.  A daemon that is stopped answers nobody, and its asker may not even
 * be killed: let a process ask that can be left behind.
 *
 * The answer has a place of fixed size for each kind of thing.  A long queue is
 * told in pages: ask again and skip what was told.  `changes` is another number
 * whenever anything about the lock is different; pages that differ in it do not
 * belong together.
 *
 * 0; ENOENT: nobody holds the lock through this mount, nor waits for it there;
 * EACCES: the asker may not see the mount's locks
 */
#pragma once

#include <stdint.h>
#include <sys/ioctl.h>

#include "relock.h"

enum {
	MOUNT_LOOK_HOLDERS = 64, /* of a shared lock there may be more: not told */
	MOUNT_LOOK_HEIRS = 64,   /* of all holders together */
	MOUNT_LOOK_WAITERS = 512,
};

/* Texts are NUL-terminated. */
struct mount_look_process {
	int32_t pid;
	char command[16];
};

struct mount_look_holder {
	int32_t opener; /* who acquired it; 0: out of sight */
	uint32_t uid;
	uint64_t start_time; /* of that process; 0: not known */
	int64_t since;
	uint64_t token;         /* 0: none */
	uint64_t pid_namespace; /* 0: the daemon's */
	int32_t namespace_pid;
	uint32_t mode;     /* enum relock_mode */
	uint32_t presence; /* enum relock_presence: of `opener` */
	uint32_t heirs_were_sought;
	uint32_t heir_count; /* that are its own; they follow one another */
	char command[16];
};

struct mount_look {
	/* The question. */
	char name[RELOCK_NAME_MAX + 1]; /* NUL-terminated */
	uint32_t skip;                  /* so many of the queue */

	/* The answer. */
	uint32_t holder_count;
	uint32_t queue_length;   /* all who wait in this mount */
	uint32_t waiter_count;   /* those of them told here */
	uint32_t waits_in_store; /* a thread of the daemon waits there for them */
	int32_t server, keeper;  /* pids of the daemon, by which the store knows it */
	uint64_t changes;
	uint64_t pid_namespace; /* all pids are of this one; inode of /proc/PID/ns/pid */
	struct mount_look_holder holders[MOUNT_LOOK_HOLDERS]; /* in the order of their grant */
	struct mount_look_process heirs[MOUNT_LOOK_HEIRS];
	int32_t waiters[MOUNT_LOOK_WAITERS]; /* pids in the order of their turn; 0: out of sight */
};

/* What the number of an ioctl has room for. */
_Static_assert(sizeof(struct mount_look) < 1U << _IOC_SIZEBITS, "too large for an ioctl");

#define MOUNT_LOOK _IOWR('k', 0x4d, struct mount_look)
