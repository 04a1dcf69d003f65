/*
 * What a lock of the store "sem:" is made of; store-sem.c has the protocol, and
 * why it holds.
 *
 *	/dev/shm/sem.NAME   the POSIX semaphore, as sem_open(3) makes it:
 *	                    32 bytes, of which glibc uses 16; made longer, for
 *	                    what follows, which sem_open(3) never looks at
 *	    0 ..   31       the semaphore
 *	   64 .. 4095       struct sem_page: whose turn it is, who waits
 *	 4608 .. 9215       a struct slot (record.h): the holder, and the last one
 *	    2^32 + n        a lock, not a byte: seat n is taken (F_OFD_SETLK)
 *	/dev/shm/NAME       the shared memory with the text
 *
 * All in one file, so that semaphore and record are removed together or not at
 * all, and are open to the same users.
 */
#pragma once

#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "lock-file.h"

#define SEM_FOLDER "/dev/shm"

enum {
	SEM_PREFIX_LENGTH = 4, /* "sem." */
	SEM_NAME_MAX = 255 - SEM_PREFIX_LENGTH,
	SEM_TEXT_MAX = 4096, /* of the shared memory as resourcelock makes it; with the NUL */
	SEM_SEATS_SHOWN = 124,
	SEM_PAGE_SIZE = 4096,
	SEM_FILE_SIZE = 2 * SLOT_SIZE,
};

/* The semaphore's word: glibc's struct new_sem, where atomics have 64 bits. */
#define SEM_VALUE  UINT64_C(0x00000000ffffffff)
#define SEM_WAITER UINT64_C(0x0000000100000000) /* one of those that sleep */
#define SEM_MARK   UINT64_C(0x8000000000000000) /* ours: relock has the unit */

/* The turn: a seat, what it does, and whether others sleep on this word; in the
 * upper half a number that each new turn increments. */
#define TURN_SEAT       UINT64_C(0x00ffffff)
#define TURN_STATE      UINT64_C(0x03000000)
#define TURN_CANDIDATE  UINT64_C(0x01000000) /* may take the unit */
#define TURN_HOLDS      UINT64_C(0x02000000) /* has it, and can be broken */
#define TURN_RELEASING  UINT64_C(0x03000000) /* gives it back */
#define TURN_WAITERS    UINT64_C(0x80000000)
#define TURN_NUMBER     UINT64_C(0xffffffff00000000)
#define TURN_NUMBER_ONE UINT64_C(0x0000000100000000)

#define SEM_MAGIC UINT64_C(0x0a316d65736c6572) /* "relsem1\n" */

/* Who has this seat, and waits; for the list of waiters only. */
struct sem_seat {
	_Atomic uint32_t waits;
	_Atomic int32_t pid;
	_Atomic uint64_t start_time;
	_Atomic uint64_t pid_namespace;
	_Atomic int64_t since;
};

struct sem_page {
	union {
		sem_t semaphore;
		_Atomic uint64_t word;
	};
	unsigned char unused[32];
	_Atomic uint64_t magic; /* of a file that relock has prepared */
	_Atomic uint64_t turn;
	/* Of the text that the present holder, or the last, has written; 0: it
	 * has not yet. */
	_Atomic uint64_t text_sum;
	unsigned char unused_too[40];
	struct sem_seat seats[SEM_SEATS_SHOWN]; /* of seat 1 and so on */
};
_Static_assert(sizeof(struct sem_page) <= SEM_PAGE_SIZE, "one page");

struct sem_store {
	struct file_store files; /* for orphan.c: the folder */
};

/* A handle's objects, open and mapped. */
struct sem_lock {
	struct file_lock file; /* its descriptor and image; see lock-file-record.h */
	struct sem_page *page; /* NULL: not open */
	struct slot *slot;     /* in the same mapping; NULL: no space for it */
	char *text;            /* the shared memory; NULL: none */
	size_t text_size;
	int text_fd;
	bool is_drawn_for_self; /* the image is of a request without a command and such */
	uint32_t seat;          /* 0: none */
	uint64_t turn;          /* while it has one: as it must stand there, without waiters */
	int64_t examined;       /* when the names were last seen to lead to the objects */
	time_t second;          /* that `moment` tells */
	char moment[24];        /* "2025-11-06 10:38:11" */
};

static inline struct sem_store *sem_store_of(const relock_store *store)
{
	return (struct sem_store *)store->private;
}

static inline struct sem_lock *sem_lock_of(const relock_lock *lock)
{
	return (struct sem_lock *)lock->private;
}

/* sem-objects.c */

/* Opens and maps the objects of a handle, which are made if they are missing
 * and `make` says so.  -ENOENT; -EBADMSG for what is no semaphore; and errors of
 * open(2), with message. */
int sem_objects_open(relock_lock *lock, bool make);
/* The same of a descriptor of the semaphore's file that came from elsewhere. */
int sem_objects_open_as(relock_lock *lock, int fd);
void sem_objects_close(struct sem_lock *sem);
/* For a child of fork(2), which has copies that are not its own. */
void sem_objects_forget(struct sem_lock *sem);
/* The names still lead to the open objects: 1, or 0 if not. */
int sem_objects_are_current(relock_lock *lock);
/* Opens sem.NAME for a look only. */
int sem_object_open(const relock_store *store, const char *name, int flags, int *ret_fd);
/* And NAME: reads its text, NUL-terminated, into a buffer of SEM_TEXT_MAX + 1. */
int sem_text_read(const relock_store *store, const char *name, char *buffer, size_t *ret_length);
/* Does the file that was opened look like a semaphore? */
bool sem_page_is_sound(uint64_t word, uint64_t magic);

/* sem-seat.c */

int sem_seat_take(struct sem_lock *sem, const char *name);
void sem_seat_leave(struct sem_lock *sem);
/* Has anybody that seat?  On any descriptor of the file but the seat's own. */
bool sem_seat_is_taken(int fd, uint32_t seat);
/* The seat that an open file description has taken; 0: none. */
uint32_t sem_seat_of(int fd);
void sem_seat_waits(struct sem_lock *sem, bool waits);
/* Locks a seat whose process is gone, so that nobody else can deal with what it
 * left: true if there was nobody.  To be ended. */
bool sem_seat_begin_recovery(struct sem_lock *sem, uint32_t seat);
void sem_seat_end_recovery(struct sem_lock *sem, uint32_t seat);

/* sem-turn.c */

/* One turn at a time.  `slept`: others may still sleep.  -EAGAIN */
int sem_turn_take(struct sem_lock *sem, bool slept);
void sem_turn_end(struct sem_lock *sem);
/* As a candidate: takes the unit.  -EAGAIN: somebody without a turn has it. */
int sem_unit_take(struct sem_lock *sem);
/* The candidate holds from now on. */
void sem_turn_holds(struct sem_lock *sem);
/* Is it still ours? */
bool sem_turn_is_ours(const struct sem_lock *sem);
bool sem_unit_is_ours(const struct sem_lock *sem);
/* Ends a hold: false if there was none any more. */
bool sem_turn_begin_release(struct sem_lock *sem);
/* Gives the unit back: false if somebody else did so before. */
bool sem_unit_give(struct sem_lock *sem);
/* Does not give it back, since somebody else has. */
void sem_unit_disown(struct sem_lock *sem);
/* Gives back whatever this one, as a candidate, has. */
void sem_turn_give_up(struct sem_lock *sem);
/* Takes the turn away from a living holder: -ENOENT if nobody has the unit,
 * -ETIMEDOUT. */
int sem_turn_break(struct sem_lock *sem);
/* Posts for somebody who has the unit without a turn.  -ENOENT */
int sem_unit_post(struct sem_page *page);
/* Who has the unit, as one look at a page tells. */
enum sem_owner { SEM_FREE, SEM_RELOCK, SEM_OTHER };
enum sem_owner sem_owner_of(uint64_t word, uint64_t turn, int fd);

/* sem-wait.c */

/* The wait for a turn, and that of whose turn it is.  Errors as
 * relock_acquire(); -ESTALE: the names lead to other objects now, so start over. */
int sem_turn_wait(relock_lock *lock, int64_t deadline, int cancel_state);
int sem_unit_wait(relock_lock *lock, int64_t deadline, int cancel_state);
/* Waits until nobody holds the removed semaphore of that name. */
int sem_orphan_wait(relock_lock *lock, const struct grant *grant);
void sem_wake_one(_Atomic uint64_t *word);

/* sem-record.c */

/* As lock_record_draw(). */
int sem_record_draw(struct sem_lock *sem, const struct grant *grant);
void sem_record_grant(relock_lock *lock, int64_t now);
int sem_record_set_info(relock_lock *lock, const void *info, size_t length);
void sem_record_end(struct sem_lock *sem, const struct breaker *by);
bool sem_record_adopt(relock_lock *lock);

/* sem-text.c */

/* "2025-11-06 10:38:11.545309 - INFO" */
void sem_text_write(struct sem_lock *sem, int64_t since, const void *info, size_t length);
/* The text is not the one that was written with `text_sum`. */
bool sem_text_was_replaced(const struct sem_lock *sem);
uint64_t sem_text_sum(const char *text, size_t length);
/* The moment at its start, and where the info begins; 0 if there is none. */
int64_t sem_text_parse(const char *text, const char **ret_info);

/* sem-look.c */

int sem_look(relock_store *store, const char *name, struct snapshot *snapshot,
	     struct relock_status *status);
int sem_each_name(relock_store *store, int (*callback)(const char *name, void *argument),
		  void *argument);
int sem_probe(relock_lock *lock);
