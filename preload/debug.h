/*
 * RELOCK_DEBUG and RELOCK_TRACE: one line for each lock call, for people and
 * for programs.
 *
 *	relock: python3[812] fd 3 /srv/db: fcntl(F_SETLK) write 0-EOF = ok (ofd)
 *	relock: python3[812] fd 3 /srv/db: lockf(F_TLOCK) write 0-9 = EAGAIN (ofd)
 *	relock: dpkg[900] fd 4 /srv/db: fcntl(F_GETLK) write 0-9 = held: write 0-EOF by 812 (ofd)
 *
 *	{"time":"2026-11-21T05:20:11.123456Z","program":"python3","pid":812,"tid":812,"fd":3,
 *	 "path":"/srv/db","call":"fcntl(F_SETLK)","type":"write","first":0,"last":null,
 *	 "result":"ok","semantics":"ofd"}
 *
 * A wait that ends in thread cancellation or in siglongjmp() prints none: it
 * never comes back here.
 */
#pragma once

#include <fcntl.h>
#include <stdbool.h>

#include "settings.h"

struct shim_debug_call {
	const struct shim_settings *settings;
	const char *name;      /* "fcntl(F_SETLK)" */
	const char *semantics; /* how it was carried out */
	int fd;
	const struct flock *request; /* the program's */
	struct flock before;         /* what stood there when it called */
	bool is_readable;            /* ... if it could be read */
	bool is_question;            /* F_GETLK: the answer is in *request */
	int result;                  /* 0 or a negative errno */
};

/* Notes what is asked for, before the answer overwrites it. */
void shim_debug_begin(struct shim_debug_call *call);
/* Writes the lines. */
void shim_debug_end(struct shim_debug_call *call);

/* A line of its own, if either is set. */
void shim_debug_note(const char *note);
