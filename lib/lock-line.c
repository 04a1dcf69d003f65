#include "lock-line.h"

#include <string.h>

struct cursor {
	const char *at, *end;
};

static void skip_blanks(struct cursor *c)
{
	while (c->at < c->end && (*c->at == ' ' || *c->at == '\t'))
		c->at++;
}

static bool take_char(struct cursor *c, char wanted)
{
	if (c->at == c->end || *c->at != wanted)
		return false;
	c->at++;
	return true;
}

static bool take_word(struct cursor *c, const char *word)
{
	size_t length = strlen(word);

	skip_blanks(c);
	if ((size_t)(c->end - c->at) < length || memcmp(c->at, word, length) != 0)
		return false;
	c->at += length;
	return true;
}

static bool take_number(struct cursor *c, unsigned base, uint64_t *ret)
{
	uint64_t value = 0;
	const char *first = c->at;

	for (; c->at < c->end; c->at++) {
		unsigned digit;
		if (*c->at >= '0' && *c->at <= '9')
			digit = (unsigned)(*c->at - '0');
		else if (base == 16 && *c->at >= 'a' && *c->at <= 'f')
			digit = (unsigned)(*c->at - 'a') + 10;
		else
			break;
		if (__builtin_mul_overflow(value, base, &value) ||
		    __builtin_add_overflow(value, digit, &value))
			return false;
	}
	if (c->at == first)
		return false;
	*ret = value;
	return true;
}

static void skip_word(struct cursor *c)
{
	skip_blanks(c);
	while (c->at < c->end && *c->at != ' ' && *c->at != '\t')
		c->at++;
}

bool lock_line_parse(const char *text, size_t length, struct lock_line *ret)
{
	const char *newline = memchr(text, '\n', length);
	struct cursor c = {text, newline ? newline : text + length};
	struct lock_line line = {0};
	uint64_t number;

	(void)take_word(&c, "lock:");
	skip_blanks(&c);
	if (!take_number(&c, 10, &line.number) || !take_char(&c, ':'))
		return false;
	line.blocked = take_word(&c, "->");
	if (take_word(&c, "POSIX"))
		line.type = LOCK_LINE_POSIX;
	else if (take_word(&c, "OFDLCK"))
		line.type = LOCK_LINE_OFD;
	else if (take_word(&c, "FLOCK"))
		line.type = LOCK_LINE_FLOCK;
	else if (take_word(&c, "LEASE") || take_word(&c, "DELEG") || take_word(&c, "LAYOUT"))
		line.type = LOCK_LINE_LEASE;
	else
		return false;
	skip_word(&c); /* ADVISORY, MSNFS, ACTIVE, BREAKING, BREAKER */
	if (take_word(&c, "WRITE"))
		line.exclusive = true;
	else if (!take_word(&c, "READ") && !take_word(&c, "RW") && !take_word(&c, "UNLCK") &&
		 !take_word(&c, "NONE"))
		return false;
	skip_blanks(&c);
	bool negative = take_char(&c, '-');
	if (!take_number(&c, 10, &number))
		return false;
	line.pid = negative ? -1 : (pid_t)number;
	skip_blanks(&c);
	if (!take_number(&c, 16, &number) || !take_char(&c, ':'))
		return false;
	line.major = (unsigned)number;
	if (!take_number(&c, 16, &number) || !take_char(&c, ':'))
		return false;
	line.minor = (unsigned)number;
	if (!take_number(&c, 10, &line.inode))
		return false;
	skip_blanks(&c);
	if (!take_number(&c, 10, &line.start))
		return false;
	if (take_word(&c, "EOF"))
		line.end = INT64_MAX;
	else if (!take_number(&c, 10, &line.end))
		return false;
	*ret = line;
	return true;
}
