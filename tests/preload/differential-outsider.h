/*
 * What an outsider sees of the files: somebody who was never under the shim,
 * and whom locks of both kinds are in the way of.  F_OFD_GETLK tells it of each
 * byte, with the range that the kernel has made of the lock.
 */
#pragma once

#include "differential-model.h"
#include "differential-run.h"

/* False, and a difference, unless it is what the model says. */
bool outsider_check(const struct cast *cast, const struct model *model, struct difference *ret);
/* Both views of all files, for the reader of a difference. */
void outsider_print(const struct cast *cast, const struct model *model, struct difference *ret);

enum { WORDS_SIZE = 120 };
void flock_print(const struct flock *lock, char words[WORDS_SIZE]);
