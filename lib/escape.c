/*
 * Escaping for a terminal.  Info texts, command lines and file names come from
 * other users; shown raw they could move the cursor, fake a line of ours, or
 * do what the terminal lets them.  What is not printable UTF-8 is written as
 * \n, \t, \r, \\ or \xHH.
 *
 * Also escaped are the C1 controls (U+0080 to U+009F: some terminals obey
 * them), the line and paragraph separators, and the characters that turn the
 * direction of text around (U+202A to U+202E, U+2066 to U+2069).
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "relock.h"

/* Length of the well-formed UTF-8 sequence at `at` (Unicode, table 3-7:
 * shortest form, no surrogates, up to U+10FFFF); 0 if there is none. */
static size_t sequence_length(const unsigned char *at, size_t left, unsigned *ret_code)
{
	static const struct {
		unsigned char first, last, mark;
		size_t length;
	} leads[] = {{0xc2, 0xdf, 0xc0, 2}, {0xe0, 0xef, 0xe0, 3}, {0xf0, 0xf4, 0xf0, 4}};

	for (size_t i = 0; i < sizeof leads / sizeof *leads; i++) {
		if (*at < leads[i].first || *at > leads[i].last)
			continue;
		size_t length = leads[i].length;
		unsigned code = (unsigned)(*at - leads[i].mark);
		if (left < length)
			return 0;
		for (size_t k = 1; k < length; k++) {
			if ((at[k] & 0xc0) != 0x80)
				return 0;
			code = code << 6 | (at[k] & 0x3f);
		}
		if ((length == 3 && code < 0x800) || (length == 4 && code < 0x10000) ||
		    code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff))
			return 0;
		*ret_code = code;
		return length;
	}
	return 0;
}

static bool misleads(unsigned code)
{
	return (code >= 0x80 && code <= 0x9f) || code == 0x2028 || code == 0x2029 ||
	       (code >= 0x202a && code <= 0x202e) || (code >= 0x2066 && code <= 0x2069);
}

static char *put_hex(char *to, unsigned char byte)
{
	static const char digits[] = "0123456789abcdef";

	*to++ = '\\';
	*to++ = 'x';
	*to++ = digits[byte >> 4];
	*to++ = digits[byte & 15];
	return to;
}

char *relock_escape(const void *bytes, size_t length)
{
	const unsigned char *at = bytes, *end = at + length;
	char *escaped = malloc(length * 4 + 1), *to = escaped;

	if (!escaped)
		return NULL;
	while (at < end) {
		unsigned code = 0;
		size_t sequence = *at >= 0x80 ? sequence_length(at, (size_t)(end - at), &code) : 1;
		const char *named = *at == '\n'   ? "\\n"
				    : *at == '\t' ? "\\t"
				    : *at == '\r' ? "\\r"
				    : *at == '\\' ? "\\\\"
						  : NULL;
		if (named) {
			to = stpcpy(to, named);
			at++;
		} else if (sequence == 0 || (sequence == 1 && (*at < 0x20 || *at == 0x7f))) {
			to = put_hex(to, *at++);
		} else if (sequence > 1 && misleads(code)) {
			for (; sequence > 0; sequence--)
				to = put_hex(to, *at++);
		} else {
			to = mempcpy(to, at, sequence);
			at += sequence;
		}
	}
	*to = '\0';
	return escaped;
}
