/*
 * Asking the mounts of a store what only they know of its locks (mount-look.h in
 * lib/): who waits there, and who has inherited a hold.
 *
 * Any user may mount a store that they can see, and their daemon may answer what
 * it likes, or not at all.  So what it says is bounded and escaped, counts only for
 * waiters, and for holds that the store's record proves to be that daemon's own;
 * which processes are the daemon, itself it does not prove: those of whoever mounted
 * it may be, and no others.  And a child asks (courier.h).
 */
#pragma once

#include <mount-look.h>
#include <stdbool.h>
#include <stddef.h>

/* What a mount has told about one of the names; `pages` are of one moment, unless
 * the lock changes all the time.  `folder` is the mount's; `in_sight`: its pids are
 * of our namespace, and those that it calls the daemon its owner's. */
typedef void mount_told(size_t name, const struct mount_look *pages, size_t page_count,
			const char *folder, bool in_sight, void *argument);

/*
 * Asks each mount of the store that can be seen about each of the names, and calls
 * back for those that it knows something of; a mount that is to be seen in two
 * places answers once.  One that does not answer is complained of, and not asked
 * again by this process.
 */
void ask_mounts(const char *store, const char *const names[], size_t count, mount_told *told,
		void *argument);
