/*
 * Exit codes, the same for every subcommand: 0; 1 for a lock that was not to
 * be had; 64 and up as sysexits(3) has them, the way flock(1) uses them; 126
 * and 127 as a shell does.
 */
#pragma once

#include <sysexits.h>

enum {
	EXIT_NOT_HAD = 1, /* held, timed out, not held, not ours */
	EXIT_CANNOT_EXECUTE = 126,
	EXIT_NOT_FOUND = 127,
};

/* The exit code for a library function's negative errno; 0 for 0. */
int exit_code(int error);

/* The exit code after execve(2) failed with this (positive) errno. */
int exec_exit_code(int error_number);
