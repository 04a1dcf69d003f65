/*
 * The stage: memory that the conductor shares with all players.
 *
 * A player has no descriptor that a plan does not give it, so that closefrom()
 * and its kind can be played without mercy: the conductor and the players speak
 * through this memory and wait for each other on futexes.  One command at a
 * time: who has the turn of a seat owns its command and its answer.  The stage
 * is a file, because execve(2) takes the mapping away; a player maps it anew.
 */
#pragma once

#include <limits.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/types.h>

#include "differential-step.h"

struct command {
	struct step step;
	int fd, other_fd; /* the numbers of its slots; of a closed one, a bad number */
};

struct answer {
	long result;
	int error;
	bool is_jump;      /* left by siglongjmp(3) */
	struct flock lock; /* as it is after the call */
};

/* A thread of an actor. */
struct seat {
	/* Odd: a command is with the player.  Even: none, or answered. */
	_Atomic uint32_t turn;
	_Atomic pid_t tid;        /* 0: not there yet */
	_Atomic uint32_t handled; /* signals */
	struct command command;
	struct answer answer;
};

struct stage {
	pid_t conductor;
	_Atomic uint32_t news; /* moves with each answer, and each thread that begins */
	char paths[PATHS][96];
	char player[PATH_MAX];
	char shim[PATH_MAX];
	char semantics[32]; /* RELOCK_SEMANTICS of those under the shim */
	struct {
		_Atomic pid_t pid;
		_Atomic int error; /* errno, where it could not begin */
		struct seat seats[THREADS];
	} actors[ACTORS];
};

/* NULL, with errno, if it cannot be mapped. */
struct stage *stage_map(const char *path);

/* Until *word is no longer `seen`, but not much longer than 100 ms. */
void stage_wait(_Atomic uint32_t *word, uint32_t seen);
void stage_wake(_Atomic uint32_t *word);

/* The environment and the arguments of a player, to be given to execve(2). */
struct player_start {
	char *arguments[5];
	char *environment[4];
	char actor[8], thread[8];
	char preload[PATH_MAX + 16], semantics[64];
};
void stage_player_start(const struct stage *stage, const char *stage_path, int actor, int thread,
			bool under_shim, struct player_start *ret);
