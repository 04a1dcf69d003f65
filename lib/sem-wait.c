/*
 * Waiting for a lock of "sem:", in futex(2).
 *
 * Who has no turn sleeps on the turn; the one whose turn it is sleeps on the
 * semaphore's value, as sem_timedwait(3) does, and is counted there among those
 * whom sem_post(3) wakes.  The deadline is the kernel's, so nobody has to end
 * the wait; and while it sleeps, and only then, the thread can be cancelled at
 * any moment, since futex(2) changes nothing but the thread.
 *
 * The kernel wakes nobody when a holder dies, since a seat is no futex.  So who
 * sleeps looks up now and then: after 20 ms, then 40, then each 100, whether the
 * holder still has its seat, and whether the names still lead to the objects.
 * With that, a lost wake-up (of a process that was killed between the change
 * of a word and the wake) costs 100 ms, too, and no lock.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#include "cleanup.h"
#include "clock.h"
#include "message.h"
#include "orphan.h"
#include "sem.h"

enum { FIRST_NAP_MS = 20, LONGEST_NAP_MS = 100 };

/* A frame that is left by a cancellation at any moment leaves behind what
 * the sanitizers keep of it. */
#define LEFT_BY_CANCELLATION __attribute__((no_sanitize("address", "thread")))

/* A futex has 32 bits: those with the value, and with the seat. */
static uint32_t *futex_of(_Atomic uint64_t *word)
{
	return (uint32_t *)(void *)word + (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

void sem_wake_one(_Atomic uint64_t *word)
{
	int before = errno;

	syscall(SYS_futex, futex_of(word), FUTEX_WAKE, 1, NULL, NULL, 0);
	errno = before;
}

struct nap {
	int64_t deadline; /* of the wait */
	int64_t length;
	int cancel_state;
};

static struct nap first_nap(int64_t deadline, int cancel_state)
{
	return (struct nap){deadline, FIRST_NAP_MS * RELOCK_MILLISECOND, cancel_state};
}

/* 0: woken, or no need to sleep; -EAGAIN: time to look up; -ETIMEDOUT, -EINTR */
LEFT_BY_CANCELLATION static int sleep_on(_Atomic uint64_t *word, uint32_t expected, struct nap *nap)
{
	int64_t until = clock_now(CLOCK_MONOTONIC) + nap->length;
	bool is_last = until >= nap->deadline;
	struct timespec at = clock_timespec(is_last ? nap->deadline : until);
	int type, ignored, error = 0;

	pthread_setcancelstate(nap->cancel_state, &ignored);
	pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, &type);
	if (syscall(SYS_futex, futex_of(word), FUTEX_WAIT_BITSET, expected, &at, NULL,
		    FUTEX_BITSET_MATCH_ANY) < 0)
		error = errno;
	pthread_setcanceltype(type, &type);
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ignored);
	switch (error) {
	case 0:
	case EAGAIN:
		return 0;
	case ETIMEDOUT:
		nap->length = nap->length * 2 > LONGEST_NAP_MS * RELOCK_MILLISECOND
				      ? LONGEST_NAP_MS * RELOCK_MILLISECOND
				      : nap->length * 2;
		return is_last ? -ETIMEDOUT : -EAGAIN;
	default:
		return -error;
	}
}

/* The turn */

/* It may have been woken already, and not looked yet. */
static void stop_waiting_for_turn(void *argument)
{
	relock_lock *lock = argument;
	struct sem_lock *sem = sem_lock_of(lock);

	sem_seat_waits(sem, false);
	sem_wake_one(&sem->page->turn);
}

static int wait_for_turn(relock_lock *lock, struct nap *nap)
{
	struct sem_lock *sem = sem_lock_of(lock);
	bool slept = false;

	for (;;) {
		int result = sem_turn_take(sem, slept);
		if (result != -EAGAIN)
			return result;
		uint64_t turn = atomic_fetch_or(&sem->page->turn, TURN_WAITERS) | TURN_WAITERS;
		slept = true;
		if ((turn & TURN_SEAT) == 0)
			continue;
		result = sleep_on(&sem->page->turn, (uint32_t)turn, nap);
		if (result == -EAGAIN && sem_objects_are_current(lock) == 0)
			return -ESTALE;
		if (result < 0 && result != -EAGAIN)
			return result;
	}
}

int sem_turn_wait(relock_lock *lock, int64_t deadline, int cancel_state)
{
	struct nap nap = first_nap(deadline, cancel_state);
	int result;

	sem_seat_waits(sem_lock_of(lock), true);
	pthread_cleanup_push(stop_waiting_for_turn, lock);
	result = wait_for_turn(lock, &nap);
	pthread_cleanup_pop(0);
	sem_seat_waits(sem_lock_of(lock), false);
	return result;
}

/* The unit */

/* Whoever was woken for it passes that on. */
static void stop_waiting_for_unit(struct sem_lock *sem)
{
	uint64_t word = atomic_fetch_sub(&sem->page->word, SEM_WAITER) - SEM_WAITER;

	sem_seat_waits(sem, false);
	if ((word & SEM_VALUE) > 0 && (word & ~SEM_MARK) >= SEM_WAITER)
		sem_wake_one(&sem->page->word);
}

static void unit_wait_cancelled(void *argument)
{
	struct sem_lock *sem = argument;

	stop_waiting_for_unit(sem);
	sem_turn_end(sem);
}

static int wait_for_unit(relock_lock *lock, struct nap *nap)
{
	struct sem_lock *sem = sem_lock_of(lock);
	int result;

	while ((result = sem_unit_take(sem)) == -EAGAIN) {
		result = sleep_on(&sem->page->word, 0, nap);
		if (result == -EAGAIN && sem_objects_are_current(lock) == 0)
			return -ESTALE;
		if (result < 0 && result != -EAGAIN)
			return result;
	}
	return result;
}

int sem_unit_wait(relock_lock *lock, int64_t deadline, int cancel_state)
{
	struct sem_lock *sem = sem_lock_of(lock);
	struct nap nap = first_nap(deadline, cancel_state);
	int result;

	sem_seat_waits(sem, true);
	atomic_fetch_add(&sem->page->word, SEM_WAITER);
	pthread_cleanup_push(unit_wait_cancelled, sem);
	result = wait_for_unit(lock, &nap);
	pthread_cleanup_pop(0);
	stop_waiting_for_unit(sem);
	return result;
}

/* A semaphore of this name that was removed under its holder */

struct orphan {
	struct sem_lock *sem;
	struct sem_page *page;
	int fd;
};

static void close_orphan(struct orphan *orphan)
{
	munmap(orphan->page, SEM_PAGE_SIZE);
	close(orphan->fd);
}

static void orphan_wait_cancelled(void *argument)
{
	struct orphan *orphan = argument;

	close_orphan(orphan);
	sem_turn_end(orphan->sem);
}

static int find_orphan(relock_lock *lock, struct orphan *ret)
{
	CLEANUP_CLOSE int fd = -1;
	char name[SEM_NAME_MAX + SEM_PREFIX_LENGTH + 1];
	struct stat status;

	snprintf(name, sizeof name, "sem.%s", lock->name);
	int result =
		orphan_find(&sem_store_of(lock->store)->files, name, &sem_lock_of(lock)->file, &fd);
	if (result < 0)
		return result;
	if (fstat(fd, &status) < 0 || status.st_size < SEM_PAGE_SIZE)
		return -ENOENT;
	void *page = mmap(NULL, SEM_PAGE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		return -errno;
	*ret = (struct orphan){sem_lock_of(lock), page, TAKE_FD(fd)};
	return 0;
}

static bool is_held(struct orphan *orphan, uint64_t *ret_turn)
{
	uint64_t word = atomic_load(&orphan->page->word);

	*ret_turn = atomic_load(&orphan->page->turn);
	return sem_owner_of(word, *ret_turn, orphan->fd) == SEM_RELOCK;
}

LEFT_BY_CANCELLATION static int wait_for_holder(struct orphan *orphan, const struct grant *grant)
{
	struct nap nap = first_nap(grant->deadline, grant->cancel_state);
	uint64_t turn;

	while (is_held(orphan, &turn)) {
		if (grant->deadline == AT_ONCE)
			return -EAGAIN;
		atomic_fetch_or(&orphan->page->turn, TURN_WAITERS);
		int result = sleep_on(&orphan->page->turn, (uint32_t)(turn | TURN_WAITERS), &nap);
		if (result < 0 && result != -EAGAIN)
			return result;
	}
	return 0;
}

int sem_orphan_wait(relock_lock *lock, const struct grant *grant)
{
	struct orphan orphan;
	int result;

	if (atomic_load(&sem_lock_of(lock)->page->magic) == SEM_MAGIC ||
	    find_orphan(lock, &orphan) < 0)
		return 0;
	debug("%s: a semaphore of this name was removed; is it held?", lock->name);
	pthread_cleanup_push(orphan_wait_cancelled, &orphan);
	result = wait_for_holder(&orphan, grant);
	pthread_cleanup_pop(0);
	close_orphan(&orphan);
	return result;
}
