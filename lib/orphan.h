/*
 * Holders of a lock file that has lost its name.
 */
#pragma once

#include "lock-file.h"

/*
 * The open lock file is new, or not ours: is there a holder, in whatever mode,
 * of a file that had this name before?  If so, `ret_fd` is a descriptor of that file, on an open
 * file description of its own.  0, -ENOENT if there is none in sight.
 */
int orphan_find(struct file_store *store, const char *name, const struct file_lock *file,
		int *ret_fd);
