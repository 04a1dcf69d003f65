/*
 * The folder .history: the last holder of a lock that is free, and its info.
 *
 * A lock's record is that of its last hold, until the next one overwrites it;
 * so NAME is here exactly while the lock is free and somebody has held it, by
 * the mount or outside it.  While it is held, /locks/NAME is there instead.
 * Free locks are forgotten after a time (RELOCK_HISTORY_AGE).
 *
 * Nothing here can be written, removed or locked.
 */
#pragma once

#include "server.h"

/* LOOKUP of a name in the folder. */
void history_lookup(fuse_req_t request, const char *name);
/* OPEN of a file there. */
void history_open(fuse_req_t request, struct entry *entry, struct fuse_file_info *info);
/* The entry of such a name, as entry_find(). */
struct entry *history_find(const struct mount *mount, const char *name);

/* -ENOENT unless it is the status of a free lock that has a history. */
int history_check(const struct relock_status *status);
/* Frees those of a list of which that is not so; how many are left. */
size_t history_keep(struct relock_status **list, size_t count);
