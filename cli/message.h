/*
 * What the command says to people: what, on which lock, and what to do.
 *
 * Everything that comes from somewhere else, names and info texts above all,
 * is escaped before it gets here or by the functions here.
 */
#pragma once

#include <stdint.h>

#include "command.h"
#include "relock.h"

/* One line on standard error, "relock: " before it. */
__attribute__((format(printf, 1, 2))) void complain(const char *format, ...);

/* There is nothing a command could do about it. */
__attribute__((noreturn)) void out_of_memory(void);

/* `text`, or the end if it is NULL: for functions that fail for no other
 * reason. */
char *need_text(char *text);

/* Text for a terminal.  To be freed; never NULL. */
char *printable(const char *text);

/*
 * Says why a library call failed, in the library's words, and returns the
 * exit code for it.  `name` is what the user called the lock or file.
 */
int complain_error(const char *name, int error);

/*
 * Who holds a lock, as the end of a sentence: "held exclusively by pid 4711
 * (python3 job.py), user alice, for 3 min 4 s".  To be freed; never NULL.
 */
char *held_by_text(const struct relock_status *status);

/*
 * Says that a lock was not to be had within `timeout`, who holds it, and how
 * to have it.
 */
void complain_not_had(const struct invocation *invocation, const char *name, relock_lock *lock,
		      int64_t timeout);

/* "relock unget --force backup", for this store, quoted for a shell.  To be
 * freed; never NULL. */
char *remedy_text(const struct invocation *invocation, const char *subcommand, const char *name);

/* A moment for people: "2026-11-21 10:38:11".  Returns `buffer`. */
enum { MOMENT_TEXT_SIZE = 32 };
const char *moment_text(int64_t moment, char buffer[MOMENT_TEXT_SIZE]);

/* A line for RELOCK_DEBUG, where the library's own lines go. */
__attribute__((format(printf, 1, 2))) void log_line(const char *format, ...);
