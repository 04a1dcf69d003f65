/*
 * What the players are doing, as /proc shows it, for the reader of a
 * difference: a newcomer that does not come, or a call that does not return,
 * is somewhere, or has ended somehow.
 */
#pragma once

#include "differential-cast.h"

/* All players, a line for each thread, or for the end of a process. */
void witness_print(const struct cast *cast, char *text, size_t size);
