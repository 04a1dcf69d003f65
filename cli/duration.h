/*
 * Lengths of time on the command line and in messages.
 */
#pragma once

#include <stdint.h>

/*
 * Parses seconds, "5", "0.5" or ".5", into nanoseconds.
 *
 * NULL on success; else what is wrong with the text, as the end of a sentence
 * that names the option: "is negative", for example.
 *
 * Not strtod(3): that depends on the locale, takes "nan", "inf" and "0x1p4",
 * and rounds.
 */
const char *duration_parse(const char *text, int64_t *ret);

/* For people: "0.52 s", "12 s", "3 min 4 s", "5 h 12 min", "3 d 4 h".  Returns
 * `buffer`. */
enum { DURATION_TEXT_SIZE = 32 };
const char *duration_text(int64_t duration, char buffer[DURATION_TEXT_SIZE]);
