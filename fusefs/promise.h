/*
 * ESTALE, once.
 *
 * The kernel holds the lock of the parent directory while it waits for the
 * answer to CREATE, so CREATE must not wait.  If the lock was taken between a
 * program's LOOKUP and its CREATE, the answer is ESTALE: upon that the kernel
 * looks the name up again (do_filp_open(), with LOOKUP_REVAL), once, and a
 * positive answer brings it back with OPEN, which may wait.  By then the lock
 * may be free again; a negative answer would lead to CREATE again, and a second
 * ESTALE to the user.  So a thread that was told ESTALE about a name is promised
 * that the name will be there.
 *
 * A promise is kept until the thread opens the name; until then the thread
 * does nothing but this.  If it is killed first, its promise lapses.
 *
 * OPEN for reading of a lock that has just been released uses the same way
 * back: then it is ENOENT, or the CREATE of a flock(1), that follows.
 *
 * Threads that cannot be seen from the daemon's pid namespace are all number 0,
 * and one's promise cannot be told from another's.  Theirs are counted for each
 * name: each that opens it to hold the lock is taken to be one that was promised
 * it.  Those who only look are promised nothing, and answered no ESTALE: they
 * open a lock that is free.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct ledger;
struct promises;

/* Those in the ledger (may be NULL) go on.  NULL without memory. */
struct promises *promises_new(struct ledger *ledger);
void promises_free(struct promises *promises);

/* The thread may be answered ESTALE about this name, and has been promised to
 * find it.  False: it has had its ESTALE, or there is no memory. */
bool promise_make(struct promises *promises, pid_t thread, uid_t uid, const char *name);

/* The name was promised to this thread. */
bool promise_holds(const struct promises *promises, pid_t thread, uid_t uid, const char *name);

/* The thread has opened the name, or been told something final. */
void promise_end(struct promises *promises, pid_t thread, uid_t uid, const char *name);
