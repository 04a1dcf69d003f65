/*
 * Reading and writing s-expressions.
 *
 * The text comes from other programs' files, and may be anything: so there is no
 * recursion (a list in a list a thousand times is a loop here), and nothing is
 * larger than the text.
 *
 * What the reader takes is what sexplib's printers can write, and what people
 * may have added by hand (github.com/janestreet/sexplib0, Sexp.Printing, and
 * sexplib's README): in quotes \n \t \r \b \\ \" \' and a blank stand for one
 * byte, \DDD is one in decimal, \xHH in hexadecimal, and a backslash at the end
 * of a line continues the string after the next line's blanks.  Any other
 * backslash stands for itself.  An atom without quotes ends at a blank, a
 * parenthesis, a quote or a semicolon.
 */
#include "sexp.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct reader {
	const char *at, *end;
	struct sexp_tree tree;
	size_t list;      /* index + 1 of the innermost open list; 0: none */
	unsigned ignores; /* as in struct sexp, outside of all lists */
	char *atom;       /* where the next one's bytes go */
};

static bool is_blank(char byte)
{
	return byte == ' ' || byte == '\t' || byte == '\n' || byte == '\r' || byte == '\f';
}

static bool comes(const struct reader *reader, const char *two)
{
	return reader->end - reader->at >= 2 && memcmp(reader->at, two, 2) == 0;
}

/* Comments and blanks */

/* A string in a comment may have the comment's end in it. */
static int skip_string(struct reader *reader)
{
	for (reader->at++; reader->at < reader->end; reader->at++) {
		if (*reader->at == '"') {
			reader->at++;
			return 0;
		}
		if (*reader->at == '\\' && reader->end - reader->at >= 2)
			reader->at++;
	}
	return -EBADMSG;
}

static int skip_block(struct reader *reader)
{
	size_t depth = 0;

	do {
		if (comes(reader, "#|")) {
			depth++;
			reader->at += 2;
		} else if (comes(reader, "|#")) {
			depth--;
			reader->at += 2;
		} else if (reader->at == reader->end) {
			return -EBADMSG;
		} else if (*reader->at == '"') {
			if (skip_string(reader) < 0)
				return -EBADMSG;
		} else {
			reader->at++;
		}
	} while (depth > 0);
	return 0;
}

static unsigned *ignores_of(struct reader *reader)
{
	return reader->list ? &reader->tree.nodes[reader->list - 1].ignores : &reader->ignores;
}

static int skip_blanks(struct reader *reader)
{
	while (reader->at < reader->end) {
		if (is_blank(*reader->at)) {
			reader->at++;
		} else if (*reader->at == ';') {
			while (reader->at < reader->end && *reader->at != '\n')
				reader->at++;
		} else if (comes(reader, "#|")) {
			if (skip_block(reader) < 0)
				return -EBADMSG;
		} else if (comes(reader, "#;")) {
			reader->at += 2;
			++*ignores_of(reader);
		} else {
			break;
		}
	}
	return 0;
}

/* Expressions */

static int add(struct reader *reader, bool is_list)
{
	struct sexp_tree *tree = &reader->tree;

	if (tree->count == tree->room) {
		size_t room = tree->room ? tree->room * 2 : 32;
		void *larger = reallocarray(tree->nodes, room, sizeof *tree->nodes);
		if (!larger)
			return -ENOMEM;
		tree->nodes = larger;
		tree->room = room;
	}
	tree->nodes[tree->count++] = (struct sexp){
		.is_list = is_list,
		.parent = reader->list,
		.bytes = is_list ? NULL : reader->atom,
	};
	return 0;
}

/* An expression has ended: what is commented out goes. */
static void complete(struct reader *reader, size_t index)
{
	unsigned *ignores = ignores_of(reader);

	if (*ignores > 0) {
		--*ignores;
		reader->tree.count = index;
	} else {
		reader->tree.nodes[index].next = reader->tree.count;
	}
}

static void complete_atom(struct reader *reader)
{
	size_t index = reader->tree.count - 1;
	struct sexp *atom = &reader->tree.nodes[index];

	atom->length = (size_t)(reader->atom - atom->bytes);
	*reader->atom++ = '\0';
	complete(reader, index);
}

static int close_list(struct reader *reader)
{
	if (reader->list == 0)
		return -EBADMSG;
	size_t index = reader->list - 1;
	if (reader->tree.nodes[index].ignores > 0)
		return -EBADMSG; /* "#;" and nothing after it */
	reader->at++;
	reader->list = reader->tree.nodes[index].parent;
	complete(reader, index);
	return 0;
}

static int digits(const struct reader *reader, int count, int base)
{
	int value = 0;

	if (reader->end - reader->at < count)
		return -1;
	for (int i = 0; i < count; i++) {
		unsigned char digit = (unsigned char)reader->at[i];
		if (base == 10 ? !isdigit(digit) : !isxdigit(digit))
			return -1;
		value = value * base + (isdigit(digit) ? digit - '0' : tolower(digit) - 'a' + 10);
	}
	return value;
}

static void continue_on_next_line(struct reader *reader)
{
	if (comes(reader, "\r\n"))
		reader->at++;
	reader->at++;
	while (reader->at < reader->end && (*reader->at == ' ' || *reader->at == '\t'))
		reader->at++;
}

/* After a backslash. */
static int read_escape(struct reader *reader)
{
	static const char letters[] = "ntrb\\\"' ", meanings[] = "\n\t\r\b\\\"' ";
	const char *letter = *reader->at ? strchr(letters, *reader->at) : NULL;

	if (letter) {
		*reader->atom++ = meanings[letter - letters];
		reader->at++;
		return 0;
	}
	if (*reader->at == '\n' || comes(reader, "\r\n")) {
		continue_on_next_line(reader);
		return 0;
	}
	int byte = digits(reader, 3, 10), length = 3;
	if (*reader->at == 'x') {
		reader->at++;
		byte = digits(reader, 2, 16);
		length = 2;
		if (byte < 0)
			return -EBADMSG;
	}
	if (byte > 255)
		return -EBADMSG;
	*reader->atom++ = byte < 0 ? '\\' : (char)byte;
	reader->at += byte < 0 ? 0 : length;
	return 0;
}

static int read_quoted(struct reader *reader)
{
	reader->at++;
	while (reader->at < reader->end && *reader->at != '"') {
		if (*reader->at != '\\') {
			*reader->atom++ = *reader->at++;
			continue;
		}
		reader->at++;
		if (reader->at == reader->end || read_escape(reader) < 0)
			return -EBADMSG;
	}
	if (reader->at == reader->end)
		return -EBADMSG;
	reader->at++;
	return 0;
}

static bool ends_atom(char byte)
{
	return is_blank(byte) || byte == '(' || byte == ')' || byte == '"' || byte == ';';
}

/* What begins or ends a comment cannot be in an atom without quotes. */
static int read_plain(struct reader *reader)
{
	while (reader->at < reader->end && !ends_atom(*reader->at)) {
		if (comes(reader, "#|") || comes(reader, "|#"))
			return -EBADMSG;
		*reader->atom++ = *reader->at++;
	}
	return 0;
}

static int read_one(struct reader *reader)
{
	if (*reader->at == ')')
		return close_list(reader);
	int result = add(reader, *reader->at == '(');
	if (result < 0)
		return result;
	if (*reader->at == '(') {
		reader->list = reader->tree.count;
		reader->at++;
		return 0;
	}
	result = *reader->at == '"' ? read_quoted(reader) : read_plain(reader);
	if (result == 0)
		complete_atom(reader);
	return result;
}

static int read_all(struct reader *reader)
{
	int result = skip_blanks(reader);

	while (result == 0 && reader->at < reader->end) {
		result = read_one(reader);
		if (result == 0)
			result = skip_blanks(reader);
	}
	if (result < 0)
		return result;
	bool is_one = reader->list == 0 && reader->ignores == 0 && reader->tree.count > 0 &&
		      reader->tree.nodes[0].next == reader->tree.count;
	return is_one ? 0 : -EBADMSG;
}

int sexp_read(const char *text, size_t length, struct sexp_tree *ret)
{
	struct reader reader = {.at = text, .end = text + length};

	/* An atom is no longer than its text; its NUL has the place of what
	 * ends it, but for the last one. */
	reader.tree.atoms = reader.atom = malloc(2 * length + 1);
	if (!reader.atom)
		return -ENOMEM;
	int result = read_all(&reader);
	if (result < 0)
		sexp_free(&reader.tree);
	else
		*ret = reader.tree;
	return result;
}

void sexp_free(struct sexp_tree *tree)
{
	free(tree->nodes);
	free(tree->atoms);
	*tree = (struct sexp_tree){0};
}

/* Writing */

static bool must_be_quoted(const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)bytes[i];
		if (byte <= ' ' || byte >= 0x7f || ends_atom(bytes[i]) || byte == '\\')
			return true;
		if (i > 0 &&
		    ((byte == '|' && bytes[i - 1] == '#') || (byte == '#' && bytes[i - 1] == '|')))
			return true;
	}
	return length == 0;
}

static char *write_decimal(char *to, unsigned char byte)
{
	*to++ = '\\';
	*to++ = (char)('0' + byte / 100);
	*to++ = (char)('0' + byte / 10 % 10);
	*to++ = (char)('0' + byte % 10);
	return to;
}

char *sexp_write_atom(char *to, const char *bytes, size_t length)
{
	static const char special[] = "\n\t\r\b\\\"", letters[] = "ntrb\\\"";

	if (!must_be_quoted(bytes, length)) {
		to = mempcpy(to, bytes, length);
		*to = '\0';
		return to;
	}
	*to++ = '"';
	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)bytes[i];
		const char *named = byte ? strchr(special, byte) : NULL;
		if (named) {
			*to++ = '\\';
			*to++ = letters[named - special];
		} else if (byte < ' ' || byte >= 0x7f) {
			to = write_decimal(to, byte);
		} else {
			*to++ = (char)byte;
		}
	}
	*to++ = '"';
	*to = '\0';
	return to;
}
