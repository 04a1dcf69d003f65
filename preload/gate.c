/* See gate.h.  The mutex is the usual one of three states over a futex. */
#include "gate.h"

#include <linux/futex.h>
#include <stdatomic.h>
#include <stddef.h>

#include "raw.h"

enum { FREE, TAKEN, WAITED_FOR };

static _Atomic uint32_t state = FREE;

/* How often this thread is inside: more than once only where a fork handler of
 * the program's locks or closes, as the handlers of child.c hold the gate. */
static __thread unsigned depth __attribute__((tls_model("initial-exec")));

static void take(void)
{
	uint32_t seen = FREE;

	if (atomic_compare_exchange_strong_explicit(&state, &seen, TAKEN, memory_order_acquire,
						    memory_order_relaxed))
		return;
	while (atomic_exchange_explicit(&state, WAITED_FOR, memory_order_acquire) != FREE)
		raw_syscall(SYS_futex, (long)&state, FUTEX_WAIT_PRIVATE, WAITED_FOR, 0, 0, 0);
}

void shim_signals_block(struct shim_gate *gate)
{
	/* libc's sigfillset(3) leaves out the two signals that it uses itself,
	 * one of which is thread cancellation. */
	uint64_t all = UINT64_MAX;

	raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, (long)&gate->blocked,
		    sizeof gate->blocked, 0, 0);
}

void shim_signals_restore(const struct shim_gate *gate)
{
	raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)&gate->blocked, 0, sizeof gate->blocked,
		    0, 0);
}

void shim_gate_enter(struct shim_gate *gate)
{
	shim_signals_block(gate);
	if (depth++ == 0)
		take();
}

void shim_gate_leave(struct shim_gate *gate)
{
	if (--depth == 0 &&
	    atomic_exchange_explicit(&state, FREE, memory_order_release) == WAITED_FOR)
		raw_syscall(SYS_futex, (long)&state, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
	shim_signals_restore(gate);
}

void shim_gate_abandon(void)
{
	depth = 0;
}

void shim_gate_reset(void)
{
	depth = 0;
	atomic_store_explicit(&state, FREE, memory_order_relaxed);
}
