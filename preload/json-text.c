/* See json-text.h.  RFC 8259; async-signal-safe. */
#include "json-text.h"

#include <string.h>

/* The longest escape, \u001f; longer than any UTF-8 sequence. */
enum { PIECE_SIZE = 6 };

static void add_key(struct text *text, const char *key)
{
	text_add(text, text->bytes[text->length - 1] == '{' ? "\"" : ",\"");
	text_add(text, key);
	text_add(text, "\":");
}

void json_begin(struct text *text)
{
	text_add(text, "{");
}

void json_end(struct text *text)
{
	text_add(text, "}");
}

/* Bytes of the well-formed UTF-8 sequence that begins here (Unicode, table
 * 3-7); 0: there is none. */
static size_t sequence_length(const unsigned char *at, size_t left)
{
	unsigned char lowest = 0x80, highest = 0xbf;
	size_t length;

	if (*at < 0x80)
		return 1;
	if (*at >= 0xc2 && *at <= 0xdf)
		length = 2;
	else if (*at >= 0xe0 && *at <= 0xef)
		length = 3;
	else if (*at >= 0xf0 && *at <= 0xf4)
		length = 4;
	else
		return 0;
	/* What there is a shorter sequence for, surrogates, what is too large. */
	if (*at == 0xe0)
		lowest = 0xa0;
	else if (*at == 0xed)
		highest = 0x9f;
	else if (*at == 0xf0)
		lowest = 0x90;
	else if (*at == 0xf4)
		highest = 0x8f;
	if (left < length || at[1] < lowest || at[1] > highest)
		return 0;
	for (size_t i = 2; i < length; i++)
		if (at[i] < 0x80 || at[i] > 0xbf)
			return 0;
	return length;
}

/* The first character of what is left, as it stands in a string.  Returns how
 * many bytes it took. */
static size_t make_piece(const char *bytes, size_t left, char piece[static PIECE_SIZE],
			 size_t *ret_size)
{
	static const char hex[] = "0123456789abcdef";
	unsigned char byte = (unsigned char)*bytes;
	size_t length = sequence_length((const unsigned char *)bytes, left);

	if (length == 0) {
		memcpy(piece, "\\ufffd", *ret_size = 6);
		return 1;
	}
	if (byte == '"' || byte == '\\') {
		piece[0] = '\\';
		piece[1] = (char)byte;
		*ret_size = 2;
	} else if (byte < 0x20 || byte == 0x7f) {
		memcpy(piece, "\\u00", 4);
		piece[4] = hex[byte >> 4];
		piece[5] = hex[byte & 15];
		*ret_size = 6;
	} else {
		memcpy(piece, bytes, *ret_size = length);
	}
	return length;
}

bool json_add_string(struct text *text, const char *key, const char *bytes, size_t length,
		     size_t room)
{
	char piece[PIECE_SIZE];
	size_t at = 0, size;

	json_open_string(text, key);
	for (; at < length; room -= size) {
		size_t taken = make_piece(bytes + at, length - at, piece, &size);
		if (size > room)
			break;
		text_add_bytes(text, piece, size);
		at += taken;
	}
	json_close_string(text);
	return at == length;
}

void json_add_word(struct text *text, const char *key, const char *word)
{
	json_open_string(text, key);
	text_add(text, word);
	json_close_string(text);
}

void json_add_number(struct text *text, const char *key, int64_t number)
{
	add_key(text, key);
	text_add_number(text, number);
}

void json_add_true(struct text *text, const char *key)
{
	add_key(text, key);
	text_add(text, "true");
}

void json_add_null(struct text *text, const char *key)
{
	add_key(text, key);
	text_add(text, "null");
}

void json_open_string(struct text *text, const char *key)
{
	add_key(text, key);
	text_add(text, "\"");
}

void json_close_string(struct text *text)
{
	text_add(text, "\"");
}
