/*
 * Processes that lock as under the shim, without the rest of it: OFD locks on
 * one description for each file, with the deadlock search around a wait.
 *
 * A locker is a peer (peer.h) that is told what to lock, and says how it went:
 * 0 or a negative errno.  There are LOCKER_FILES files of LOCKER_BYTES bytes.
 */
#pragma once

#include "peer.h"

enum { LOCKER_FILES = 64, LOCKER_BYTES = 64 };

enum locker_task {
	LOCKER_READ, /* F_SETLKW */
	LOCKER_WRITE,
	LOCKER_UNLOCK,
	LOCKER_RELEASE, /* unlocks all that it holds */
	LOCKER_JUMP,    /* LOCKER_WRITE that SIGUSR1 ends by siglongjmp(): -ECANCELED */
	LOCKER_THREAD,  /* LOCKER_WRITE in a second thread; says 0 at once */
	LOCKER_JOIN,    /* the result of that */
	LOCKER_FORK,    /* LOCKER_WRITE by a forked child: its pid, then the result */
	LOCKER_END,
};

/* Whole files, or `length` bytes from `first` on. */
struct locker_order {
	enum locker_task task;
	unsigned file, first, length;
};

/* Makes the files, in a folder of its own. */
void locker_files_make(void);
void locker_files_remove(void);

/* Called in the new process before its first task; may be NULL. */
typedef void locker_prepare(void);
struct peer locker_start(locker_prepare *prepare);
void locker_order(struct peer *locker, struct locker_order order);
/* ... and hears the result. */
int locker_do(struct peer *locker, struct locker_order order);
/* Waits until a thread, or any if `tid` is 0, is in F_OFD_SETLKW.  (Any fcntl
 * will not do: while somebody reads /proc/locks, each one sleeps for a moment,
 * those of the search among them.) */
void locker_await_wait(pid_t pid, pid_t tid);
/* ... and waits until it waits for its lock. */
void locker_block(struct peer *locker, struct locker_order order);
void locker_end(struct peer *locker);

/* For those that are no peer: what a locker does itself. */
void locker_open_files(void);
int locker_lock(short type, unsigned file, unsigned first, unsigned length);
void locker_release(void);

/* How many descriptors the search has open, and what it has noted. */
extern _Atomic int locker_private_count, locker_private_opened, locker_note_count;
