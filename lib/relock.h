/*
 * librelock: named locks on Linux.
 *
 * Words.  A lock has a name in a store; it is held in a mode (exclusive or
 * shared) by a holder, others are waiters; the holder may leave an info text;
 * each exclusive grant has a token that only grows.  A store is named by a
 * URL, "ofd:/run/relock" for example; relock(1) has the list.
 *
 *	relock_store *store = NULL;
 *	relock_lock *lock = NULL;
 *	struct relock_request request = RELOCK_REQUEST_INIT;
 *
 *	request.timeout = 5 * RELOCK_SECOND;
 *	if (relock_store_open(&store, NULL) == 0 &&
 *	    relock_lock_open(&lock, store, "backup") == 0 &&
 *	    relock_acquire(lock, &request) == 0) {
 *		...
 *		relock_release(lock);
 *	}
 *	relock_lock_close(lock);
 *	relock_store_close(store);
 *
 * Conventions.  Functions return 0 or a negative errno; what they give back
 * through `ret` parameters is set on success and untouched on failure.  The
 * library prints nothing unless RELOCK_DEBUG is set in the environment (1: on
 * standard error, anything else: appended to the file of that name).  Times
 * are nanoseconds: durations as int64_t, moments as int64_t since the epoch.
 *
 * Threads.  All functions may be called from any thread at any time.  Two
 * threads that shall exclude each other use two handles (they are cheap: one
 * descriptor each); one handle is one holder, whatever the thread.  Functions
 * that wait are cancellation points while they wait, and only then; a
 * cancelled wait leaves the lock as it was before the call.
 *
 * Fork.  After fork(2) the child's handles hold nothing: their descriptors
 * are closed in the child before fork returns there, so a parent's lock ends
 * with the parent.  Handles acquired with RELOCK_INHERIT are the exception:
 * they stay, in the child and across execve, and the lock is free when one of
 * them releases it, or the last process that has the descriptor is gone.  A child made by a raw
 * clone(2) or by vfork(2) shares what the parent has until it calls execve.
 *
 * Signals.  No signal handler is installed, no child is made, no signal mask
 * changed.  None of these functions is async-signal-safe.
 */
#ifndef RELOCK_H
#define RELOCK_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RELOCK_SECOND      INT64_C(1000000000)
#define RELOCK_MILLISECOND INT64_C(1000000)

/* A timeout: wait however long it takes. */
#define RELOCK_FOREVER INT64_C(-1)

/* Longest info text, in bytes. */
#define RELOCK_INFO_MAX 4096
/* Longest name, in bytes. */
#define RELOCK_NAME_MAX 255

typedef struct relock_store relock_store;
typedef struct relock_lock relock_lock;

enum relock_mode {
	RELOCK_EXCLUSIVE = 0,
	RELOCK_SHARED = 1,
};

/* Stores */

/*
 * Opens a store.  `url` is SCHEME:REST, for example "ofd:/run/relock", or "sem:"; NULL
 * stands for the default store, see relock_store_default().  The store is
 * owned by the caller and ended with relock_store_close().
 *
 * -EPROTONOSUPPORT  no such scheme in this build
 * -EINVAL           not a URL, or nothing after the scheme (of `sem:`: something)
 * -ENOENT -ENOTDIR  the folder is missing, or is no folder
 * -ELOOP            the folder is a symbolic link
 * -EPERM            the folder belongs to another user, or everybody may
 *                   rename what is in it (world-writable, not sticky): who
 *                   can swap the lock file can break every lock
 * -EACCES -EMFILE -ENFILE -ENOMEM  as open(2)
 */
int relock_store_open(relock_store **ret, const char *url);

/*
 * Ends a store.  Its handles must have been closed before.  NULL is allowed.
 */
void relock_store_close(relock_store *store);

/* The store's URL.  Owned by the store. */
const char *relock_store_url(const relock_store *store);

/*
 * Which store is the default, and why: $RELOCK_STORE; else
 * ofd:/tmp/relock-UID if that folder exists; else ofd:/run/relock (made, mode
 * 1777, if the caller is root); else ofd:/tmp/relock-UID, which is made.
 * `ret_url` and `ret_why` (may be NULL) are to be freed by the caller.
 *
 * -EPERM   /tmp/relock-UID exists, but is not a folder of the caller's own
 *          with mode 0700
 * -ENOMEM, and errors of mkdir(2)
 */
int relock_store_default(char **ret_url, char **ret_why);

/*
 * Removes files of locks that have been free for at least `age` nanoseconds,
 * with their history; each under its lock, so nobody can be about to take it.
 * Files that are not ours, or not ours to remove, stay.  Stores do this by
 * themselves for files of RELOCK_HISTORY_AGE, now and then, when a new lock
 * file is made.  `ret_removed` may be NULL.
 *
 * -EINVAL for a negative age, and errors of opendir(3).
 */
int relock_store_prune(relock_store *store, int64_t age, size_t *ret_removed);

/* Ten days. */
#define RELOCK_HISTORY_AGE (INT64_C(10) * 24 * 3600 * RELOCK_SECOND)

/* Handles */

/*
 * Makes a handle for the lock `name` in `store`.  Nothing is acquired, and no
 * file made.  The handle is owned by the caller; the store must outlive it.
 *
 * -EINVAL        empty, or has '/', a control character, or a leading '.'
 * -ENAMETOOLONG  more than RELOCK_NAME_MAX bytes
 * -ENOMEM
 */
int relock_lock_open(relock_lock **ret, relock_store *store, const char *name);

/*
 * As relock_lock_open(), for the way people name locks on a command line: a
 * name that begins with '/', './' or '../' is a path, the lock file of that
 * name in that folder, in a store of the default scheme that the handle
 * itself owns.  Any folder will do that the caller can create files in, as
 * with flock(1).  Other names are in `store`; NULL: the default store, again
 * owned by the handle.
 *
 * Errors of relock_store_open() and relock_lock_open().
 */
int relock_lock_open_path(relock_lock **ret, relock_store *store, const char *name_or_path);

/*
 * Gives the lock back if it is held through this handle, as relock_leave()
 * does, and ends the handle.  NULL is allowed.
 */
void relock_lock_close(relock_lock *lock);

const char *relock_lock_name(const relock_lock *lock);
relock_store *relock_lock_store(const relock_lock *lock);

/* Acquire and release */

/* The descriptor of the lock stays open in children and across execve, and
 * with it the hold. */
#define RELOCK_INHERIT 0x1u
/* Acquiring what this handle holds already, in the same mode, succeeds
 * (resourcelock's same_process_ok) instead of -EALREADY, and changes nothing. */
#define RELOCK_SAME_HOLDER_OK 0x2u
/* With a lifetime: the library refreshes the hold by itself while this process
 * lives, so that only a holder that is dead, stopped or cut off loses it. */
#define RELOCK_REFRESH 0x4u

/* How a hold is made for somebody else; see struct relock_on_behalf. */
enum relock_via {
	RELOCK_VIA_NONE = 0,
	RELOCK_VIA_MOUNT = 1, /* held by relockfs for a process that has NAME open */
	RELOCK_VIA_GET = 2,   /* held by the background holder of `relock get` */
};

/*
 * For a program that holds locks for others: who the holder is, as the record
 * shall show it, and how to ask for the lock back.  All strings are copied.
 */
struct relock_on_behalf {
	enum relock_via via;
	pid_t pid;           /* the holder; 0: not known (another pid namespace) */
	uint64_t start_time; /* field 22 of /proc/PID/stat; 0: not known */
	uid_t uid;
	const char *command; /* NULL: not known */
	const char *path;    /* RELOCK_VIA_MOUNT: the mount point, else NULL */
	/* Who has the descriptor, if several processes share a table of them
	 * (CLONE_FILES) and this one may end before the hold does; 0: the caller. */
	pid_t keeper_pid;
	uint64_t keeper_start_time;
};

struct relock_request {
	size_t size; /* sizeof(struct relock_request); programs compiled before a
		      * member was there have a smaller one, and it counts as 0 */
	enum relock_mode mode;
	unsigned flags;
	int64_t timeout;  /* 0: at once or not at all; RELOCK_FOREVER; else ns */
	const void *info; /* NULL: none */
	size_t info_length;
	const char *command;                      /* what the holder runs; NULL: its command line */
	const struct relock_on_behalf *on_behalf; /* NULL: the caller itself */
	/* Nanoseconds; 0: as the store thinks fit.  See relock_refresh(). */
	int64_t lifetime;
};

/* Exclusive, and however long it takes. */
#define RELOCK_REQUEST_INIT                                                                        \
	{                                                                                          \
		sizeof(struct relock_request), RELOCK_EXCLUSIVE, 0, RELOCK_FOREVER, NULL, 0, NULL, \
			NULL, 0                                                                    \
	}

/*
 * Acquires the lock.
 *
 * A timed wait ends within 10 ms of its deadline and costs no processor time;
 * it is a thread of its own that waits in the kernel, because an open file
 * description's lock may be taken by any thread that has the descriptor.  The
 * order of waiters is the kernel's.
 *
 * The lock is granted even where its record cannot be written (no space, a
 * file with other contents, one that the caller may only read): then nobody
 * sees the info, and relock_token() says -ENODATA.
 *
 * -EAGAIN     held by another, and timeout is 0
 * -ETIMEDOUT  held by another until the deadline
 * -EALREADY   this handle holds it (in whatever mode; see relock_convert())
 * -EBUSY      another thread is waiting with this handle
 * -ESTALE     this handle held it, and it was broken; now it holds nothing
 * -EINTR      a signal handler ran while it waited, and was not installed with
 *             SA_RESTART (with a timeout, and in `link:` and `sem:`, in any case), as
 *             flock(2)
 * -EINVAL     a timeout below -1, an unknown mode or flag, a size of 0, a
 *             lifetime below 0
 * -EOPNOTSUPP a mode or a flag that this store cannot have; relock-stores(7)
 * -EFBIG      info of more than RELOCK_INFO_MAX bytes
 * -ELOOP -EISDIR  the lock file is a symbolic link, or a folder
 * -EBADF      the lock file is a FIFO, a socket or a device
 * -EACCES     no right to create or write it
 * -EROFS -ENOSPC -EDQUOT  it does not exist and cannot be made (or, for an
 *             exclusive `ofd:` lock, not be opened for writing)
 * -EMFILE -ENFILE -ENOMEM -ENOLCK -EIO  as open(2) and fcntl(2)
 */
int relock_acquire(relock_lock *lock, const struct relock_request *request);

/*
 * Takes up a hold that a handle of another process has made, or of this one
 * before execve(2), and whose open file description has come here: by
 * inheritance, SCM_RIGHTS, or a shared table of descriptors.  `fd` is a
 * descriptor of it (relock_lock_fd()); it belongs to the handle from then on,
 * and is closed if this fails.  Record, token and info go on as they are; the
 * request says how it is held (mode, flags) and for whom (on_behalf).  Two
 * handles must not go on with one hold: the other must be gone, or be left alone.
 *
 * -ESTALE    `fd` does not hold the lock of that name: it was broken, or given
 *            back, or the lock's file is another one now
 * -EALREADY -EBUSY -EINVAL -EFBIG -ENOMEM  as relock_acquire()
 */
int relock_adopt(relock_lock *lock, int fd, const struct relock_request *request);

/*
 * Changes the mode of a lock that this handle holds.  To shared: at once, and
 * never without the lock in between (`ofd:`; flock(2) does not promise that).
 * To exclusive: waits up to `timeout` for the other holders to leave; after
 * an error the lock is held in the mode it had.  Two holders that both want to
 * go from shared to exclusive wait for each other: use a timeout.
 *
 * -ENOENT -EPERM -ESTALE as relock_release(); -EAGAIN -ETIMEDOUT -EINTR -EBUSY
 * -EINVAL as relock_acquire(); -EACCES for an `ofd:` file that may only be read
 */
int relock_convert(relock_lock *lock, enum relock_mode mode, int64_t timeout);

/*
 * Gives the lock back, and records the time.  A hold with RELOCK_INHERIT is
 * given back for all processes that share it; they learn of it as of a break.
 *
 * -ENOENT  not held: nobody holds it
 * -EPERM   not held through this handle: somebody else holds it
 * -ESTALE  it was held, and somebody has broken it (relock_break()); the
 *          handle holds nothing now
 */
int relock_release(relock_lock *lock);

/*
 * Makes the hold last for `lifetime` nanoseconds from now; 0: for as long as at
 * its acquisition.
 *
 * A store whose lock the kernel frees when its holder ends (`ofd:`, `flock:`,
 * `sem:`) has no lifetimes: there the request's lifetime means nothing, and this
 * is relock_check().  In `link:` and its like a hold ends at its lifetime's end:
 * anybody may break it then, whether its holder lives or not.  A request with
 * lifetime 0, the initial value, gets the store's own (15 s for `link:`),
 * refreshed as with RELOCK_REFRESH, so that a program that knows nothing of
 * lifetimes keeps its locks; one with a lifetime must be refreshed, by this call
 * or by RELOCK_REFRESH, before that is over.
 *
 * -ENOENT -EPERM -ESTALE -EBUSY as relock_release(); -EINVAL for a negative
 * lifetime; errors of utimensat(2), after which the old lifetime stands
 */
int relock_refresh(relock_lock *lock, int64_t lifetime);

/*
 * Ends this process's part in a hold made with RELOCK_INHERIT: as
 * relock_release(), but processes that have inherited the descriptor keep the
 * lock until the last of them has closed it.  What a program does that ran a
 * command under a lock, as flock(1): a daemon that the command has left behind
 * still holds it.  Without RELOCK_INHERIT: the same as relock_release().
 *
 * -ENOENT -EPERM -ESTALE as relock_release()
 */
int relock_leave(relock_lock *lock);

/*
 * Passes the lock on to another holder on whose behalf the same process holds
 * it, without it being free in between: a new grant, with a new token and a
 * new record.  For programs like relockfs.  The request's timeout and flags
 * are not looked at; its mode must be that of the hold.
 *
 * -ENOENT -EPERM -ESTALE -EBUSY as relock_release() and relock_acquire(); -EINVAL
 * -EFBIG -ENOMEM as relock_acquire()
 */
int relock_pass(relock_lock *lock, const struct relock_request *request);

/*
 * Says in the record that this hold is about to be ended by somebody else's
 * will, and by whose; the release that follows leaves that as it is, and so
 * does a crash. For programs that hold on others' behalf, and are asked to give
 * back. `command` may be NULL.
 *
 * -ENOENT -ESTALE as relock_check(); errors of pwrite(2)
 */
int relock_mark_broken(relock_lock *lock, pid_t pid, uid_t uid, const char *command);

/*
 * Does this handle still hold the lock?  Two cheap system calls.
 *
 * 0, -ENOENT (holds nothing), -ESTALE (it was broken, or its file was removed
 * or replaced by somebody, so that the next holder locks another one).
 */
int relock_check(relock_lock *lock);

/*
 * Sets the info text of a lock that this handle holds.  It is bytes, not a
 * string; whatever it holds is escaped where it is shown.
 *
 * -ENOENT -EPERM -ESTALE as relock_release(); -EFBIG; -ENODATA where the lock
 * has no record; -EBUSY while another thread converts it; errors of pwrite(2),
 * after which the old text stands
 */
int relock_set_info(relock_lock *lock, const void *info, size_t length);

/*
 * The info text of the present hold, which has come with relock_adopt() or been
 * set; with a NUL after it, to be freed by the caller.
 *
 * -ENOENT (holds nothing), -ENODATA (no record, or an empty text), -ENOMEM
 */
int relock_info(const relock_lock *lock, char **ret, size_t *ret_length);

/*
 * The token of the present hold: larger than that of any earlier exclusive
 * grant of this lock, max(previous + 1, microseconds since the epoch).  What a hold
 * gets that was broken in the moment of its grant may be larger than the next one's,
 * so it is not told.
 *
 * -ENOENT (holds nothing), -ENODATA (a shared hold, or one whose record could
 * not be written: such a token would not be sure to grow), -ESTALE (it was broken;
 * the release will say so, too)
 */
int relock_token(const relock_lock *lock, uint64_t *ret);

/*
 * A descriptor of the lock file, on the open file description that holds the
 * lock; -1 if none is open.  Owned by the handle; for relock_region() and for
 * passing the hold to another process (SCM_RIGHTS, execve).  In `link:` it is one
 * of the claim file, and by itself holds nothing: relock_adopt() by it takes the
 * hold from whoever has it.
 */
int relock_lock_fd(const relock_lock *lock);

/*
 * Acquires, calls function(argument), releases; the release happens on every
 * way out: return, C++ exception, pthread_exit, cancellation.  (longjmp out
 * of it is the exception: C has no way to see it.)  `ret_result` (may be NULL)
 * gets what the function returned.
 *
 * Errors of relock_acquire(), then the function was not called; -ESTALE if the
 * lock was broken meanwhile, then it was.
 */
int relock_critical_section(relock_lock *lock, const struct relock_request *request,
			    int (*function)(void *argument), void *argument, int *ret_result);

/* Looking */

/*
 * The last three are of stores without a lock of the kernel's.  flufl.lock tells
 * six states apart: unlocked, ours, ours expired, theirs expired, stale, and
 * unknown; `ours` of struct relock_status tells whose an expired lock is.
 */
enum relock_state {
	RELOCK_FREE = 0,
	RELOCK_HELD = 1,    /* its holder lives, as far as can be seen */
	RELOCK_EXPIRED = 2, /* its lifetime is over: whoever wants it will break it */
	RELOCK_STALE = 3,   /* its holder ran on this host, and is gone */
	RELOCK_UNKNOWN = 4, /* held; whether its holder lives cannot be seen from here */
};

enum relock_end {
	RELOCK_END_NONE = 0,     /* not known: no history */
	RELOCK_END_RELEASED = 1, /* given back by its holder */
	RELOCK_END_DIED = 2,     /* the holder ended without giving it back */
	RELOCK_END_BROKEN = 3,   /* relock_break() */
};

/* Why a holder has no pid. */
enum relock_presence {
	RELOCK_PRESENT = 0,      /* it has one, or nothing is known */
	RELOCK_OUT_OF_SIGHT = 1, /* in a pid namespace that cannot be seen from here */
	RELOCK_ENDED = 2,        /* others have the descriptor that it left */
	RELOCK_HANDED_ON = 3,    /* it has closed the descriptor, and others have it */
};

struct relock_kernel_process;

/*
 * Who holds, or held, a lock.  Where the process runs on this host and boot,
 * and in this pid namespace, a pid stands here only if a process of that pid
 * *and* start time exists and holds the lock; a recycled pid never does.
 *
 * Whoever acquired a lock through a mount may have left the descriptor to
 * others, by fork(2) or over a socket: then `opener` is who acquired it, and
 * `open_by` who has it open now, as far as the mount was asked.
 */
struct relock_holder {
	enum relock_mode mode;
	pid_t pid; /* 0: see `presence` */
	enum relock_presence presence;
	pid_t opener;           /* RELOCK_ENDED, RELOCK_HANDED_ON; 0: not known */
	uint64_t pid_namespace; /* if another: its inode, as in /proc/PID/ns/pid; 0: not known */
	pid_t namespace_pid;    /* the holder's pid there; 0: not known */
	struct relock_kernel_process *open_by; /* NULL: not looked for */
	size_t open_by_count;                  /* 0: nobody that can be seen */
	uint64_t start_time; /* clock ticks since boot, field 22 of /proc/PID/stat; 0: not known */
	int64_t started;     /* the same as a moment; 0: not known */
	uid_t uid;           /* (uid_t)-1: not known */
	char *user;          /* its name, or its number as text; NULL: not known */
	char *host;          /* NULL: not known */
	char *command;       /* NULL: not known */
	char *via;           /* who holds it for them, as text; NULL: nobody */
	enum relock_via via_kind;
	pid_t via_pid;
	char *via_path;
	int64_t since;  /* when granted; 0: not known */
	uint64_t token; /* 0: none */
	char *info;     /* bytes, NUL-terminated; NULL: none */
	size_t info_length;
};

struct relock_status {
	char *name;
	char *store; /* URL */
	enum relock_state state;
	enum relock_mode mode; /* of a held lock */
	int64_t now;           /* when this was looked at */
	size_t holder_count;   /* 0 for a held lock: no holder can be seen from here */
	struct relock_holder *holders;
	size_t waiter_count; /* all of them */
	size_t waiter_pid_count;
	pid_t *waiter_pids; /* those that can be seen, in the order they came as far as known */
	enum relock_end last_end; /* of a free lock; RELOCK_END_NONE: no history */
	struct relock_holder last;
	int64_t last_end_time; /* 0: not known */
	pid_t broken_by_pid;
	uid_t broken_by_uid;
	char *broken_by_command;
	int ours;        /* held by this process */
	int64_t expires; /* the moment of its lifetime's end; 0: it has none */
	char *look_at;   /* a file that a person should look at: why is in `why` */
	char *why;       /* NULL, as `look_at`: all is well */
	int has_value;   /* `sem:` only: the semaphore's value follows */
	unsigned value;  /* 0: held; 1: free */
};

/*
 * Looks at a lock, without disturbing anybody.  `ret` is freed with
 * relock_status_free().  A name that nobody ever locked is free.
 *
 * Errors of relock_lock_open(), and of open(2) except ENOENT.
 */
int relock_status(relock_store *store, const char *name, struct relock_status **ret);

/* The same of the lock that a handle is for. */
int relock_lock_status(relock_lock *lock, struct relock_status **ret);

/*
 * For programs that hold for others, and are asked for the state of what they
 * hold again and again: nobody else waits for the lock that this handle holds, as
 * far as the last look at any lock of its store (relock_status(), relock_list(),
 * in this process) has seen, no longer than `age` nanoseconds ago.  Costs no
 * system call, where a look may take milliseconds: the kernel's list of those who
 * wait is dear to read.  Looks leave behind what they see from the first such
 * question on, so that is answered -EAGAIN.
 *
 * 0, -EAGAIN (somebody waits, or it is not known: look), -ENOENT (holds nothing)
 */
int relock_nobody_waits(relock_lock *lock, int64_t age);

void relock_status_free(struct relock_status *status);

/*
 * The status of every lock of a store, sorted by name; of those held only, or
 * with RELOCK_LIST_FREE of those free too.  Freed with relock_list_free().
 *
 * Errors of opendir(3), -ENOMEM
 */
#define RELOCK_LIST_FREE 0x1u
int relock_list(relock_store *store, unsigned flags, struct relock_status ***ret,
		size_t *ret_count);
void relock_list_free(struct relock_status **list, size_t count);

/*
 * What state looks like, everywhere: one "key: value" a line, in the order of
 * the manual, values escaped so that one line stays one line.  The callback
 * gets each pair; `number` is not 0 where JSON has a number.  Its result ends
 * the walk if it is not 0, and is returned.
 */
struct relock_pair {
	const char *key;
	const char *value; /* escaped text */
	int is_number;
	size_t holder; /* which holder it belongs to, from 1; 0: the lock */
};
int relock_status_each(const struct relock_status *status,
		       int (*callback)(const struct relock_pair *pair, void *argument),
		       void *argument);

/* All pairs as one text, to be freed by the caller.  -ENOMEM */
int relock_status_text(const struct relock_status *status, char **ret);

/*
 * Escapes bytes for a terminal and for one line: control characters, invalid
 * UTF-8 and backslashes become \n, \t, \\ or \xHH.  To be freed by the caller;
 * NULL without memory.
 */
char *relock_escape(const void *bytes, size_t length);

/* Breaking */

/*
 * Frees a lock whoever holds it, without ending the holder, who learns of it
 * at its next release or check.  Shared locks lose all holders.  A hold made
 * on somebody's behalf is broken by asking the process that holds it.  Needs
 * the rights of ptrace(2) over the holder, or those to ask it.
 *
 * `ret_broken` (may be NULL) gets the status before; to be freed.
 *
 * -ENOENT  nobody holds it
 * -EPERM   no rights over a holder; `ret_broken` is set all the same, so that
 *          it can be named
 * -ESRCH   the holder cannot be seen from here (no /proc, another pid
 *          namespace); `ret_broken` likewise
 * -ENOSYS  a kernel without pidfd_getfd(2) (before 5.6)
 * -EOPNOTSUPP  a legacy record lock, which only its process can give back
 * -ETIMEDOUT  who holds it on somebody's behalf did not give it back in 5 s
 * -EAGAIN  `link:`, `nfslock:`: somebody else has begun to remove it, and has not
 *          gone on for a second; the message says who, and which files to look at
 */
int relock_break(relock_store *store, const char *name, struct relock_status **ret_broken);
int relock_lock_break(relock_lock *lock, struct relock_status **ret_broken);

/*
 * The same by a program that somebody else has asked for it, as relockfs is by
 * rm(1): it is that one whom the record names.  Whether they may is for the
 * program to decide; the rights needed are the caller's.  `command` may be NULL.
 */
int relock_break_for(relock_store *store, const char *name, pid_t pid, uid_t uid,
		     const char *command, struct relock_status **ret_broken);

/*
 * Asks the background holder of `relock get` to give the lock back.
 *
 * -ENOENT  nobody holds it
 * -EPERM   it is held otherwise, or not by a process the caller may signal;
 *          `ret_holder` (may be NULL) is set all the same
 * -ETIMEDOUT  it did not give it back in 5 s
 */
int relock_unget(relock_lock *lock, struct relock_status **ret_holder);

/* Regions */

enum relock_region_operation {
	RELOCK_REGION_LOCK = 0,   /* F_LOCK, and within a timeout */
	RELOCK_REGION_TRY = 1,    /* F_TLOCK */
	RELOCK_REGION_UNLOCK = 2, /* F_ULOCK */
	RELOCK_REGION_TEST = 3,   /* F_TEST */
};

/*
 * lockf(3)'s four operations on a byte range of the caller's own file, by an
 * open-file-description lock: exclusive, seen by every record lock on the
 * file, kept when another descriptor of the file is closed.  `fd` must be open
 * for writing (but for the test).  `start` is from the file's start (lockf's
 * is lseek(fd, 0, SEEK_CUR)); `length` 0 is to the end however far it grows,
 * negative are the bytes before `start`.  `timeout` counts for
 * RELOCK_REGION_LOCK only.
 *
 * -EAGAIN     held by another open file description or process (TRY, TEST, or a
 *             timeout of 0)
 * -ETIMEDOUT  until the deadline; the range is locked as it was before
 * -EBADF -EINVAL -EOVERFLOW -ENOLCK -EINTR -EDEADLK  as fcntl(2)
 */
int relock_region(int fd, enum relock_region_operation operation, off_t start, off_t length,
		  int64_t timeout);

/* Every lock the kernel knows */

enum relock_kernel_type {
	RELOCK_KERNEL_POSIX = 0, /* legacy record lock */
	RELOCK_KERNEL_OFD = 1,
	RELOCK_KERNEL_FLOCK = 2,
	RELOCK_KERNEL_LEASE = 3,
};

struct relock_kernel_lock {
	enum relock_kernel_type type;
	enum relock_mode mode;
	uint64_t start;
	uint64_t end; /* last byte, inclusive; INT64_MAX: to the end of the file */
	unsigned major, minor;
	uint64_t inode;
	char *path;          /* NULL: not known */
	size_t holder_count; /* 0: out of sight; more than 1: they share the description */
	struct relock_kernel_process *holders;
	size_t waiter_count; /* all of them */
	size_t waiter_pid_count;
	struct relock_kernel_process *waiters; /* those in sight */
};

struct relock_kernel_process {
	pid_t pid;
	int fd; /* -1: not known */
	uid_t uid;
	char *command;
};

/*
 * Every lock of /proc/locks, with the processes that really hold it, found in
 * /proc/PID/fdinfo, and those that wait for it, found in /proc/PID/syscall.
 * Another user's processes show only to the privileged.  With a `path`: only
 * those on that file.  To be freed with relock_kernel_locks_free().
 *
 * -ENOENT and so on of stat(2) on the path; -ENOSYS without /proc; -ENOMEM
 */
int relock_kernel_locks(const char *path, struct relock_kernel_lock **ret, size_t *ret_count);
void relock_kernel_locks_free(struct relock_kernel_lock *locks, size_t count);

/* Messages */

/*
 * Why the last failed call of this thread failed, as one line for a person:
 * what, on which lock or file, and what to do.  Escaped.  Owned by the
 * library, until the thread's next call of it; "" if there is none.
 */
const char *relock_error_message(void);

/*
 * A function that is told what the library does, a line at a time, instead of
 * where RELOCK_DEBUG says.  NULL: back to that.  It may be called from any
 * thread, and must not call the library.
 */
void relock_set_log(void (*log)(const char *line, void *argument), void *argument);

/* "0.1.0" */
const char *relock_version(void);

#ifdef __cplusplus
}
#endif

#endif
