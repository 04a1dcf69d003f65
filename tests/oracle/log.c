#include "log.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/*
 * An entry: the number of the hold (the stamp of its grant, or of the
 * conversion), the lock, the mode.
 */
static uint64_t entry_word(uint64_t hold, uint32_t lock, bool shared)
{
	return hold << 8 | (uint64_t)lock << 1 | shared;
}

static uint64_t entry_hold(uint64_t entry)
{
	return entry >> 8;
}

static uint32_t entry_lock(uint64_t entry)
{
	return (uint32_t)(entry >> 1) & 127;
}

static bool entry_is_shared(uint64_t entry)
{
	return entry & 1;
}

static size_t log_size(uint32_t lives_max)
{
	return sizeof(struct oracle_log) + lives_max * sizeof(struct life);
}

static struct oracle_log *map_log(int fd, size_t size)
{
	void *log = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	return log == MAP_FAILED ? NULL : log;
}

struct oracle_log *log_make(uint32_t lives_max)
{
	int fd = memfd_create("oracle", MFD_CLOEXEC);
	if (fd < 0)
		return NULL;
	struct oracle_log *log = NULL;
	if (ftruncate(fd, (off_t)log_size(lives_max)) == 0)
		log = map_log(fd, log_size(lives_max));
	if (!log) {
		close(fd);
		return NULL;
	}
	log->lives_max = lives_max;
	log->fd = fd;
	return log;
}

void log_free(struct oracle_log *log)
{
	close(log->fd);
	munmap(log, log_size(log->lives_max));
}

struct oracle_log *log_attach(int fd)
{
	struct stat status;
	struct oracle_log *log =
		fstat(fd, &status) < 0 ? NULL : map_log(fd, (size_t)status.st_size);

	close(fd);
	return log;
}

uint64_t log_stamp(struct oracle_log *log, enum event_kind kind, pid_t pid, uint32_t lock,
		   bool shared)
{
	uint64_t stamp = atomic_fetch_add(&log->sequence, 1) + 1;

	struct event *event = &log->events[stamp % EVENTS_KEPT];
	uint64_t what = (uint64_t)pid << 32 | lock << 16 | (unsigned)shared << 8 | kind;
	atomic_store_explicit(&event->stamp, stamp, memory_order_relaxed);
	atomic_store_explicit(&event->what, what, memory_order_relaxed);
	return stamp;
}

void log_fail(struct oracle_log *log, enum failure_kind kind, const char *format, ...)
{
	int none = FAILURE_NONE;
	va_list arguments;

	if (!atomic_compare_exchange_strong(&log->failure, &none, (int)kind))
		return;
	va_start(arguments, format);
	vsnprintf(log->failure_text, sizeof log->failure_text, format, arguments);
	va_end(arguments);
	atomic_store(&log->failure_written, true);
	atomic_store(&log->stop, true);
	log_wake(&log->news);
}

/* Lives */

struct life *life_make(struct oracle_log *log)
{
	uint32_t index = atomic_fetch_add(&log->next_life, 1);

	if (index >= log->lives_max)
		return NULL;
	for (size_t i = 0; i < ACTIVE_MAX; i++) {
		uint32_t nobody = 0;
		if (atomic_compare_exchange_strong(&log->active[i], &nobody, index + 1))
			return &log->lives[index];
	}
	return NULL;
}

bool life_doom(struct oracle_log *log, struct life *life)
{
	int none = 0;

	if (!atomic_compare_exchange_strong(&life->forks, &none, DOOMED))
		return false;
	log_stamp(log, EVENT_DOOM, life->pid, 0, false);
	return true;
}

void part_from_child(struct oracle_log *log, _Atomic uint32_t *child)
{
	uint32_t index = atomic_exchange(child, 0);

	if (index == 0)
		return;
	log_wake(&log->lives[index - 1].parted);
}

static void overlap(struct oracle_log *log, uint32_t lock, pid_t earlier, bool earlier_shared,
		    pid_t later, bool later_shared, const char *how)
{
	log_fail(log, FAILURE_OVERLAP, "lock %u: pid %d (%s) and pid %d (%s) were inside: %s",
		 (unsigned)lock, (int)earlier, earlier_shared ? "shared" : "exclusive", (int)later,
		 later_shared ? "shared" : "exclusive", how);
}

/* A step of a holder: has somebody taken it for dead before? */
static void check_overrun(struct oracle_log *log, struct life *life, struct seat *seat,
			  uint64_t entry, uint64_t step)
{
	uint64_t overrun = seat->overrun;

	if (overrun == 0 || overrun > step || log_was_broken(log, entry_lock(entry), seat->since))
		return;
	overlap(log, entry_lock(entry), life->pid, entry_is_shared(entry), 0, false,
		"it moved on after another had been granted the lock over its doomed hold");
}

void life_end(struct oracle_log *log, struct life *life)
{
	if (atomic_exchange(&life->ended, true))
		return;
	uint32_t number = (uint32_t)(life - log->lives) + 1;

	log_stamp(log, EVENT_ENDED, life->pid, 0, false);
	for (size_t i = 0; i < SEATS_MAX; i++) {
		struct seat *seat = &life->seats[i];
		uint64_t entry = atomic_exchange(&seat->entry, 0);
		if (entry)
			check_overrun(log, life, seat, entry, seat->beat);
		if (seat->breaking)
			atomic_fetch_add(&log->locks[seat->breaking - 1].torn, 1);
		log_break_end(log, life, seat);
		part_from_child(log, &life->child_of_seat[i]);
	}
	for (size_t i = 0; i < ACTIVE_MAX; i++)
		atomic_compare_exchange_strong(&log->active[i], &(uint32_t){number}, 0);
}

/* Holds */

/* 0 stands for a hold that cannot have been broken. */
static void note_duel(struct oracle_log *log, uint64_t first, uint64_t second)
{
	uint32_t number = atomic_fetch_add(&log->next_duel, 1);
	struct duel *duel = &log->duels[number % DUELS_KEPT];

	duel->kept = first == 0 || second == 0;
	duel->holds[0] = first;
	duel->holds[1] = second;
}

static void settle_duels(struct oracle_log *log, uint64_t hold, uint32_t lock, pid_t pid,
			 bool stale)
{
	for (size_t i = 0; i < DUELS_KEPT; i++) {
		struct duel *duel = &log->duels[i];
		if (duel->holds[0] != hold && duel->holds[1] != hold)
			continue;
		if (stale)
			duel->holds[0] = duel->holds[1] = 0;
		else if (atomic_fetch_add(&duel->kept, 1) == 1)
			log_fail(log, FAILURE_OVERLAP,
				 "lock %u: two were inside because one was broken, but neither was "
				 "told by its release (holds %" PRIu64 " and %" PRIu64
				 "; pid %d released last)",
				 (unsigned)lock, duel->holds[0], duel->holds[1], (int)pid);
	}
}

/* The newcomer's stamp over a doomed hold.  True if the hold still stands, and
 * may be one that moves no more. */
static bool enter_over(struct oracle_log *log, struct life *doomed, struct seat *seat,
		       uint64_t entry, uint64_t stamp)
{
	uint64_t before = 0;

	while ((before == 0 || before > stamp) &&
	       !atomic_compare_exchange_weak(&seat->overrun, &before, stamp))
		;
	log_count(log, COUNT_OVERRUN);
	return seat->entry == entry || doomed->ended;
}

/* `other` is inside, too, and one of us is not shared. */
static void judge(struct oracle_log *log, struct life *me, struct seat *mine, uint64_t my_entry,
		  struct life *other, struct seat *others, uint64_t entry)
{
	uint32_t lock = entry_lock(entry);
	bool i_am_later = entry_hold(my_entry) > entry_hold(entry);

	if (i_am_later && other->forks == DOOMED &&
	    enter_over(log, other, others, entry, entry_hold(my_entry)))
		return;
	bool mine_broken = log_was_broken(log, lock, mine->since);
	/* If it has left meanwhile, `since` may be of its next hold. */
	uint64_t others_since = others->since;
	bool others_broken = log_was_broken(log, lock, others->entry == entry ? others_since : 0);
	if (mine_broken || others_broken)
		note_duel(log, mine_broken ? entry_hold(my_entry) : 0,
			  others_broken ? entry_hold(entry) : 0);
	else if (i_am_later)
		overlap(log, lock, other->pid, entry_is_shared(entry), me->pid,
			entry_is_shared(my_entry), "the first had not left");
	else
		overlap(log, lock, me->pid, entry_is_shared(my_entry), other->pid,
			entry_is_shared(entry), "the second did not wait");
}

static void look_around(struct oracle_log *log, struct life *me, struct seat *mine, uint64_t entry)
{
	for (size_t i = 0; i < ACTIVE_MAX; i++) {
		uint32_t number = log->active[i];
		if (number == 0)
			continue;
		struct life *life = &log->lives[number - 1];
		for (size_t k = 0; k < SEATS_MAX; k++) {
			struct seat *seat = &life->seats[k];
			uint64_t other = seat->entry;
			if (seat == mine || other == 0 || entry_lock(other) != entry_lock(entry) ||
			    entry_hold(other) == entry_hold(entry) ||
			    (entry_is_shared(other) && entry_is_shared(entry)))
				continue;
			judge(log, me, mine, entry, life, seat, other);
		}
	}
}

void log_enter(struct oracle_log *log, struct life *life, struct seat *seat, uint32_t lock,
	       bool shared, uint64_t since)
{
	uint64_t stamp = log_stamp(log, EVENT_ENTER, life->pid, lock, shared);
	uint64_t entry = entry_word(stamp, lock, shared);

	seat->since = since;
	seat->beat = stamp;
	seat->overrun = 0;
	atomic_store(&seat->entry, entry);
	look_around(log, life, seat, entry);
}

void log_enter_with(struct seat *seat, const struct seat *with)
{
	seat->since = with->since;
	seat->beat = with->beat;
	atomic_store(&seat->entry, with->entry);
}

void log_weaken(struct oracle_log *log, struct life *life, struct seat *seat)
{
	log_step(log, life, seat);
	uint64_t entry = seat->entry;
	atomic_store(&seat->entry, entry_word(entry_hold(entry), entry_lock(entry), true));
}

void log_step(struct oracle_log *log, struct life *life, struct seat *seat)
{
	uint64_t entry = seat->entry;

	seat->beat = log_stamp(log, EVENT_STEP, life->pid, entry_lock(entry), false);
	check_overrun(log, life, seat, entry, seat->beat);
}

uint64_t log_leave(struct oracle_log *log, struct life *life, struct seat *seat)
{
	uint64_t entry = seat->entry;

	seat->beat = log_stamp(log, EVENT_LEAVE, life->pid, entry_lock(entry), false);
	atomic_store(&seat->entry, 0);
	check_overrun(log, life, seat, entry, seat->beat);
	return entry_hold(entry);
}

/* Who breaks a lock marks the holder first.  If it is killed then, the mark
 * stays, and one later hold, at most, is wrongly told that it was broken. */
static bool take_torn(struct lock_log *lock)
{
	int torn = lock->torn;

	while (torn > 0)
		if (atomic_compare_exchange_weak(&lock->torn, &torn, torn - 1))
			return true;
	return false;
}

void log_left(struct oracle_log *log, struct life *life, struct seat *seat, uint64_t hold,
	      uint32_t lock, int result)
{
	if (result == -ESTALE)
		log_count(log, COUNT_STALE);
	if (result == -ESTALE && !log_was_broken(log, lock, seat->since) &&
	    !take_torn(&log->locks[lock]))
		log_fail(log, FAILURE_LOST_HOLD,
			 "lock %u: pid %d was told that its hold was broken, but nobody broke it",
			 (unsigned)lock, (int)life->pid);
	settle_duels(log, hold, lock, life->pid, result == -ESTALE);
}

void log_token(struct oracle_log *log, struct seat *seat, uint32_t lock, uint64_t token)
{
	uint64_t previous = atomic_exchange(&log->locks[lock].token, token);

	/* A holder that was broken may come here after its successor. */
	if (token <= previous && !log_was_broken(log, lock, seat->since))
		log_fail(log, FAILURE_TOKEN, "lock %u: token %" PRIu64 " after %" PRIu64,
			 (unsigned)lock, token, previous);
}

/* Breaks */

void log_break_begin(struct oracle_log *log, struct life *life, struct seat *seat, uint32_t lock)
{
	atomic_store(&seat->breaking, lock + 1);
	log_stamp(log, EVENT_BREAK_BEGUN, life->pid, lock, false);
}

void log_break_end(struct oracle_log *log, struct life *life, struct seat *seat)
{
	uint32_t breaking = seat->breaking;

	if (breaking == 0)
		return;
	uint64_t stamp = log_stamp(log, EVENT_BREAK_ENDED, life->pid, breaking - 1, false);
	_Atomic uint64_t *last = &log->locks[breaking - 1].last_break;
	uint64_t before = *last;
	while (before < stamp && !atomic_compare_exchange_weak(last, &before, stamp))
		;
	/* In this order: it is under way, or its end is known. */
	atomic_store(&seat->breaking, 0);
}

static bool is_being_broken(const struct oracle_log *log, uint32_t lock)
{
	for (size_t i = 0; i < ACTIVE_MAX; i++) {
		uint32_t number = log->active[i];
		for (size_t k = 0; number && k < SEATS_MAX; k++)
			if (log->lives[number - 1].seats[k].breaking == lock + 1)
				return true;
	}
	return false;
}

bool log_was_broken(const struct oracle_log *log, uint32_t lock, uint64_t since)
{
	return is_being_broken(log, lock) || log->locks[lock].last_break > since;
}

/* For the reader */

void log_print_events(const struct oracle_log *log)
{
	static const char *const names[] = {"?",     "enters", "moves",  "leaves",
					    "dooms", "ended",  "breaks", "has broken"};
	enum { SHOWN = 100 };
	uint64_t last = log->sequence;

	for (uint64_t stamp = last > SHOWN ? last - SHOWN : 1; stamp <= last; stamp++) {
		const struct event *event = &log->events[stamp % EVENTS_KEPT];
		uint64_t what = event->what;
		if (event->stamp == stamp)
			fprintf(stderr, "  %8" PRIu64 "  pid %-7d %-10s lock %u%s\n", stamp,
				(int)(what >> 32), names[what & 255],
				(unsigned)(what >> 16) & 0xffff, what >> 8 & 1 ? " shared" : "");
	}
}

/* Futexes */

void log_wait(_Atomic uint32_t *word, uint32_t value, int timeout_ms)
{
	struct timespec span = {timeout_ms / 1000, timeout_ms % 1000 * 1000000L};

	/* Not FUTEX_PRIVATE: other processes wake it. */
	syscall(SYS_futex, word, FUTEX_WAIT, value, timeout_ms < 0 ? NULL : &span);
}

void log_wake(_Atomic uint32_t *word)
{
	atomic_fetch_add(word, 1);
	syscall(SYS_futex, word, FUTEX_WAKE, INT_MAX);
}
