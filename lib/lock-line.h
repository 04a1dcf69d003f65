/*
 * One line of /proc/locks, or one `lock:` line of /proc/PID/fdinfo/FD.
 *
 * Both are printed by the kernel's lock_get_status() (fs/locks.c):
 *
 *	1: OFDLCK  ADVISORY  WRITE -1 fe:00:1234 0 EOF
 *	1: -> OFDLCK  ADVISORY  WRITE -1 fe:00:1234 0 EOF
 *
 * with "lock:\t" before it in fdinfo.  The second form is a waiter, blocked on
 * the first line above it with the same number.  The kernel prints -1 where
 * the owner is an open file description, and EOF for the last possible byte.
 *
 * Neither function allocates, locks or changes errno: the preload shim calls
 * them from inside somebody else's signal handler.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum lock_line_type { LOCK_LINE_POSIX, LOCK_LINE_OFD, LOCK_LINE_FLOCK, LOCK_LINE_LEASE };

struct lock_line {
	uint64_t number; /* the "1:"; waiters share it with what blocks them */
	enum lock_line_type type;
	bool blocked; /* a waiter's line */
	bool exclusive;
	pid_t pid; /* -1 for an open file description */
	unsigned major, minor;
	uint64_t inode;
	uint64_t start;
	uint64_t end; /* last byte, inclusive; INT64_MAX stands for EOF */
};

/* Parses the line that starts at `text` and ends at a newline or after
 * `length` bytes.  False if it is not a lock line. */
bool lock_line_parse(const char *text, size_t length, struct lock_line *ret);
