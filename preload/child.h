/*
 * Which process is this?  A child that fork(2) made has copies of the shim's
 * tables and of its descriptors, and none of its parent's locks; a child that
 * vfork(2) made has the tables themselves, and must leave them alone.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Of a thread in a vfork child, until it execs or ends: such a child has its
 * parent's memory, and the thread's own variables with it.  More than 1 in the
 * child of such a child.  Counted in vfork.S. */
extern __thread int shim_vfork_depth __attribute__((tls_model("initial-exec")));

static inline bool shim_is_vfork_child(void)
{
	return shim_vfork_depth != 0;
}

/* The pid of the process that the tables belong to, and 0 in a copy of it;
 * NULL while there are no tables. */
extern _Atomic(_Atomic uint32_t *) shim_tables_alive;

void shim_become_child(void);

/* Every call into the shim begins with it: in a child that no fork handler has
 * seen (a clone system call of the program's own), the tables are emptied. */
static inline void shim_check_fork(void)
{
	_Atomic uint32_t *alive = atomic_load_explicit(&shim_tables_alive, memory_order_acquire);

	if (alive && atomic_load_explicit(alive, memory_order_relaxed) == 0)
		shim_become_child();
}

/* A vfork child, or one of the same kind that a bare system call has made: the
 * question costs a system call. */
bool shim_is_foreign(void);

/* There will be something in the tables.  Inside the gate.  False: there is no
 * memory, and there must be nothing, or a child would take it for its own. */
bool shim_watch_forks(void);
/* In a child that shares its parent's descriptors, though not its memory
 * (clone(2) with CLONE_FILES): that is one owner of locks, and goes on. */
void shim_remain_owner(void);
