/* Which file systems want the legacy calls. */
#pragma once

#include <stdbool.h>

/* FUSE, CIFS and 9p.  False for a descriptor that cannot be looked at: the
 * lock call itself will say what is wrong with it. */
bool shim_filesystem_keeps_legacy(int fd);

/* True if an unlock through `fd` finds no legacy lock for certain, so that one
 * need not look at the file system.  False is always right. */
bool shim_filesystem_has_no_legacy_lock(int fd);
