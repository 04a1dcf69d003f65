/*
 * Live tests of the kernel's three kinds of file locks.
 */
#pragma once

enum lock_kind {
	LOCK_KIND_RECORD, /* F_SETLK */
	LOCK_KIND_OFD,    /* F_OFD_SETLK */
	LOCK_KIND_FLOCK,  /* flock(2) */
	LOCK_KIND_COUNT,
};

/* What somebody was told who asked for a lock: 0 granted, else a negative
 * errno: -EAGAIN refused. */
struct lock_trials {
	/* With nobody else there. */
	int alone[LOCK_KIND_COUNT];
	/* Held by the first kind, another process asks for the second. */
	int other_process[LOCK_KIND_COUNT][LOCK_KIND_COUNT];
	/* Of the same kind, by a second open in the process that holds it. */
	int second_open[LOCK_KIND_COUNT];
};

const char *lock_kind_name(enum lock_kind kind);

/* Tries all of them on a file made in `folder`, and removed again.  0, or a
 * negative errno if the file cannot be made. */
int probe_locks(const char *folder, struct lock_trials *ret);
