/*
 * The host's name in claim files.  flufl.lock tests a pid only where the name in
 * the claim is what Python's socket.getfqdn() says: that asks for the address of
 * the host's name, then for the names of that address, and takes the first that
 * has a dot, or else the first.  Here the same is read from /etc/hosts, where a
 * machine's own name stands; a question to a name server could take longer than
 * the caller's timeout.  A host that is not in the file is called what
 * gethostname(2) says.
 */
#include "host-name.h"

#include <ctype.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "process.h"

enum { HOST_NAME_SIZE = 256 };

static pthread_once_t once = PTHREAD_ONCE_INIT;
static char full_name[HOST_NAME_SIZE];

/* One word of a line, without its end; NULL at a comment, or the line's end. */
static const char *next_word(const char **at, size_t *ret_length)
{
	while (**at == ' ' || **at == '\t' || **at == '\r')
		(*at)++;
	const char *word = *at;
	while (**at && !isspace((unsigned char)**at) && **at != '#')
		(*at)++;
	*ret_length = (size_t)(*at - word);
	return *ret_length ? word : NULL;
}

static bool is_word(const char *word, size_t length, const char *wanted)
{
	return strlen(wanted) == length && strncasecmp(word, wanted, length) == 0;
}

/* The address of the first line that has the name. */
static const char *address_of(const char *text, const char *name, size_t *ret_length)
{
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		const char *at = line, *word;
		size_t length;
		const char *address = next_word(&at, ret_length);
		while (address && (word = next_word(&at, &length)))
			if (is_word(word, length, name))
				return address;
	}
	return NULL;
}

/* The name of the first line that has the address. */
static const char *name_of(const char *text, const char *address, size_t address_length,
			   size_t *ret_length)
{
	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		const char *at = line, *word, *first;
		size_t length;
		const char *found = next_word(&at, &length);
		if (!found || length != address_length || memcmp(found, address, length) != 0)
			continue;
		first = next_word(&at, ret_length);
		size_t first_length = *ret_length;
		for (word = first; word; word = next_word(&at, ret_length))
			if (memchr(word, '.', *ret_length))
				return word;
		*ret_length = first_length;
		return first;
	}
	return NULL;
}

void host_name_by_text(const char *text, const char *name, char *buffer, size_t size)
{
	size_t address_length = 0, length = 0;
	const char *address = address_of(text, name, &address_length);
	const char *found = address ? name_of(text, address, address_length, &length) : NULL;

	if (found)
		snprintf(buffer, size, "%.*s", (int)length, found);
	else
		snprintf(buffer, size, "%s", name);
}

static void find_out(void)
{
	char text[16384];

	if (proc_read("/etc/hosts", text, sizeof text) < 0)
		*text = '\0';
	host_name_by_text(text, process_self()->host, full_name, sizeof full_name);
}

const char *host_name_full(void)
{
	pthread_once(&once, find_out);
	return full_name;
}
