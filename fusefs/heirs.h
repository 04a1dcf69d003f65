/*
 * Who has a lock now that its opener has not.
 *
 * A hold belongs to an open file description, and whoever opened it may leave
 * it to others: by ending while a child has the descriptor, or by passing it
 * over a socket and closing its own.  The kernel tells a FUSE server of neither.
 * It is seen in /proc: the mount's device and the entry's number are what the
 * descriptors of all processes are compared with.
 *
 * A descriptor tells its file and its access mode, and not which description
 * of the file it belongs to.  So a process is an heir if it has more
 * descriptions of that access open than it has opened itself, of those that
 * the mount knows to belong to somebody else: a `tail` that looks at the lock
 * is no heir.
 *
 * To walk through all of /proc takes tens of milliseconds on a busy machine,
 * and is done only for a hold whose opener has it no more.  That the opener has
 * it is looked at where it was remembered to have it, and in between by sight.h.
 */
#pragma once

#include <stdbool.h>

#include "entry.h"
#include "sight.h"

struct heir {
	pid_t pid;
	char command[16];
};

/* What a search has found out about a hold whose opener does not have it. */
struct heirs {
	enum relock_presence presence; /* RELOCK_ENDED or RELOCK_HANDED_ON */
	bool complete;                 /* all of /proc was seen */
	size_t count;
	struct heir list[];
};

struct heir_search;

/* Session thread: takes what the search has to know.  NULL without memory, or
 * if nobody holds the entry. */
struct heir_search *heir_search_new(const struct mount *mount, const struct entry *entry);
/* It shall leave a sight of its first holder. */
void heir_search_want_sight(struct heir_search *search);

/* Any thread. */
void heir_search_run(struct heir_search *search);

/* Session thread: remembers what was found in the handles that still hold; frees
 * the search.  NULL is allowed. */
void heir_search_finish(const struct mount *mount, struct sights *sights,
			struct heir_search *search);
