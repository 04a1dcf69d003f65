/*
 * See glob.h.  Matching keeps the set of all places of the glob that the text
 * so far can have led to, and moves it on by one byte of the text at a time.
 * No place is looked at twice for one byte: there is no backtracking whose
 * time could explode, however many stars there are.  (Going back to the last
 * star, as usual, is not enough for two kinds of star.)
 *
 * A glob is read anew wherever it is looked at, instead of being compiled to
 * something that would have to be kept somewhere: this runs inside a lock
 * call, perhaps in a signal handler.  About 400 bytes of stack, no state.
 */
#include "glob.h"

#include <stdint.h>

enum { WORD_BITS = 64, PLACES = SHIM_GLOB_MAX + 1, NO_BYTE = -1 };

/* A place is an offset in the glob: what stands there is expected next. */
struct places {
	uint64_t words[PLACES / WORD_BITS];
};

_Static_assert(PLACES % WORD_BITS == 0, "the end of the longest glob has a bit");

/* What stands at a place, seen with a byte of the text. */
struct piece {
	size_t end;        /* the place behind it */
	bool takes_byte;   /* the byte may stand here */
	bool is_star;      /* and more bytes, or none */
	size_t past_slash; /* 0, or of a `**` component the place behind its '/' */
};

static void add_place(struct places *places, size_t place)
{
	places->words[place / WORD_BITS] |= UINT64_C(1) << place % WORD_BITS;
}

/* The first at `from` or behind it; PLACES: there is none. */
static size_t next_place(const struct places *places, size_t from)
{
	for (; from < PLACES; from = (from / WORD_BITS + 1) * WORD_BITS) {
		uint64_t rest = places->words[from / WORD_BITS] >> from % WORD_BITS;
		if (rest)
			return from + (size_t)__builtin_ctzll(rest);
	}
	return PLACES;
}

/* A byte that stands for itself, with the backslash before it. */
static const char *read_byte(const char *glob, size_t length, size_t *at, int *ret)
{
	if (glob[*at] == '\\' && ++*at == length)
		return "has a backslash with nothing behind it";
	*ret = (unsigned char)glob[(*at)++];
	return NULL;
}

/* One member of a set: a byte, or a range of bytes. */
static const char *read_member(const char *glob, size_t length, size_t *at, int byte, bool *ret_has)
{
	int first, last;

	const char *fault = read_byte(glob, length, at, &first);
	if (fault)
		return fault;
	last = first;
	if (length - *at >= 2 && glob[*at] == '-' && glob[*at + 1] != ']') {
		++*at;
		fault = read_byte(glob, length, at, &last);
		if (fault)
			return fault;
	}
	if (first == '/' || last == '/')
		return "has a / in brackets, which never match one";
	if (last < first)
		return "has a range in brackets that ends before it begins";
	*ret_has = *ret_has || (byte >= first && byte <= last);
	return NULL;
}

/* `at` is behind the bracket. */
static const char *read_set(const char *glob, size_t length, size_t at, int byte, struct piece *ret)
{
	bool is_negated = at < length && (glob[at] == '!' || glob[at] == '^');
	bool has = false;

	at += is_negated;
	for (bool is_first = true; at < length; is_first = false) {
		if (glob[at] == ']' && !is_first) {
			ret->end = at + 1;
			ret->takes_byte = has != is_negated && byte != '/' && byte != NO_BYTE;
			return NULL;
		}
		const char *fault = read_member(glob, length, &at, byte, &has);
		if (fault)
			return fault;
	}
	return "has a [ without its ]";
}

static void read_stars(const char *glob, size_t length, size_t at, int byte, struct piece *ret)
{
	size_t end = at;

	while (end < length && glob[end] == '*')
		end++;
	bool crosses_slash = end - at > 1;
	bool is_component = (at == 0 || glob[at - 1] == '/') && end < length && glob[end] == '/';
	*ret = (struct piece){
		.end = end,
		.takes_byte = byte != NO_BYTE && (crosses_slash || byte != '/'),
		.is_star = true,
		.past_slash = crosses_slash && is_component ? end + 1 : 0,
	};
}

/* Returns what is wrong with it, or NULL. */
static const char *read_piece(const char *glob, size_t length, size_t at, int byte,
			      struct piece *ret)
{
	*ret = (struct piece){.end = at + 1};
	switch (glob[at]) {
	case '*':
		read_stars(glob, length, at, byte, ret);
		return NULL;
	case '?':
		ret->takes_byte = byte != '/' && byte != NO_BYTE;
		return NULL;
	case '[':
		return read_set(glob, length, at + 1, byte, ret);
	}

	int expected = NO_BYTE;
	const char *fault = read_byte(glob, length, &at, &expected);
	ret->end = at;
	ret->takes_byte = byte == expected;
	return fault;
}

const char *shim_glob_fault(const char *glob, size_t length)
{
	struct piece piece;

	if (length > SHIM_GLOB_MAX)
		return "has a glob of more than 1023 bytes";
	for (size_t at = 0; at < length; at = piece.end) {
		const char *fault = read_piece(glob, length, at, NO_BYTE, &piece);
		if (fault)
			return fault;
	}
	return NULL;
}

/*
 * Adds to `places` those that can be reached without a byte, and returns those
 * that are reached by this one.  The former all lie ahead: one walk finds them.
 * A `**` component may be left out only where a component of the text begins,
 * not in the middle of one that it has taken a part of.
 */
static struct places advance(const char *glob, size_t length, struct places *places, int byte,
			     int byte_before)
{
	bool is_component_start = byte_before == NO_BYTE || byte_before == '/';
	struct places reached = {0};
	struct piece piece;

	for (size_t at = 0; (at = next_place(places, at)) < length; at++) {
		read_piece(glob, length, at, byte, &piece);
		if (piece.is_star)
			add_place(places, piece.end);
		if (piece.past_slash && is_component_start)
			add_place(places, piece.past_slash);
		if (piece.takes_byte)
			add_place(&reached, piece.is_star ? at : piece.end);
	}
	return reached;
}

bool shim_glob_matches(const char *glob, size_t glob_length, const char *text, size_t text_length)
{
	struct places places = {0};
	int byte, byte_before = NO_BYTE;

	add_place(&places, 0);
	for (size_t i = 0; i < text_length; i++, byte_before = byte) {
		byte = (unsigned char)text[i];
		places = advance(glob, glob_length, &places, byte, byte_before);
	}
	advance(glob, glob_length, &places, NO_BYTE, byte_before);
	return next_place(&places, glob_length) == glob_length;
}
