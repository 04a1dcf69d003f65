/*
 * The log of the exclusion oracle: who is inside which critical section, in
 * memory that all its processes share, written from inside the section.
 *
 * A hold is an entry in a seat.  A seat belongs to one handle of one life (a
 * process, from fork to reaping); each life has seats of its own, never used
 * again, so nothing that comes late can hit a successor.
 *
 *	enter   after the grant: stamp, publish the entry, then look at the
 *	        entries of all others
 *	leave   before the release: withdraw the entry
 *
 * Publishing comes before looking, and everything is sequentially consistent:
 * of two that are inside at the same time, at least one sees the other.
 * Stamps come from one counter, so they have one order, which is real: what
 * has the higher stamp happened later.
 *
 * The dead.  A process that is killed inside leaves its entry behind, and the
 * kernel frees its lock (exit_files()) before anybody can see it dead, let
 * alone reap it: the next holder may rightly enter over the entry.  What may
 * be excused is decided by what the earlier one does, not by how dead it
 * looks:
 *
 *  - Whoever ends a process says so first (life.forks = DOOMED), then kills.
 *    Over the entry of a life that is not doomed nobody enters: a true overlap.
 *  - Over a doomed one the newcomer leaves its stamp (seat.overrun).  A holder
 *    stamps each step it takes inside (seat.beat).  If it takes one more after
 *    the newcomer's stamp, a step, or the leave itself, both were inside: a
 *    true overlap.  It finds that out itself, or whoever reaps it does.
 *
 * So an overlap is excused if and only if the earlier holder never moved again
 * after the later one was granted the lock; no true overlap passes because
 * somebody was killed at a convenient moment.
 *
 * The broken.  relock_break() ends a hold under its living holder, who goes on
 * inside until it looks.  If a break of that lock ran at any time from the
 * call that led to a hold until now, an overlap may be its doing; then one of
 * the two, and it is the two of them that are noted (struct duel), must be told
 * by its release that it has lost the lock.
 *
 * All fields are atomic; no lock guards the log, since its holder could be
 * killed, too.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum {
	LOCKS_MAX = 16,
	SEATS_MAX = 8, /* of one life */
	ACTIVE_MAX = 256,
	EVENTS_KEPT = 256,
	DUELS_KEPT = 256,
};

enum { DOOMED = -1 };

struct seat {
	_Atomic uint64_t entry;     /* 0: outside; else see entry_word() */
	_Atomic uint64_t since;     /* stamp of the call that led to the grant */
	_Atomic uint64_t beat;      /* stamp of the last step inside */
	_Atomic uint64_t overrun;   /* lowest stamp of who entered over this, doomed, hold */
	_Atomic uint32_t waits_for; /* lock + 1 */
	_Atomic uint32_t breaking;  /* lock + 1, during a break by its thread */
};

struct life {
	_Atomic pid_t pid;
	const char *way;          /* how it takes locks, in who started it; NULL: a child */
	_Atomic int forks;        /* forks under way, during which it is not killed; or DOOMED */
	_Atomic bool ended;       /* reaped, or as good as: no instruction of it will run */
	_Atomic uint32_t parted;  /* futex: the parent has left the hold, or ended */
	_Atomic uint32_t checked; /* futex: a child has seen that it holds nothing */
	struct seat seats[SEATS_MAX];
	_Atomic uint32_t child_of_seat[SEATS_MAX]; /* life + 1 of who waits for `parted` */
};

struct lock_log {
	_Atomic uint64_t token;
	_Atomic uint64_t last_break; /* stamp of the end of the last break */
	_Atomic int torn; /* breaks whose process was killed on the way, see log_left() */
};

/* Two holds that overlapped, of which a break must have ended one. */
struct duel {
	_Atomic uint64_t holds[2];
	_Atomic int kept; /* that ended as if nothing had been */
};

enum event_kind {
	EVENT_NONE,
	EVENT_ENTER,
	EVENT_STEP,
	EVENT_LEAVE,
	EVENT_DOOM,
	EVENT_ENDED,
	EVENT_BREAK_BEGUN,
	EVENT_BREAK_ENDED,
};

/* For the reader of a failure; one may be overwritten while it is read. */
struct event {
	_Atomic uint64_t stamp;
	_Atomic uint64_t what; /* pid << 32 | lock << 16 | shared << 8 | enum event_kind */
};

enum failure_kind {
	FAILURE_NONE = 0,
	FAILURE_OVERLAP,      /* two inside, not both shared */
	FAILURE_TOKEN,        /* did not grow */
	FAILURE_LOST_WAKE_UP, /* waits for a free lock */
	FAILURE_STUCK,        /* nothing moves, for another reason */
	FAILURE_LEFT_BEHIND,  /* locked, or open, after the last has gone */
	FAILURE_LOST_HOLD,    /* taken away, though nobody broke it; or kept, though broken */
	FAILURE_ERROR,        /* a result that should not be */
	FAILURE_CRASH,        /* a process ended in a way nobody planned */
};

enum count_kind {
	COUNT_EXCLUSIVE,
	COUNT_SHARED,
	COUNT_AT_ONCE,
	COUNT_TIMED,
	COUNT_FOREVER,
	COUNT_REFUSED,
	COUNT_TIMED_OUT,
	COUNT_INTERRUPTED,
	COUNT_DEADLOCKS,
	COUNT_CONVERTED,
	COUNT_NOT_CONVERTED,
	COUNT_RELEASED,
	COUNT_CLOSED,
	COUNT_EXITED,
	COUNT_KILLED,
	COUNT_KILLED_HOLDING,
	COUNT_KILLED_WAITING,
	COUNT_SIGNALLED,
	COUNT_STOPPED,
	COUNT_CRASHED,
	COUNT_BYSTANDERS,
	COUNT_HEIRS,
	COUNT_BROKEN,
	COUNT_STALE,
	COUNT_OVERRUN,
	COUNT_KINDS,
};

struct oracle_log {
	_Atomic uint64_t sequence;
	_Atomic uint64_t grants;
	_Atomic uint64_t wanted; /* grants at which the run ends */
	_Atomic uint64_t alarm;  /* grants at which the driver wants to be woken */
	_Atomic uint32_t news;   /* futex: the driver has something to look at */
	_Atomic bool stop;
	_Atomic int failure; /* enum failure_kind */
	_Atomic bool failure_written;
	char failure_text[512];
	_Atomic uint64_t counts[COUNT_KINDS];
	struct lock_log locks[LOCKS_MAX];
	struct event events[EVENTS_KEPT];
	struct duel duels[DUELS_KEPT];
	_Atomic uint32_t next_duel;
	_Atomic uint32_t active[ACTIVE_MAX]; /* life + 1 */
	_Atomic uint32_t next_life;
	uint32_t lives_max;
	int fd; /* of this memory, in who made it and its children */
	struct life lives[];
};

/* NULL, with errno, if it cannot be had.  Shared with all children. */
struct oracle_log *log_make(uint32_t lives_max);
void log_free(struct oracle_log *log);
/* The same log in another program; the descriptor is closed. */
struct oracle_log *log_attach(int fd);

/* The next stamp; what happened is kept for log_print_events(). */
uint64_t log_stamp(struct oracle_log *log, enum event_kind kind, pid_t pid, uint32_t lock,
		   bool shared);

/* The first failure counts; it ends the run. */
void log_fail(struct oracle_log *log, enum failure_kind kind, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static inline void log_count(struct oracle_log *log, enum count_kind kind)
{
	atomic_fetch_add_explicit(&log->counts[kind], 1, memory_order_relaxed);
}

/* Lives */

/* A new life, already active.  NULL if the log is full. */
struct life *life_make(struct oracle_log *log);
/* From now on it may be found dead at any time: false, and nothing done, if it
 * is doomed already, or in a fork. */
bool life_doom(struct oracle_log *log, struct life *life);
/* A holder has left, or ended; its child may go on. */
void part_from_child(struct oracle_log *log, _Atomic uint32_t *child_of_seat);
/* Its process is dead: judges and clears what it left behind. */
void life_end(struct oracle_log *log, struct life *life);

/* Holds */

static inline uint64_t log_now(const struct oracle_log *log)
{
	return log->sequence;
}

/* Just granted.  `since`: log_now() before the call that asked for it, or of
 * that whose hold was converted: what was broken between the kernel's grant
 * and our stamp was broken, too. */
void log_enter(struct oracle_log *log, struct life *life, struct seat *seat, uint32_t lock,
	       bool shared, uint64_t since);
/* Holds together with the seat `with`: the child of a holder. */
void log_enter_with(struct seat *seat, const struct seat *with);
/* From exclusive to shared: before others may come in. */
void log_weaken(struct oracle_log *log, struct life *life, struct seat *seat);
void log_step(struct oracle_log *log, struct life *life, struct seat *seat);
/* Returns the number of the hold, for log_left(). */
uint64_t log_leave(struct oracle_log *log, struct life *life, struct seat *seat);
/* The release of that hold said `result`. */
void log_left(struct oracle_log *log, struct life *life, struct seat *seat, uint64_t hold,
	      uint32_t lock, int result);

void log_token(struct oracle_log *log, struct seat *seat, uint32_t lock, uint64_t token);

/* Breaks */

void log_break_begin(struct oracle_log *log, struct life *life, struct seat *seat, uint32_t lock);
void log_break_end(struct oracle_log *log, struct life *life, struct seat *seat);
/* A break of the lock ran at some time since the stamp. */
bool log_was_broken(const struct oracle_log *log, uint32_t lock, uint64_t since);

void log_print_events(const struct oracle_log *log);

/* Futexes in the log; a timeout below 0 is none. */
void log_wait(_Atomic uint32_t *word, uint32_t value, int timeout_ms);
void log_wake(_Atomic uint32_t *word);
