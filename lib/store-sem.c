/*
 * The store "sem:": the POSIX semaphore /NAME with the value 1 for free and 0
 * for held, and the shared memory /NAME with a text, as resourcelock (of
 * cjnfuncs, with posix_ipc) has them.  It uses the semaphore with sem_timedwait(3)
 * and sem_post(3), and so do we, in effect.
 *
 * What a semaphore cannot say is who has its unit, so what a process that died
 * had is lost.  Here it is said, so that no unit is lost and none comes twice, by
 * two words and a kernel lock:
 *
 *	seat    one for each handle, a lock on a byte of the semaphore's file,
 *	        which ends with its process (sem-seat.c)
 *	turn    a word behind the semaphore: which seat may take the unit, has
 *	        it, or gives it back, and a number that each turn increments
 *	mark    the highest bit of the semaphore's own word: the unit is with
 *	        whoever has the turn
 *
 * glibc keeps a semaphore in one word of 64 bits (struct new_sem): the value in
 * the lower half, in the upper the number of those that sleep.  sem_wait(3) and
 * sem_post(3) change it by adding and comparing, and leave a bit alone that they
 * do not know; sem_getvalue(3) looks at the lower half; sem_post(3) finds the
 * upper half not 0 and calls futex(2) in vain.  So the unit is taken with the
 * mark, and given back with it, in one instruction each: there is no moment
 * between the two in which a process could die.
 *
 *	free        turn n, 0               word (value 1)
 *	acquire     turn n+1, seat, CANDIDATE
 *	                                    word (value 0, mark)
 *	            text, record
 *	            turn n+1, seat, HOLDS
 *	release     turn n+1, seat, RELEASING
 *	            record
 *	                                    word (value 1), wake
 *	            turn n+1, 0, wake
 *
 * 1. The mark is only changed by whose turn it is, and the turn has one seat. So
 *    of all of relock, one at most has the unit.
 * 2. The turn of a seat that lives is changed by that seat alone, but for HOLDS,
 *    which whoever breaks the lock changes, by compare-and-exchange, to a turn
 *    of its own.  The holder begins its release by compare-and-exchange from
 *    HOLDS, too: so one of the two has it, and only that one posts.  The number
 *    in the turn keeps a hold from being taken for a later one of the same
 *    seat.
 * 3. The turn of a seat that is gone goes to who has locked that seat: only one
 *    can, and as long as it does, nobody can get the seat anew.  It finds the
 *    mark as the dead one left it: there, then the unit is its own, and nobody
 *    needs to post; not there, then the unit is where sem_wait(3) finds it, or
 *    with somebody else.  Whatever the dead one was about to do, the word says
 *    whether it did.  So the unit is had once.
 *    (tests/model/sem.pml has 1 to 3 for spin(1), with deaths at each step.)
 * 4. Somebody who has no turn can post over our heads (`resourcelock NAME unget`
 *    does): the value is 1 and the mark is there.  Then the mark means nothing
 *    any more: the holder takes it away at its release, posts nothing, and
 *    says -ESTALE; who comes next takes the turn over.  If somebody else has
 *    taken the unit meanwhile, the value is 0 as if nothing had happened: but
 *    the text is another, since whoever takes the lock writes one.  Between the
 *    taking and the writing this cannot be seen, nor prevented.
 * 5. A value above 1 comes from two who posted for one hold.  Whose turn it is
 *    takes all of them, and gives back one.
 *
 * What is left: a process that is killed between the post and the wake, a few
 * instructions, lets another program sleep in sem_wait(3) though the value is 1,
 * until the next post.  sem_post(3) itself has that window, and futex(2) no
 * operation to close it; relock's own waiters look up by themselves (sem-wait.c).
 * And a foreign process that dies with the unit cannot be known from one that has
 * it still; `relock unget --force` posts for it.
 *
 * The objects can be removed under their users (sem_unlink(3)): then two who
 * opened them at different times would not meet.  So their names are looked at
 * when a handle has not done so for a millisecond, after each wait, and by
 * relock_check(); who finds a semaphore that was never relock's looks for holders
 * of one that was removed (orphan.c).
 *
 * An acquisition and a release that nobody disturbs are six atomic instructions
 * and two looks at the clock, and no system call.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "cleanup.h"
#include "clock.h"
#include "message.h"
#include "process.h"
#include "sem.h"

/* glibc's semaphores, as described above; 32-bit machines have others. */
static bool semaphores_are_known(void)
{
#if defined __GLIBC__ && defined __LP64__
	struct sem_page page;
	uint64_t first, second;

	memset(&page, 0, sizeof page);
	if (sem_init(&page.semaphore, 1, 5) < 0)
		return false;
	first = atomic_load(&page.word);
	atomic_fetch_or(&page.word, SEM_MARK);
	if (sem_trywait(&page.semaphore) < 0 || sem_trywait(&page.semaphore) < 0 ||
	    sem_post(&page.semaphore) < 0)
		return false;
	second = atomic_load(&page.word);
	sem_destroy(&page.semaphore);
	return first == 5 && second == (SEM_MARK | 4);
#else
	return false;
#endif
}

static int open_store(relock_store *store, const char *rest, bool any_folder)
{
	static const struct lock_primitive primitive = {.line_type = LOCK_LINE_OFD};
	struct sem_store *sem_store = sem_store_of(store);

	if (*rest)
		return failed(-EINVAL,
			      "sem:%s: nothing follows the colon; POSIX semaphores are all in one "
			      "place",
			      rest);
	if (!semaphores_are_known())
		return failed(-EPROTONOSUPPORT,
			      "sem: this C library keeps semaphores in another way than glibc does "
			      "on 64-bit machines");
	int fd = open(SEM_FOLDER, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return failed(-errno, "sem: %s: %s", SEM_FOLDER, strerrordesc_np(errno));
	sem_store->files.primitive = &primitive;
	sem_store->files.dir_fd = fd;
	return 0;
}

static void close_store(relock_store *store)
{
	close(sem_store_of(store)->files.dir_fd);
}

static int open_lock(relock_lock *lock)
{
	struct sem_lock *sem = sem_lock_of(lock);

	if (strlen(lock->name) > SEM_NAME_MAX)
		return failed(-ENAMETOOLONG, "%.32s...: a semaphore's name has at most %d bytes",
			      lock->name, SEM_NAME_MAX);
	sem->file.fd = -1;
	sem->text_fd = -1;
	sem->second = -1;
	sem->file.whole = true;
	sem->file.image = calloc(1, SLOT_INFO_OFFSET);
	if (!sem->file.image)
		return -ENOMEM;
	/* Numbers of holds need not be secret, only differ. */
	if (getrandom(&sem->file.next_hold, sizeof sem->file.next_hold, GRND_NONBLOCK) < 0)
		sem->file.next_hold = (uint64_t)moment_now() ^ (uint64_t)(uintptr_t)sem << 20;
	return 0;
}

static void close_lock(relock_lock *lock)
{
	sem_objects_close(sem_lock_of(lock));
	free(sem_lock_of(lock)->file.image);
}

static void forget(relock_lock *lock)
{
	sem_objects_forget(sem_lock_of(lock));
	/* A thread that is gone may have been about to make it larger. */
	sem_lock_of(lock)->file.image = NULL;
}

/* Acquiring */

static int refuse_shared(const relock_lock *lock)
{
	return failed(-EOPNOTSUPP,
		      "%s: a semaphore has one holder and no shared ones; use ofd: for these",
		      lock->name);
}

static int make_ready(relock_lock *lock, int64_t now)
{
	const int64_t trusted = RELOCK_MILLISECOND;
	struct sem_lock *sem = sem_lock_of(lock);

	if (sem->page && now - sem->examined >= 0 && now - sem->examined < trusted)
		return 0;
	if (sem->page && sem_objects_are_current(lock) == 0)
		sem_objects_close(sem);
	if (!sem->page) {
		int result = sem_objects_open(lock, true);
		if (result < 0)
			return result;
		return 0;
	}
	sem->examined = now;
	return 0;
}

static int take_turn(relock_lock *lock, const struct grant *grant)
{
	int result = sem_turn_take(sem_lock_of(lock), false);

	if (result == -EAGAIN && grant->deadline != AT_ONCE)
		result = sem_turn_wait(lock, grant->deadline, grant->cancel_state);
	return result;
}

static int take_unit(relock_lock *lock, const struct grant *grant)
{
	struct sem_lock *sem = sem_lock_of(lock);

	int result = sem_unit_take(sem);
	if (result == -EAGAIN && grant->deadline != AT_ONCE)
		result = sem_unit_wait(lock, grant->deadline, grant->cancel_state);
	return result;
}

/* -ESTALE: the names lead elsewhere, so start over. */
static int take(relock_lock *lock, const struct grant *grant)
{
	struct sem_lock *sem = sem_lock_of(lock);

	int result = take_turn(lock, grant);
	if (result < 0)
		return result;
	result = sem_orphan_wait(lock, grant);
	if (result == 0) {
		/* Before the mark, which counts only with it. */
		if (atomic_load(&sem->page->magic) != SEM_MAGIC)
			atomic_store(&sem->page->magic, SEM_MAGIC);
		result = take_unit(lock, grant);
	}
	if (result < 0) {
		sem_turn_end(sem);
		return result;
	}
	bool was_examined = sem->examined != 0 && grant->deadline == AT_ONCE;
	if (!was_examined && sem_objects_are_current(lock) == 0)
		result = -ESTALE;
	else
		result = sem_record_draw(sem, grant);
	if (result < 0)
		sem_turn_give_up(sem);
	return result;
}

static int acquire(relock_lock *lock, const struct grant *grant)
{
	struct sem_lock *sem = sem_lock_of(lock);
	int64_t now;
	int result;

	if (grant->mode == RELOCK_SHARED)
		return refuse_shared(lock);
	do {
		now = moment_now();
		result = make_ready(lock, now);
		if (result < 0)
			return result;
		result = take(lock, grant);
		if (result == -ESTALE)
			sem_objects_close(sem);
	} while (result == -ESTALE);
	if (result < 0)
		return result;
	if (grant->deadline != AT_ONCE)
		now = moment_now();
	sem_record_grant(lock, now);
	sem_turn_holds(sem);
	if (grant->flags & RELOCK_INHERIT)
		fcntl(sem->file.fd, F_SETFD, 0);
	return 0;
}

/* What has become of a hold */

static int was_broken(const relock_lock *lock)
{
	return failed(-ESTALE, "%s: the lock was broken by somebody else", lock->name);
}

static int was_given_away(const relock_lock *lock)
{
	return failed(-ESTALE,
		      "%s: somebody else has posted %s/sem.%s, as `resourcelock %s unget` does, or "
		      "has written to %s/%s; if it stays held by nobody: relock unget --force",
		      lock->name, SEM_FOLDER, lock->name, lock->name, SEM_FOLDER, lock->name);
}

static void end_record(struct sem_lock *sem)
{
	if (sem->file.recorded && !sem->file.ended)
		sem_record_end(sem, NULL);
	sem->file.recorded = false;
}

static int release(relock_lock *lock)
{
	struct sem_lock *sem = sem_lock_of(lock);

	if (!sem_turn_begin_release(sem)) {
		sem->file.recorded = false;
		return was_broken(lock);
	}
	end_record(sem);
	bool was_ours = sem_unit_give(sem);
	sem_turn_end(sem);
	/* Others have the seat, too: the next hold is on one of its own, or theirs
	 * would be part of it. */
	if (lock->flags & RELOCK_INHERIT)
		sem_objects_close(sem);
	return was_ours ? 0 : was_given_away(lock);
}

/* What was seen once to be given away must not be posted: a moment later it may
 * look as before, until whoever has taken it writes a text. */
static int lose(relock_lock *lock)
{
	struct sem_lock *sem = sem_lock_of(lock);

	if (!sem_turn_begin_release(sem)) {
		sem->file.recorded = false;
		return was_broken(lock);
	}
	end_record(sem);
	sem_unit_disown(sem);
	sem_turn_end(sem);
	return was_given_away(lock);
}

static int still_holds(relock_lock *lock)
{
	struct sem_lock *sem = sem_lock_of(lock);

	if (sem_turn_is_ours(sem))
		return sem_unit_is_ours(sem) ? 0 : lose(lock);
	sem->turn = 0;
	sem->file.recorded = false;
	return was_broken(lock);
}

static int check(relock_lock *lock)
{
	struct sem_lock *sem = sem_lock_of(lock);

	int result = still_holds(lock);
	if (result < 0 || sem_objects_are_current(lock) == 1)
		return result;
	(void)release(lock);
	sem_objects_close(sem);
	return failed(-ESTALE, "%s: %s/sem.%s was removed or replaced by somebody else", lock->name,
		      SEM_FOLDER, lock->name);
}

/* The seat is theirs who have inherited it.  If nobody has, its end is nobody's
 * to notice before the next one comes, and that may be a resourcelock: so the
 * unit is given back here. */
static int leave(relock_lock *lock)
{
	struct sem_lock *sem = sem_lock_of(lock);

	int result = still_holds(lock);
	if (result < 0)
		return result;
	end_record(sem);
	sem_objects_close(sem);
	if (sem_objects_open(lock, false) < 0)
		return 0;
	if (sem_turn_take(sem, false) == 0)
		sem_turn_give_up(sem);
	return 0;
}

static int adopt_seat(relock_lock *lock, const struct grant *grant)
{
	struct sem_lock *sem = sem_lock_of(lock);
	uint64_t turn = atomic_load(&sem->page->turn);

	sem->seat = sem_seat_of(sem->file.fd);
	if (sem->seat == 0 || (turn & (TURN_SEAT | TURN_STATE)) != (sem->seat | TURN_HOLDS))
		return -ESTALE;
	sem->turn = turn & ~TURN_WAITERS;
	return sem_record_draw(sem, grant);
}

static int adopt(relock_lock *lock, int fd, const struct grant *grant)
{
	struct sem_lock *sem = sem_lock_of(lock);

	sem_objects_close(sem);
	sem->file.fd = fd;
	int result = grant->mode == RELOCK_SHARED ? refuse_shared(lock) : 0;
	if (result == 0 && sem_objects_are_current(lock) == 0)
		result = -ESTALE;
	if (result == 0)
		result = sem_objects_open_as(lock, fd);
	if (result == 0)
		result = adopt_seat(lock, grant);
	if (result < 0) {
		sem_objects_close(sem);
		return result == -ESTALE
			       ? failed(result, "%s: the lock is not held any more", lock->name)
			       : result;
	}
	(void)sem_record_adopt(lock);
	return check(lock);
}

static int convert(relock_lock *lock, const struct grant *grant)
{
	return refuse_shared(lock);
}

static int pass(relock_lock *lock, const struct grant *grant)
{
	struct sem_lock *sem = sem_lock_of(lock);

	int result = still_holds(lock);
	if (result < 0)
		return result;
	result = sem_record_draw(sem, grant);
	if (result == 0)
		sem_record_grant(lock, moment_now());
	return result;
}

static int set_info(relock_lock *lock, const void *info, size_t length)
{
	struct sem_lock *sem = sem_lock_of(lock);

	int result = still_holds(lock);
	if (result < 0)
		return result;
	if (!sem->file.recorded)
		return failed(-ENODATA, "%s: there was no room for a record in %s/sem.%s",
			      lock->name, SEM_FOLDER, lock->name);
	return sem_record_set_info(lock, info, length);
}

/* Who was broken before may have drawn it after the next one did. */
static int token(const relock_lock *lock, uint64_t *ret)
{
	const struct sem_lock *sem = sem_lock_of(lock);

	if (!sem_turn_is_ours(sem))
		return was_broken(lock);
	if (!sem->file.recorded)
		return failed(-ENODATA,
			      "%s: its token could not be kept in %s/sem.%s, and so is not sure to "
			      "grow",
			      lock->name, SEM_FOLDER, lock->name);
	*ret = sem->file.image->record.token;
	return 0;
}

static int mark_broken(relock_lock *lock, const struct breaker *by)
{
	struct sem_lock *sem = sem_lock_of(lock);

	int result = still_holds(lock);
	if (result < 0 || !sem->file.recorded)
		return result;
	sem_record_end(sem, by);
	sem->file.ended = true;
	return 0;
}

/* A process that ends in an ordinary way gives back what it holds, or other
 * programs would wait until a relock comes; but not what others may have
 * inherited. */
static void at_exit(relock_lock *lock)
{
	if (lock->held && !(lock->flags & RELOCK_INHERIT))
		(void)release(lock);
}

/* Breaking */

static int break_open(relock_lock *lock, const struct breaker *by)
{
	struct sem_lock *sem = sem_lock_of(lock);

	int result = sem_turn_break(sem);
	if (result == -ENOENT) /* not with relock */
		return sem_unit_post(sem->page);
	if (result < 0)
		return failed(result,
			      "%s: its holder was stopped in the middle of taking or giving back "
			      "%s/sem.%s; let it go on, or end it",
			      lock->name, SEM_FOLDER, lock->name);
	sem_record_end(sem, by);
	sem_turn_give_up(sem);
	return 0;
}

static int break_hold(relock_store *store, const char *name, const struct breaker *by)
{
	relock_lock *lock = NULL;

	int result = relock_lock_open(&lock, store, name);
	if (result == 0)
		result = sem_objects_open(lock, false);
	if (result == 0)
		result = break_open(lock, by);
	else if (result == -EACCES)
		result = failed(-EPERM, "%s: you may not write %s/sem.%s; ask its owner, or root",
				name, SEM_FOLDER, name);
	relock_lock_close(lock);
	return result;
}

/* Other programs have a semaphore open for long, and never look whether it is
 * still there: it stays until the next boot. */
static int prune(relock_store *store, const char *name, int64_t age)
{
	return 0;
}

const struct store_operations store_sem = {
	.scheme = "sem",
	.is_whole = true,
	.store_size = sizeof(struct sem_store),
	.lock_size = sizeof(struct sem_lock),
	.open = open_store,
	.close = close_store,
	.lock_open = open_lock,
	.lock_close = close_lock,
	.forget = forget,
	.acquire = acquire,
	.adopt = adopt,
	.release = release,
	.leave = leave,
	.convert = convert,
	.pass = pass,
	.check = check,
	.mark_broken = mark_broken,
	.set_info = set_info,
	/* What is in the image is the same as of a lock file. */
	.info = lock_file_info,
	.token = token,
	.fd = lock_file_fd,
	.probe = sem_probe,
	.look = sem_look,
	.each_name = sem_each_name,
	.break_hold = break_hold,
	.prune = prune,
	.at_exit = at_exit,
};
