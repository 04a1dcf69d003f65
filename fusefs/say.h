/*
 * What the daemon has to say: on standard error while it has a terminal, to
 * the system log when it is on its own.
 */
#pragma once

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* From now on to the log. */
void say_to_log(void);
