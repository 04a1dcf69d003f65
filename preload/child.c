/*
 * Three ways to know a forked child.  fork(3), and what calls it inside libc
 * (daemon(3), forkpty(3)), run the handlers of pthread_atfork(3).  clone(3),
 * _Fork(3) and the system calls by syscall(2) come through intercept-fork.c.
 * And a child of a bare system call instruction finds a page wiped, which the
 * kernel was asked to do (MADV_WIPEONFORK): it notices when it first locks or
 * closes.  Until then it keeps copies of the shim's descriptors, and with them
 * the locks of a parent that dies.
 *
 * While it forks, the parent is in the gate, so that the copy is consistent.
 */
#include "child.h"

#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>

#include "deadlock.h"
#include "descriptors.h"
#include "gate.h"
#include "locked-file.h"
#include "private-fd.h"
#include "raw.h"
#include "spans.h"

enum { PAGE_SIZE = 4096 };

__thread int shim_vfork_depth __attribute__((tls_model("initial-exec")));
_Atomic(_Atomic uint32_t *) shim_tables_alive;

bool shim_watch_forks(void)
{
	if (atomic_load_explicit(&shim_tables_alive, memory_order_relaxed))
		return true;

	long address = raw_syscall(SYS_mmap, 0, PAGE_SIZE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (address < 0 && address > -4096)
		return false;
	raw_syscall(SYS_madvise, address, PAGE_SIZE, MADV_WIPEONFORK, 0, 0, 0);
	_Atomic uint32_t *alive = (_Atomic uint32_t *)address;
	atomic_store(alive, (uint32_t)raw_getpid());
	atomic_store_explicit(&shim_tables_alive, alive, memory_order_release);
	return true;
}

void shim_remain_owner(void)
{
	_Atomic uint32_t *alive = atomic_load(&shim_tables_alive);

	if (alive)
		atomic_store(alive, (uint32_t)raw_getpid());
}

bool shim_is_foreign(void)
{
	_Atomic uint32_t *alive = atomic_load(&shim_tables_alive);
	uint32_t owner = alive ? atomic_load(alive) : 0;

	return shim_is_vfork_child() || (owner && owner != (uint32_t)raw_getpid());
}

void shim_become_child(void)
{
	shim_remain_owner();
	shim_vfork_depth = 0;
	shim_gate_reset();
	shim_private_close_all();
	shim_deadlock_forked();
	locked_files_reset();
	spans_reset();
	descriptors_forget_files();
}

/* The handlers of fork(3).  `before` is whoever's is in the gate. */
static struct shim_gate before;
static __thread bool is_forking __attribute__((tls_model("initial-exec")));

/* Also while there is nothing in the tables yet: another thread may be about to
 * put the first file there, and the child would find the gate shut by nobody. */
static void prepare(void)
{
	if (shim_is_vfork_child())
		return;

	struct shim_gate gate;
	shim_gate_enter(&gate);
	before = gate;
	is_forking = true;
}

static void parent(void)
{
	if (!is_forking)
		return;
	is_forking = false;

	struct shim_gate gate = before;
	shim_gate_leave(&gate);
}

/* A library's handler that ran before this one may have locked, and has made it
 * the child then: what was locked stays. */
static void become_child_once(void)
{
	_Atomic uint32_t *alive = atomic_load(&shim_tables_alive);

	if (alive && atomic_load(alive) != (uint32_t)raw_getpid())
		shim_become_child();
}

static void child(void)
{
	if (is_forking) {
		is_forking = false;
		struct shim_gate gate = before;
		become_child_once();
		/* Nobody waits there any more. */
		shim_gate_leave(&gate);
	} else {
		shim_vfork_depth = 0;
		shim_gate_reset();
		become_child_once();
	}
}

__attribute__((constructor)) static void register_handlers(void)
{
	pthread_atfork(prepare, parent, child);
}
