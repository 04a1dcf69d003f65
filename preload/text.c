/* See text.h.  Everything here is async-signal-safe. */
#include "text.h"

#include <string.h>

#include "raw.h"

/* Room for "...\n" is never given away. */
enum { RESERVE = 5 };

void text_add_bytes(struct text *text, const char *bytes, size_t length)
{
	if (text->is_cut)
		return;
	if (length > text->size - RESERVE - text->length) {
		bytes = "...";
		length = 3;
		text->is_cut = true;
	}
	memcpy(text->bytes + text->length, bytes, length);
	text->length += length;
	text->bytes[text->length] = '\0';
}

void text_add(struct text *text, const char *string)
{
	text_add_bytes(text, string, strlen(string));
}

void text_add_number(struct text *text, int64_t number)
{
	char digits[24];
	char *first = digits + sizeof digits;
	uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;

	do
		*--first = (char)('0' + rest % 10);
	while (rest /= 10);
	if (number < 0)
		*--first = '-';
	text_add_bytes(text, first, (size_t)(digits + sizeof digits - first));
}

void text_add_escaped(struct text *text, const char *bytes, size_t length)
{
	static const char hex[] = "0123456789abcdef";

	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)bytes[i];
		if (byte >= ' ' && byte < 0x7f && byte != '\\')
			text_add_bytes(text, &bytes[i], 1);
		else
			text_add_bytes(text, (char[]){'\\', 'x', hex[byte >> 4], hex[byte & 15]},
				       4);
	}
}

void text_write_line(struct text *text, int fd)
{
	text->bytes[text->length] = '\n';
	raw_write(fd, text->bytes, text->length + 1);
	text->bytes[text->length] = '\0';
}
