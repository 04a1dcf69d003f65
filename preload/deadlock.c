/*
 * The search for deadlocks across processes; deadlock.h has the interface,
 * deadlock-table.h where processes meet, deadlock-graph.h the search itself,
 * deadlock-proof.h what the kernel knows of a wait.
 *
 * First announce, then search, so of several processes that close a cycle at
 * the same time the last one sees all the others.  A process that holds
 * nothing cannot be part of a cycle, and announces nothing: it touches no
 * file.  What a process holds while it waits does not change, unless it has
 * more threads; for those there is shim_deadlock_refresh().
 *
 * Two at once, and exactly one of them shall fail, as with legacy locks.  Each
 * want gets a stamp after its first announcement, and is announced again with
 * it.  So who has the later stamp has seen the earlier one's announcement, and
 * the youngest of a cycle sees all of it: that one fails.  The others leave
 * the cycle to it and go to wait.
 *
 * Whoever was announced need not wait: it was granted its lock this moment; or
 * it left by siglongjmp(3) and has not come back to the shim since (row 22).
 * So nobody fails before the kernel shows the waits of all others in the
 * cycle.  Those that it does not show may be on their way into the kernel, or
 * in a signal handler that will return to the wait: this is a doubt, and we
 * look again, for a while.  A doubt rarely outlives two looks; where it lasts,
 * the process has left its wait, and the cycle is none.  What the kernel cannot
 * tell about (no /proc; a stopped thread; an inode number unlike that of stat)
 * is believed in the end.  This stays unseen: a wait whose thread is in a
 * signal handler for longer than our patience.
 *
 * Meanwhile no signal is let in unless there is one, and a handler that would
 * have interrupted the wait interrupts the search: an alarm(2) that went off
 * here would not go off again in the wait.
 *
 * A second want of the same thread is that of a signal handler, or the first
 * one was left by siglongjmp(3).  If the stack is no longer as deep as it was,
 * the latter; else both stay, and the kernel shows which of them waits.
 *
 * All of this is guarded by the gate.  Stack: below 2 KiB.
 */
#include "deadlock.h"

#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

#include "apart.h"
#include "deadlock-graph.h"
#include "deadlock-proof.h"
#include "deadlock-table.h"
#include "debug.h"
#include "gate.h"
#include "jump.h"
#include "raw.h"

#define MILLISECOND UINT64_C(1000000)
/* With a process that sleeps, but not in its wait; with one that has yet to get
 * the processor, or is in doubt itself. */
#define PATIENCE      (200 * MILLISECOND)
#define LONG_PATIENCE (3000 * MILLISECOND)
#define FIRST_PAUSE   (MILLISECOND / 8)
#define LAST_PAUSE    (8 * MILLISECOND)

enum { REFRESHES_PER_PURGE = 64 };

struct wait {
	struct shim_span wanted;
	uint64_t stamp;
	uintptr_t frame; /* how deep the stack was */
	pid_t tid;
	bool is_doubting;
};

/* In the order in which they began. */
static struct wait waits[DEADLOCK_WANTS_MAX] SHIM_APART;
_Atomic unsigned shim_deadlock_waits;

static struct deadlock_table table = {.fd = -1};
static shim_each_held *each_held;
static uint64_t pid_namespace;
static unsigned refreshes;

/* Where the record of this process is put together. */
static union {
	struct deadlock_record record;
	char bytes[DEADLOCK_SLOT_SIZE];
} staged SHIM_APART;

static uint64_t monotonic_now(void)
{
	struct timespec now;

	raw_syscall(SYS_clock_gettime, CLOCK_MONOTONIC, (long)&now, 0, 0, 0, 0);
	return (uint64_t)now.tv_sec * 1000 * MILLISECOND + (uint64_t)now.tv_nsec;
}

static pid_t this_thread(void)
{
	return (pid_t)raw_syscall(SYS_gettid, 0, 0, 0, 0, 0, 0);
}

static unsigned wait_count(void)
{
	return atomic_load_explicit(&shim_deadlock_waits, memory_order_relaxed);
}

/* The list of waits */

static void remove_wait(unsigned index)
{
	unsigned rest = wait_count() - 1;

	memmove(&waits[index], &waits[index + 1], (rest - index) * sizeof *waits);
	/* A full barrier: what is locked from here on is locked before somebody
	 * finds that nobody waits. */
	atomic_store(&shim_deadlock_waits, rest);
}

/* The newest of this thread; -1: none. */
static int find_wait(pid_t tid)
{
	for (int i = (int)wait_count() - 1; i >= 0; i--)
		if (waits[i].tid == tid)
			return i;
	return -1;
}

/* Those that this thread has left by siglongjmp. */
static void remove_left_waits(pid_t tid, uintptr_t frame)
{
	int index;

	while ((index = find_wait(tid)) >= 0 && shim_jump_has_left(waits[index].frame, frame))
		remove_wait((unsigned)index);
}

static void remove_waits_of_dead_threads(void)
{
	pid_t pid = raw_getpid();

	for (unsigned i = wait_count(); i-- > 0;)
		if (raw_syscall(SYS_tgkill, pid, waits[i].tid, 0, 0, 0, 0) == -ESRCH)
			remove_wait(i);
}

/* The announcement */

static struct deadlock_span to_table(const struct shim_span *span)
{
	return (struct deadlock_span){
		.device = span->device,
		.inode = span->inode,
		.first = span->first,
		.last = span->last,
		.exclusive = span->exclusive,
	};
}

static void stage_held(void *argument, const struct shim_span *span)
{
	struct deadlock_record *record = argument;

	if (record->hold_count == DEADLOCK_HOLDS_MAX)
		record->is_cut = true;
	else
		deadlock_holds(record)[record->hold_count++] = to_table(span);
}

static void stage(void)
{
	staged.record = (struct deadlock_record){
		.pid_namespace = pid_namespace,
		.pid = (uint32_t)raw_getpid(),
		.want_count = wait_count(),
	};
	for (unsigned i = 0; i < staged.record.want_count; i++)
		deadlock_wants(&staged.record)[i] = (struct deadlock_want){
			.span = to_table(&waits[i].wanted),
			.stamp = waits[i].stamp,
			.tid = (uint32_t)waits[i].tid,
			.flags = waits[i].is_doubting ? DEADLOCK_DOUBTING : 0,
		};
	each_held(stage_held, &staged.record);
}

static void note_unseen(const char *why)
{
	static atomic_flag noted = ATOMIC_FLAG_INIT;

	if (!atomic_flag_test_and_set(&noted))
		shim_debug_note(why);
}

static int write_staged(void)
{
	int result = deadlock_table_write(&table, &staged.record);

	if (result < 0) {
		note_unseen("cannot write to the table of waits: deadlocks with other processes "
			    "may not be found");
		deadlock_table_close(&table);
	}
	return result;
}

/* 0; -ENOENT: there is nothing to announce; or why it cannot be done. */
static int announce(void)
{
	stage();
	if (staged.record.want_count == 0 || staged.record.hold_count == 0) {
		deadlock_table_close(&table);
		return -ENOENT;
	}
	if (staged.record.is_cut)
		note_unseen("too many locks held: deadlocks with other processes may not be found");
	if (table.fd < 0) {
		if (pid_namespace == 0)
			pid_namespace = deadlock_proof_pid_namespace();
		staged.record.pid_namespace = pid_namespace;
		int result = deadlock_table_open(&table);
		if (result < 0) {
			note_unseen("no table of waits: deadlocks with other processes are not "
				    "found");
			return result;
		}
	}
	return write_staged();
}

static void announce_changes(void)
{
	if (wait_count() > 0 || table.fd >= 0)
		announce();
}

/* The verdict */

enum verdict { NO_CYCLE, CYCLE, DOUBT };

struct judgement {
	uint64_t stamp; /* of our want */
	bool is_patient;
};

static bool counts_always(const struct deadlock_view *view, const struct deadlock_record *record,
			  struct deadlock_want *want, void *argument)
{
	return true;
}

static bool is_older(const struct deadlock_record *record, const struct deadlock_want *want,
		     const struct judgement *judgement)
{
	return want->stamp < judgement->stamp ||
	       (want->stamp == judgement->stamp && record->slot < (uint32_t)table.slot);
}

static bool counts_if_proven(const struct deadlock_view *view, const struct deadlock_record *record,
			     struct deadlock_want *want, void *argument)
{
	if (!(want->flags & DEADLOCK_IN_KERNEL))
		return false;
	deadlock_proof_look(record, want, pid_namespace);
	return !(want->flags & DEADLOCK_ELSEWHERE);
}

/* A younger one, if it is still on its way, will see us and fail.  One without
 * a stamp may be older. */
static bool counts_if_possible(const struct deadlock_view *view,
			       const struct deadlock_record *record, struct deadlock_want *want,
			       void *argument)
{
	struct judgement *judgement = argument;

	if (counts_if_proven(view, record, want, NULL))
		return true;
	if (!is_older(record, want, judgement))
		return false;
	deadlock_proof_look(record, want, pid_namespace);
	if (want->flags & (DEADLOCK_DOUBTING | DEADLOCK_RUNNING))
		judgement->is_patient = true;
	return true;
}

static bool counts_if_not_refuted(const struct deadlock_view *view,
				  const struct deadlock_record *record, struct deadlock_want *want,
				  void *argument)
{
	if (counts_if_proven(view, record, want, NULL))
		return true;
	if (!is_older(record, want, argument))
		return false;
	deadlock_proof_look(record, want, pid_namespace);
	return !(want->flags & DEADLOCK_ELSEWHERE) &&
	       (want->flags & DEADLOCK_STOPPED || !(want->flags & DEADLOCK_FILE_IN_KERNEL));
}

static enum verdict judge_view(struct deadlock_view *view, const struct deadlock_want *own,
			       uint64_t doubted_for)
{
	const struct deadlock_record *self = &staged.record;
	struct judgement judgement = {.stamp = own->stamp};

	if (!deadlock_closes_cycle(view, self, own, counts_always, NULL))
		return NO_CYCLE;
	deadlock_proof_mark(view);
	if (deadlock_closes_cycle(view, self, own, counts_if_proven, NULL))
		return CYCLE;
	if (!deadlock_closes_cycle(view, self, own, counts_if_possible, &judgement))
		return NO_CYCLE;
	if (doubted_for < (judgement.is_patient ? LONG_PATIENCE : PATIENCE))
		return DOUBT;
	return deadlock_closes_cycle(view, self, own, counts_if_not_refuted, &judgement) ? CYCLE
											 : NO_CYCLE;
}

/* Of the wait with that number, as it stands in the staged record. */
static enum verdict judge(unsigned index, uint64_t doubted_for)
{
	struct deadlock_view view;

	if (deadlock_table_view(&table, &view) < 0) {
		note_unseen("no memory for the table of waits: deadlocks with other processes may "
			    "not be found");
		return NO_CYCLE;
	}
	enum verdict verdict =
		judge_view(&view, &deadlock_wants(&staged.record)[index], doubted_for);
	deadlock_view_free(&view);
	return verdict;
}

/* Doubt */

/* The kernel's struct sigaction, which is not glibc's. */
struct kernel_sigaction {
	void (*handler)(int signal);
	unsigned long flags;
#ifdef __x86_64__
	void (*restorer)(void);
#endif
	uint64_t mask;
};

static bool interrupts_a_wait(int number)
{
	struct kernel_sigaction action;

	return raw_syscall(SYS_rt_sigaction, number, 0, (long)&action, sizeof action.mask, 0, 0) ==
		       0 &&
	       action.handler != SIG_DFL && action.handler != SIG_IGN &&
	       !(action.flags & SA_RESTART);
}

/* Lets signals in that have come while all were blocked.  True if one of them
 * would have interrupted a wait. */
static bool take_signals(uint64_t blocked_by_program)
{
	uint64_t all = UINT64_MAX, pending = 0;
	bool interrupted = false;

	raw_syscall(SYS_rt_sigpending, (long)&pending, sizeof pending, 0, 0, 0, 0);
	pending &= ~blocked_by_program;
	if (pending == 0)
		return false;
	for (int number = 1; number <= 64; number++)
		if (pending >> (number - 1) & 1 && interrupts_a_wait(number))
			interrupted = true;
	raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)&blocked_by_program, 0, sizeof all, 0,
		    0);
	raw_syscall(SYS_rt_sigprocmask, SIG_SETMASK, (long)&all, 0, sizeof all, 0, 0);
	return interrupted;
}

/* Goes out of the gate for a while, and in again; the signals stay blocked. */
static bool pause_in_doubt(const struct shim_gate *gate, uint64_t doubted_for)
{
	struct shim_gate blocking = {.blocked = UINT64_MAX};
	uint64_t pause = doubted_for / 2;

	if (pause < FIRST_PAUSE)
		pause = FIRST_PAUSE;
	if (pause > LAST_PAUSE)
		pause = LAST_PAUSE;
	struct timespec time = {.tv_nsec = (long)pause};

	shim_gate_leave(&blocking);
	raw_syscall(SYS_ppoll, 0, 0, (long)&time, 0, 0, 0);
	bool interrupted = take_signals(gate->blocked);
	shim_gate_enter(&blocking);
	return interrupted;
}

/* Looks again until there is no doubt any more; 0, -EDEADLK or -EINTR. */
static int settle(pid_t tid, const struct shim_gate *gate)
{
	uint64_t began = monotonic_now(), doubted_for = 0;

	for (;;) {
		/* Others come and go, and with them the numbers of the waits. */
		int index = find_wait(tid);
		if (index < 0)
			return 0;
		waits[index].is_doubting = true;
		if (announce() < 0)
			return 0;
		enum verdict verdict = judge((unsigned)index, doubted_for);
		if (verdict == CYCLE)
			return -EDEADLK;
		if (verdict == NO_CYCLE) {
			waits[index].is_doubting = false;
			announce();
			return 0;
		}
		if (pause_in_doubt(gate, doubted_for))
			return -EINTR;
		doubted_for = monotonic_now() - began;
	}
}

static void forget_wait(pid_t tid)
{
	int index = find_wait(tid);

	if (index < 0)
		return;
	remove_wait((unsigned)index);
	announce_changes();
}

/* Inside the gate. */
static int begin(const struct shim_span *wanted, pid_t tid, uintptr_t frame,
		 const struct shim_gate *gate)
{
	remove_left_waits(tid, frame);
	if (wait_count() == DEADLOCK_WANTS_MAX)
		remove_waits_of_dead_threads();
	unsigned index = wait_count();
	if (index == DEADLOCK_WANTS_MAX) {
		note_unseen("too many threads wait: deadlocks with other processes may not be "
			    "found");
		return 0;
	}
	waits[index] = (struct wait){.wanted = *wanted, .frame = frame, .tid = tid};
	/* A full barrier: a thread that locks and does not see it has locked
	 * before we ask what is held. */
	atomic_store(&shim_deadlock_waits, index + 1);
	if (announce() < 0)
		return 0;

	waits[index].stamp = monotonic_now();
	deadlock_wants(&staged.record)[index].stamp = waits[index].stamp;
	if (write_staged() < 0)
		return 0;
	enum verdict verdict = judge(index, 0);
	int result = verdict == CYCLE ? -EDEADLK : verdict == DOUBT ? settle(tid, gate) : 0;
	if (result < 0)
		forget_wait(tid);
	return result;
}

__attribute__((noinline)) int shim_deadlock_begin(const struct shim_span *wanted,
						  shim_each_held *each)
{
	uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
	struct shim_gate gate;

	shim_gate_enter(&gate);
	each_held = each;
	int result = begin(wanted, this_thread(), frame, &gate);
	shim_gate_leave(&gate);
	return result;
}

void shim_deadlock_end(void)
{
	struct shim_gate gate;

	shim_gate_enter(&gate);
	forget_wait(this_thread());
	shim_gate_leave(&gate);
}

__attribute__((noinline)) void shim_deadlock_refresh(void)
{
	uintptr_t frame = (uintptr_t)__builtin_frame_address(0);
	struct shim_gate gate;

	shim_gate_enter(&gate);
	remove_left_waits(this_thread(), frame);
	if (++refreshes % REFRESHES_PER_PURGE == 0)
		remove_waits_of_dead_threads();
	announce_changes();
	shim_gate_leave(&gate);
}

void shim_deadlock_moved(int from, int to)
{
	if (table.fd == from)
		table.fd = to;
}

void shim_deadlock_forked(void)
{
	table.fd = -1;
	pid_namespace = 0;
	atomic_store(&shim_deadlock_waits, 0);
}
