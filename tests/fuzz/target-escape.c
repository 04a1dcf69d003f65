/*
 * Properties: what is shown has no control characters, none that end a line or
 * turn its direction, is well-formed UTF-8, and the bytes can be had back.
 */
#include <limits.h>
#include <locale.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <wctype.h>

#include "relock.h"
#include "target.h"

/* By glibc's decoder, not by one of ours. */
static bool is_printable_utf8(const char *text)
{
	static locale_t utf8;
	mbstate_t state = {0};
	wchar_t character;
	size_t length;

	if (!utf8)
		utf8 = newlocale(LC_CTYPE_MASK, "C.UTF-8", NULL);
	if (!utf8)
		abort();
	locale_t before = uselocale(utf8);
	while ((length = mbrtowc(&character, text, MB_LEN_MAX, &state)) != 0) {
		if (length > MB_LEN_MAX || character < 0x20 ||
		    (character >= 0x7f && character < 0xa0) ||
		    (character >= 0x2028 && character <= 0x202e) ||
		    (character >= 0x2066 && character <= 0x2069))
			break;
		text += length;
	}
	uselocale(before);
	return length == 0;
}

static unsigned hex(char digit)
{
	return (unsigned)(digit <= '9' ? digit - '0' : digit - 'a' + 10);
}

static size_t unescape(const char *text, uint8_t *to)
{
	uint8_t *start = to;

	while (*text) {
		if (*text != '\\') {
			*to++ = (uint8_t)*text++;
			continue;
		}
		switch (text[1]) {
		case 'x':
			*to++ = (uint8_t)(hex(text[2]) << 4 | hex(text[3]));
			text += 4;
			continue;
		case 'n':
			*to++ = '\n';
			break;
		case 't':
			*to++ = '\t';
			break;
		case 'r':
			*to++ = '\r';
			break;
		case '\\':
			*to++ = '\\';
			break;
		default:
			abort();
		}
		text += 2;
	}
	return (size_t)(to - start);
}

void fuzz_escape(const uint8_t *bytes, size_t size)
{
	char *escaped = relock_escape(bytes, size);

	if (!escaped)
		abort();
	uint8_t *back = malloc(strlen(escaped) + 1);
	if (!is_printable_utf8(escaped) || unescape(escaped, back) != size ||
	    (size && memcmp(back, bytes, size) != 0))
		abort();
	free(back);
	free(escaped);
}
