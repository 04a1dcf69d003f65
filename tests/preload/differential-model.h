/*
 * The model: what the contract says that each step does.
 *
 * Two columns of the contract's table are modelled, `legacy record lock` and
 * `process`, and each actor lives by one of them.  So a native run must do
 * what an all-legacy model says, which tests the model; a run under the shim
 * what an all-process model says; and where programs under the shim and others
 * share files, each its own.
 *
 * The columns differ in what a close takes away (rows 4 to 6), and in what a
 * wait does whose descriptor is closed (row 21): the kernel takes it for one
 * more close.
 *
 * What the contract leaves open is open here: a wait may be refused with
 * EDEADLK or not where the cycle is not made of all that stands in the way, or
 * where it passes through both columns, and neither side can see all of it.
 */
#pragma once

#include "differential-map.h"
#include "differential-step.h"

enum column { COLUMN_LEGACY, COLUMN_PROCESS };

/* An open file description; which processes have descriptors of it is with
 * their slots. */
struct model_open {
	int references; /* slots and waiters; 0: none such */
	int file;
	int flags;
	off_t offset;
};

struct model_slot {
	int open; /* -1: closed */
	int number;
	bool is_cloexec;
};

/* A thread that is blocked in a lock call. */
struct model_wait {
	bool is_waiting;
	bool is_relative; /* to the offset, which was this */
	off_t offset;
	int file;
	int fd; /* the number that it was called with */
	/* The program has taken a number that may have been the shim's. */
	bool may_have_moved;
	struct lock_range request;
};

struct model_actor {
	bool is_alive;
	enum column column;
	struct model_slot slots[SLOTS];
	struct model_wait waits[THREADS];
};

enum { OPENS_MAX = ACTORS * SLOTS + ACTORS * THREADS };

struct model {
	struct model_actor actors[ACTORS];
	struct model_open opens[OPENS_MAX];
	struct lock_map files[FILES];
};

/* What a step must do. */
struct expectation {
	enum {
		EXPECT_NO_STEP,  /* makes no sense now */
		EXPECT_SUCCESS,  /* 0 */
		EXPECT_NUMBER,   /* a new descriptor */
		EXPECT_PID,      /* a new actor, and its pid */
		EXPECT_ERROR,    /* -1 and `error` */
		EXPECT_ANSWER,   /* F_GETLK: one of `holders`, or free */
		EXPECT_WAIT,     /* blocks */
		EXPECT_DEADLOCK, /* -1 and EDEADLK */
		EXPECT_WAIT_OR_DEADLOCK,
		EXPECT_END,  /* the actor is gone */
		EXPECT_HEIR, /* ... and another is there */
		EXPECT_SIGNAL,
	} what;
	int error;
	struct lock_map holders;
};

/* An actor without descriptors. */
void model_add_actor(struct model *model, int actor, enum column column);

/* Carries the step out.  With EXPECT_NUMBER, the number is to be told next;
 * with a wait that is refused, model_end_wait() is to be called. */
void model_perform(struct model *model, const struct step *step, struct expectation *ret);
void model_set_number(struct model *model, const struct step *step, int number);

/* Its part for lock calls. */
void model_perform_request(struct model *model, const struct step *step, struct expectation *ret);
void model_expect_error(struct expectation *ret, int error);

static inline bool model_slot_is_open(const struct model_slot *slot)
{
	return slot->open >= 0;
}

/* The numbers that a step's call is given. */
int model_slot_number(const struct model *model, int actor, int slot);
int model_target_number(const struct model *model, const struct step *step);
void model_range_numbers(const struct model *model, const struct step *step, int *ret_first,
			 int *ret_last);
bool model_number_is_free(const struct model *model, int actor, int number);

/* Waits */

bool model_is_grantable(const struct model *model, const struct model_wait *wait);
/* All that is in its way waits, in the end, for the one that asks, and EDEADLK
 * is due; or some of it does. */
bool model_must_deadlock(const struct model *model, const struct model_wait *wait);
bool model_may_deadlock(const struct model *model, const struct model_wait *wait);
/* The same for a waiter that has just been woken, with others. */
bool model_may_deadlock_on_waking(const struct model *model, const struct model_wait *wait);
/* Its descriptor was closed in the meantime, or is another open's by now. */
bool model_is_closed(const struct model *model, const struct model_wait *wait);
/* The wait succeeds.  Returns 0, or EBADF if it is closed (row 21). */
int model_grant(struct model *model, struct model_wait *wait);
void model_end_wait(struct model *model, struct model_wait *wait);
