/*
 * A line of text, made without stdio and malloc, in memory of the caller's.
 * What does not fit is cut off; `...` at the end says so.
 *
 *	char line[256];
 *	struct text text = TEXT(line);
 *	text_add(&text, "fd ");
 *	text_add_number(&text, fd);
 *	text_write_line(&text, STDERR_FILENO);
 */
#pragma once

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
	char *bytes;
	size_t length, size;
	bool is_cut;
};

/* Over an array.  What is in use is always NUL-terminated. */
#define TEXT(array)                                                                                \
	((struct text){.bytes = (array), .length = ((array)[0] = '\0', 0), .size = sizeof(array)})

/* How a file that lines are appended to is opened.  Never a terminal that
 * would become the program's controlling one, never a wait for a FIFO. */
#define TEXT_APPEND_FLAGS (O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

void text_add(struct text *text, const char *string);
void text_add_bytes(struct text *text, const char *bytes, size_t length);
void text_add_number(struct text *text, int64_t number);
/* Bytes from elsewhere: control characters, backslashes and what is not ASCII
 * become \xHH, so that one line stays one line on any terminal. */
void text_add_escaped(struct text *text, const char *bytes, size_t length);
/* With a newline, in one write(2): lines of several processes do not mix. */
void text_write_line(struct text *text, int fd);
