/*
 * What the library says: to the caller of a failed call, one line for a
 * person (relock_error_message()); to whoever debugs, a line for each thing it
 * does (RELOCK_DEBUG, relock_set_log()).  It prints nothing else.
 */
#pragma once

/* Keeps the message for this thread and returns `error`, so that a function
 * can end with `return failed(-EPERM, ...)`. */
int failed(int error, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* For the edge of the library: forget the last call's message; and make sure
 * that a failed call has one. */
void message_begin(void);
int message_end(int result, const char *subject);

/* In the child, where a thread that is gone may have been about to log. */
void message_after_fork(void);

/* A line of the debug log, without newline. */
#define debug(...)                                                                                 \
	do {                                                                                       \
		if (__builtin_expect(debug_enabled(), 0))                                          \
			debug_line(__VA_ARGS__);                                                   \
	} while (0)
int debug_enabled(void);
void debug_line(const char *format, ...) __attribute__((format(printf, 1, 2)));
