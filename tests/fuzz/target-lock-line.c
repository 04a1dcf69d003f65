/*
 * Property: what is parsed, is printed as the kernel prints it, and parsed
 * again, is the same.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lock-line.h"
#include "target.h"

static void print_line(const struct lock_line *line, char *text, size_t size)
{
	static const char *const types[] = {"POSIX", "OFDLCK", "FLOCK", "LEASE"};
	char end[32];

	snprintf(end, sizeof end, "%" PRIu64, line->end);
	snprintf(text, size,
		 "%" PRIu64 ": %s%s  ADVISORY  %s %d %02x:%02x:%" PRIu64 " %" PRIu64 " %s\n",
		 line->number, line->blocked ? "-> " : "", types[line->type],
		 line->exclusive ? "WRITE" : "READ", (int)line->pid, line->major, line->minor,
		 line->inode, line->start, line->end == INT64_MAX ? "EOF" : end);
}

void fuzz_lock_line(const uint8_t *bytes, size_t size)
{
	/* Exactly that long, so that a sanitizer sees a read beyond its end. */
	char *text = malloc(size + !size), printed[256];
	struct lock_line line, again;

	memset(&line, 0, sizeof line);
	memset(&again, 0, sizeof again);
	if (size)
		memcpy(text, bytes, size);
	if (lock_line_parse(text, size, &line)) {
		/* A pid that no kernel has is not printed back. */
		if (line.pid < -1)
			line.pid = -1;
		print_line(&line, printed, sizeof printed);
		if (!lock_line_parse(printed, strlen(printed), &again) ||
		    again.number != line.number || again.type != line.type ||
		    again.blocked != line.blocked || again.exclusive != line.exclusive ||
		    again.pid != line.pid || again.major != line.major ||
		    again.minor != line.minor || again.inode != line.inode ||
		    again.start != line.start || again.end != line.end)
			abort();
	}
	free(text);
}
