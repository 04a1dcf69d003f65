/*
 * EDEADLK for processes under the shim: whether a wait for a lock would close
 * a cycle of waiting processes (contract, shim row 14).
 *
 * For legacy locks the kernel knows which process waits for which.  An OFD lock
 * belongs to an open file description, which cannot wait, so the kernel does
 * not look (fs/locks.c, posix_locks_deadlock()).
 *
 * A wait goes like this:
 *
 *	F_OFD_SETLK                        EAGAIN: somebody is in the way
 *	shim_deadlock_begin()              -EDEADLK, -EINTR: that is the result
 *	F_OFD_SETLKW                       however it ends, by cancellation, too:
 *	shim_deadlock_end()
 *
 * None of these functions allocates or touches errno, and all may be called in
 * a signal handler that has interrupted one of them.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

/* A lock that is wanted or held, on bytes `first` to `last`, both inclusive.
 * Device and inode are those of stat(2). */
struct shim_span {
	uint64_t device, inode;
	off_t first, last;
	bool exclusive;
};

/* Supplied by the caller: calls visit(argument, span) for each lock that this
 * process holds.  Is called inside the gate. */
typedef void shim_each_held(void (*visit)(void *argument, const struct shim_span *span),
			    void *argument);

/*
 * Before blocking: announces the wait.  Outside the gate, never in a vfork
 * child.
 *
 * 0         go and wait, and call shim_deadlock_end() afterwards; also where
 *           the wait could not be announced: then it is not seen, which
 *           RELOCK_DEBUG says once
 * -EDEADLK  the wait would close a cycle
 * -EINTR    a signal handler without SA_RESTART has run meanwhile
 *
 * After an error the wait is forgotten, and there is nothing to end.
 */
int shim_deadlock_begin(const struct shim_span *wanted, shim_each_held *each_held);

/* After the wait and the bookkeeping for it, in the same thread.  Outside the
 * gate. */
void shim_deadlock_end(void);

/* How many threads of this process wait. */
extern _Atomic unsigned shim_deadlock_waits;

static inline bool shim_deadlock_has_waits(void)
{
	return atomic_load_explicit(&shim_deadlock_waits, memory_order_relaxed) != 0;
}

/* What this process holds has changed: to be called after a lock or an unlock
 * that did not wait, if shim_deadlock_has_waits().  Without it other processes
 * would search by what was held when the wait began.  Outside the gate. */
void shim_deadlock_refresh(void);

/* shim_private_move() gave one of the shim's descriptors another number.
 * Inside the gate. */
void shim_deadlock_moved(int from, int to);

/* In a forked child, whose copies of the private descriptors are closed, and
 * where nobody waits. */
void shim_deadlock_forked(void);
