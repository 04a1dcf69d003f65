/*
 * The gate: one at a time may change the shim's tables.
 *
 * A lock or a close may come from a signal handler that has interrupted
 * another lock or close of the same thread, so a mutex alone would wait for
 * itself.  Who goes in has all signals blocked until it comes out; that makes
 * two system calls, and is why the way of a lock that finds everything as it
 * was does not lead through here (semantics-process.c).  With the signals
 * blocked there is no cancellation in between either: what is called inside
 * are raw system calls, none of them a cancellation point, none that waits for
 * another process.
 *
 * fork(3) holds the gate from the first of its handlers to the last; the fork
 * handlers of a library that was initialised before the shim run in between, and
 * what they lock and close goes in once more.
 *
 * A vfork child never goes in: it would change the tables of its parent.
 */
#pragma once

#include <stdint.h>

/* What was blocked before; the kernel's sigset_t. */
struct shim_gate {
	uint64_t blocked;
};

/* Only the signals: nothing that this thread does is interrupted. */
void shim_signals_block(struct shim_gate *gate);
void shim_signals_restore(const struct shim_gate *gate);

void shim_gate_enter(struct shim_gate *gate);
void shim_gate_leave(struct shim_gate *gate);

/* In a forked child: this thread is not inside any more; the gate stays shut
 * until it is reset. */
void shim_gate_abandon(void);
/* In a forked child, where whoever was inside does not exist. */
void shim_gate_reset(void);
