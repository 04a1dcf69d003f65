/*
 * JSON written member by member into a struct text (text.h).
 *
 *	json_begin(&text);
 *	json_add_string(&text, "path", path, length, 1024);
 *	json_add_number(&text, "fd", 3);
 *	json_end(&text);
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "text.h"

void json_begin(struct text *text);
void json_end(struct text *text);

/*
 * A string of at most `room` bytes as it stands between the quotes.  False:
 * that was not enough for all of it, and its end is missing.
 *
 * Bytes that are no UTF-8 become U+FFFD each: that is valid JSON for every
 * reader, and cannot be taken for the name of another file.
 */
bool json_add_string(struct text *text, const char *key, const char *bytes, size_t length,
		     size_t room);
/* Of which it is known that nothing is to be escaped. */
void json_add_word(struct text *text, const char *key, const char *word);
void json_add_number(struct text *text, const char *key, int64_t number);
void json_add_true(struct text *text, const char *key);
void json_add_null(struct text *text, const char *key);
/* The beginning of a string that is put together by text_add(), and its end. */
void json_open_string(struct text *text, const char *key);
void json_close_string(struct text *text);
