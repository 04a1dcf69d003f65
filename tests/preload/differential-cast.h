/*
 * The cast: the players of one run, from the conductor's side.
 *
 * The conductor adopts the children of those that end
 * (PR_SET_CHILD_SUBREAPER), so that cast_dismiss() leaves nobody behind.
 */
#pragma once

#include "differential-stage.h"

struct cast {
	char folder[64];
	char stage_path[96];
	struct stage *stage;
	int pidfds[ACTORS];   /* -1: not there */
	int outsiders[FILES]; /* the conductor's own descriptors of the files */
};

/* Makes a folder with the stage and the files.  False, with a message on
 * standard error, if that cannot be done. */
bool cast_make(struct cast *ret, const char *player, const char *shim, const char *semantics);
void cast_remove(struct cast *cast);

enum seat_state {
	SEAT_ANSWERED,
	SEAT_BLOCKED, /* in a lock call */
	SEAT_BUSY,
	SEAT_GONE, /* the process has ended */
};

/* Starts a player that is exec'd by the conductor itself. */
bool cast_start(struct cast *cast, int actor, bool under_shim);
/* Before a step that makes a new process, or a new image of one; and after it.
 * False if its threads do not come. */
void cast_expect_process(struct cast *cast, int actor);
void cast_expect_image(struct cast *cast, int actor);
bool cast_await_arrival(struct cast *cast, int actor);
/* Waits for the process's end. */
bool cast_await_end(struct cast *cast, int actor);
pid_t cast_pid(const struct cast *cast, int actor);

void cast_tell(struct cast *cast, const struct command *command);
enum seat_state cast_look(struct cast *cast, int actor, int thread);
/* Until the seat has answered; SEAT_BLOCKED if it stays blocked instead. */
enum seat_state cast_await_answer(struct cast *cast, int actor, int thread);
/* Until the seat has answered or is blocked. */
enum seat_state cast_await_block(struct cast *cast, int actor, int thread);
/* Sends a signal to the thread, and waits until it has been handled. */
bool cast_signal(struct cast *cast, int actor, int thread, int signal);

void cast_kill(struct cast *cast, int actor);
/* Kills whoever is left, and reaps all. */
void cast_dismiss(struct cast *cast);
