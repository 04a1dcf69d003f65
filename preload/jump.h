/*
 * Whether a function was left by siglongjmp(3), as far as a later call of the same
 * thread can tell: the stack grows down, and it is no longer as deep.
 */
#pragma once

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>

#include "raw.h"

static inline bool shim_is_on_signal_stack(void)
{
	stack_t stack;

	return raw_syscall(SYS_sigaltstack, 0, (long)&stack, 0, 0, 0, 0) == 0 &&
	       stack.ss_flags & SS_ONSTACK;
}

/* `then` is the address of the function's frame, `now` that of the later call's.
 * A stack for signals lies anywhere. */
static inline bool shim_jump_has_left(uintptr_t then, uintptr_t now)
{
	return then <= now && !shim_is_on_signal_stack();
}
