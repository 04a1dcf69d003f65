/*
 * Locks across execve(2).  What the process has locked through descriptors
 * that survive, it still has after (contract, shim row 10), and the new image,
 * if it runs under the shim, knows it: an environment variable says what the
 * tables said.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#define SHIM_HANDOVER_VARIABLE "RELOCK_HANDED_OVER"

struct shim_handover {
	/* The environment to give to execve(2). */
	char *const *environment;
	/* What it is made of; NULL where nothing is handed over. */
	void *memory;
	size_t size;
};

/* Before execve(2): prepares what survives it. */
void shim_handover_begin(struct shim_handover *handover, char *const environment[]);
/* It has failed: everything is as it was. */
void shim_handover_undo(struct shim_handover *handover);

/* At start: takes over what an earlier image of this process has left, once.
 * Called before anything is locked. */
void shim_handover_receive(void);
