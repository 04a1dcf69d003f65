/*
 * Which open of the program owns which locked bytes of a file, where locks are
 * the process's (contract, shim rows 4 to 7).
 *
 * As long as one open has done all the locking, it owns all there is, and
 * nothing is kept but its id.  From the second open on there are spans.  An
 * open's last close gives back what it owns.
 *
 * All of it inside the gate.
 */
#pragma once

#include <stdint.h>
#include <sys/types.h>

#include "locked-file.h"

/* `open` is about to lock.  Without memory to tell whose a byte is, the program
 * gets its lock all the same, and loses it with the open that it is taken for:
 * natively it would lose it with any close. */
void shim_ownership_admit(struct locked_file *file, uint32_t open);

/* `open` has locked these bytes, or, with 0, somebody has unlocked them. */
void shim_ownership_note(struct locked_file *file, off_t first, off_t last, uint32_t open);

/* The same of what was done outside the gate: somebody else may have unlocked
 * since, and the kernel tells what is locked. */
void shim_ownership_review(struct locked_file *file, off_t first, off_t last, uint32_t open);

/* Unlocks what `open` owns. */
void shim_ownership_give_back(struct locked_file *file, uint32_t open);
