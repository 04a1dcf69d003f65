/*
 * The turn and the unit: the two words of which each step of a lock of "sem:" is
 * one atomic instruction.  store-sem.c argues why they suffice; here are the
 * steps.
 *
 * Who may change what:
 *
 *	turn    free to a candidate          anybody who has a seat
 *	        of a candidate, or releasing  its seat only; of a seat that nobody
 *	                                     has any more: who has locked that
 *	        of a holder                  its seat; and whoever breaks the lock
 *	mark    of the unit                  whose turn it is
 *	value   of the unit                  everybody: sem_post(3), sem_wait(3)
 */
#include <errno.h>
#include <sched.h>

#include "clock.h"
#include "message.h"
#include "sem.h"

static uint64_t seat_in(uint64_t turn)
{
	return turn & TURN_SEAT;
}

static uint64_t state_in(uint64_t turn)
{
	return turn & TURN_STATE;
}

static bool change(_Atomic uint64_t *word, uint64_t from, uint64_t to)
{
	return atomic_compare_exchange_strong(word, &from, to);
}

/* The turn goes to us, as a candidate, if it still is what it was. */
static bool succeed(struct sem_lock *sem, uint64_t turn, uint64_t waiters)
{
	uint64_t next = ((turn & TURN_NUMBER) + TURN_NUMBER_ONE) | TURN_CANDIDATE | sem->seat;

	if (!change(&sem->page->turn, turn, next | (turn & TURN_WAITERS) | waiters))
		return false;
	sem->turn = next;
	return true;
}

/* Somebody has posted over the holder's head, as `resourcelock NAME unget` does:
 * the lock is anybody's, and the holder will learn of it. */
static bool was_given_away(const struct sem_page *page, uint64_t turn)
{
	uint64_t word = atomic_load(&page->word);

	return state_in(turn) == TURN_HOLDS && word & SEM_MARK && (word & SEM_VALUE) > 0;
}

/* With the seat locked, which its process had locked as long as it lived,
 * nobody else can be that seat or deal with what it left. */
static bool recover(struct sem_lock *sem, uint64_t turn, uint64_t waiters)
{
	uint32_t seat = (uint32_t)seat_in(turn);

	if (seat == sem->seat || sem_seat_is_taken(sem->file.fd, seat) ||
	    !sem_seat_begin_recovery(sem, seat))
		return false;
	uint64_t now = atomic_load(&sem->page->turn);
	bool is_ours = seat_in(now) == seat && succeed(sem, now, waiters);
	sem_seat_end_recovery(sem, seat);
	if (is_ours)
		debug("seat %u has ended without giving its turn back", seat);
	return is_ours;
}

int sem_turn_take(struct sem_lock *sem, bool slept)
{
	const uint64_t waiters = slept ? TURN_WAITERS : 0;
	uint64_t turn;

	for (;;) {
		turn = atomic_load(&sem->page->turn);
		if (seat_in(turn) == 0 || was_given_away(sem->page, turn)) {
			if (succeed(sem, turn, waiters))
				return 0;
			continue; /* somebody else was quicker, or came to wait */
		}
		if (recover(sem, turn, waiters))
			return 0;
		if (seat_in(atomic_load(&sem->page->turn)) != 0)
			return -EAGAIN;
	}
}

void sem_turn_end(struct sem_lock *sem)
{
	uint64_t before = atomic_exchange(&sem->page->turn, sem->turn & TURN_NUMBER);

	sem->turn = 0;
	if (before & TURN_WAITERS)
		sem_wake_one(&sem->page->turn);
}

bool sem_turn_is_ours(const struct sem_lock *sem)
{
	return (atomic_load(&sem->page->turn) & ~TURN_WAITERS) == sem->turn;
}

bool sem_unit_is_ours(const struct sem_lock *sem)
{
	uint64_t word = atomic_load(&sem->page->word);

	return word & SEM_MARK && (word & SEM_VALUE) == 0 && !sem_text_was_replaced(sem);
}

void sem_turn_holds(struct sem_lock *sem)
{
	/* Others only set the bit of waiters. */
	atomic_fetch_add(&sem->page->turn, TURN_HOLDS - TURN_CANDIDATE);
	sem->turn += TURN_HOLDS - TURN_CANDIDATE;
}

bool sem_turn_begin_release(struct sem_lock *sem)
{
	uint64_t turn = atomic_load(&sem->page->turn);

	while ((turn & ~TURN_WAITERS) == sem->turn) {
		if (!change(&sem->page->turn, turn, turn | TURN_RELEASING)) {
			turn = atomic_load(&sem->page->turn);
			continue;
		}
		sem->turn |= TURN_RELEASING;
		return true;
	}
	sem->turn = 0;
	return false;
}

/* The unit */

/* The mark is there: the last one whose turn it was has left the unit to us,
 * unless it was given away since; then it is there for anybody, or somebody has
 * taken it. */
static bool inherit_unit(struct sem_lock *sem, uint64_t word)
{
	if ((word & SEM_VALUE) == 0 && !sem_text_was_replaced(sem))
		return true;
	change(&sem->page->word, word, word & ~SEM_MARK);
	return false;
}

int sem_unit_take(struct sem_lock *sem)
{
	struct sem_page *page = sem->page;

	for (;;) {
		uint64_t word = atomic_load(&page->word);
		if (word & SEM_MARK) {
			if (inherit_unit(sem, word))
				return 0;
			continue;
		}
		if ((word & SEM_VALUE) == 0)
			return -EAGAIN;
		/* Before the mark: a text that is not ours must not be compared with. */
		atomic_store_explicit(&page->text_sum, 0, memory_order_release);
		/* A value above 1 comes from somebody who has posted twice: as long
		 * as we hold, nobody else shall. */
		if (change(&page->word, word, (word & ~SEM_VALUE) | SEM_MARK))
			return 0;
	}
}

bool sem_unit_give(struct sem_lock *sem)
{
	struct sem_page *page = sem->page;

	for (;;) {
		uint64_t word = atomic_load(&page->word);
		if (!(word & SEM_MARK))
			return false;
		if ((word & SEM_VALUE) > 0 || sem_text_was_replaced(sem)) {
			if (change(&page->word, word, word & ~SEM_MARK))
				return false;
			continue;
		}
		if (!change(&page->word, word, (word & ~SEM_MARK) + 1))
			continue;
		if ((word & ~SEM_MARK) >= SEM_WAITER)
			sem_wake_one(&page->word);
		return true;
	}
}

void sem_unit_disown(struct sem_lock *sem)
{
	atomic_fetch_and(&sem->page->word, ~SEM_MARK);
}

int sem_unit_post(struct sem_page *page)
{
	for (;;) {
		uint64_t word = atomic_load(&page->word);
		if (word & SEM_MARK || (word & SEM_VALUE) > 0)
			return -ENOENT;
		if (!change(&page->word, word, word + 1))
			continue;
		if (word >= SEM_WAITER)
			sem_wake_one(&page->word);
		return 0;
	}
}

void sem_turn_give_up(struct sem_lock *sem)
{
	if (atomic_load(&sem->page->word) & SEM_MARK)
		(void)sem_unit_give(sem);
	sem_turn_end(sem);
}

/* A turn that begins or ends takes nanoseconds, unless its process was stopped
 * in the middle of it. */
int sem_turn_break(struct sem_lock *sem)
{
	int64_t deadline = deadline_after(5 * RELOCK_SECOND);

	do {
		uint64_t turn = atomic_load(&sem->page->turn);
		if (!(atomic_load(&sem->page->word) & SEM_MARK))
			return -ENOENT;
		if ((seat_in(turn) == 0 || state_in(turn) == TURN_HOLDS) && succeed(sem, turn, 0))
			return 0;
		if (seat_in(turn) != 0 && recover(sem, turn, 0))
			return 0;
		sched_yield();
	} while (clock_now(CLOCK_MONOTONIC) < deadline);
	return -ETIMEDOUT;
}

enum sem_owner sem_owner_of(uint64_t word, uint64_t turn, int fd)
{
	if ((word & SEM_VALUE) > 0)
		return SEM_FREE;
	if (!(word & SEM_MARK))
		return SEM_OTHER;
	if (seat_in(turn) == 0 || !sem_seat_is_taken(fd, (uint32_t)seat_in(turn)))
		return SEM_FREE;
	return SEM_RELOCK;
}
