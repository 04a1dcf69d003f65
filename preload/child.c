/*
 * Three ways to know a forked child.  fork(3), and what calls it inside libc
 * (daemon(3), forkpty(3)), run the handlers of pthread_atfork(3).  clone(3),
 * _Fork(3) and the system calls by syscall(2) come through intercept-fork.c.
 * And a child of a bare system call instruction finds a page wiped, which the
 * kernel was asked to do (MADV_WIPEONFORK): it notices when it first locks or
 * closes.  Until then it keeps copies of the shim's descriptors, and with them
 * the locks of a parent that dies.
 *
 * While it forks, a parent with threads is in the gate, so that the copy is
 * consistent.
 */
#include "child.h"

#include <pthread.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/single_threaded.h>

#include "calls.h"
#include "deadlock.h"
#include "descriptors.h"
#include "gate.h"
#include "locked-file.h"
#include "private-fd.h"
#include "raw.h"
#include "spans.h"

enum { PAGE_SIZE = 4096 };

/*
 * A child that has closed its copies of the shim's descriptors, and has not
 * emptied its tables yet, must not close these numbers again, which may be its
 * own by then.  It says so in the second word of the page, for its threads;
 * and in the thread that has forked, for a child that it may make in turn by a
 * way that no handler sees, and where the page is wiped again.
 */
enum { HAS_LEFT = 1 };
static __thread bool has_left_here __attribute__((tls_model("initial-exec")));

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
	_Atomic uint32_t *alive = atomic_load(&shim_tables_alive);
	bool has_left = has_left_here || atomic_load(alive + HAS_LEFT);

	has_left_here = false;
	atomic_store(alive + HAS_LEFT, 0);
	shim_remain_owner();
	shim_vfork_depth = 0;
	shim_gate_reset();
	if (has_left)
		shim_private_forget_all();
	else
		shim_private_close_all();
	shim_deadlock_forked();
	shim_calls_forget();
	locked_files_reset();
	spans_reset();
	descriptors_forget_files();
}

/* The handlers of fork(3), all three in one thread.  Its own variables are on a
 * page that libc writes in each child anyway. */
static __thread struct shim_gate before __attribute__((tls_model("initial-exec")));
static __thread bool is_forking __attribute__((tls_model("initial-exec")));

/* Also while there is nothing in the tables yet: another thread may be about to
 * put the first file there.  The only thread of a process is not in the gate
 * when it forks, nor is a signal handler of it. */
static void prepare(void)
{
	shim_check_fork();
	if (shim_is_vfork_child() || __libc_single_threaded)
		return;

	shim_gate_enter(&before);
	is_forking = true;
}

static void parent(void)
{
	if (!is_forking)
		return;
	is_forking = false;
	shim_gate_leave(&before);
}

/*
 * The copies of the descriptors go at once, with the locks that they would keep.
 * The tables, and the gate, can wait until they are needed (shim_check_fork()):
 * most children only exec or end, and each page that is written here costs them
 * a copy.  A library's handler that ran before this one may have needed them.
 */
static void child(void)
{
	_Atomic uint32_t *alive = atomic_load(&shim_tables_alive);
	bool was_forking = is_forking;

	is_forking = false;
	shim_vfork_depth = 0;
	/* Written before it is read: that is one page fault and not two. */
	if (alive)
		atomic_store(alive + HAS_LEFT, 1);
	if (alive && atomic_load(alive) == 0) {
		shim_private_close_copies();
		has_left_here = true;
		shim_gate_abandon();
	} else if (alive) {
		atomic_store(alive + HAS_LEFT, 0);
		/* The kernel does not wipe pages. */
		if (atomic_load(alive) != (uint32_t)raw_getpid())
			shim_become_child();
	}
	if (was_forking && !has_left_here)
		shim_gate_reset();
	if (was_forking)
		shim_signals_restore(&before);
}

__attribute__((constructor)) static void register_handlers(void)
{
	pthread_atfork(prepare, parent, child);
}
