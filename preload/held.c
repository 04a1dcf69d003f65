/*
 * F_OFD_GETLK with F_UNLCK asks for the locks of the description itself, since
 * Linux 6.6 (posix_test_locks_conflict() in fs/locks.c), and answers with the
 * first one: a description's locks are kept sorted.  Older kernels say EINVAL,
 * and show the locks in /proc/PID/fdinfo/FD.
 */
#include "held.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "lock-line.h"
#include "raw.h"
#include "text.h"

enum { PART_SIZE = 1024, PATH_SIZE = 64 };

static bool parse(const char *line, size_t length, struct flock *ret)
{
	static const char label[] = "lock:\t";
	struct lock_line found;

	if (length < sizeof label - 1 || memcmp(line, label, sizeof label - 1) != 0 ||
	    !lock_line_parse(line + sizeof label - 1, length - (sizeof label - 1), &found) ||
	    found.type != LOCK_LINE_OFD)
		return false;
	*ret = (struct flock){
		.l_type = found.exclusive ? F_WRLCK : F_RDLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)found.start,
		.l_len = found.end == INT64_MAX ? 0 : (off_t)(found.end - found.start + 1),
	};
	return true;
}

/* Those in the whole lines of a part.  Returns the length of these lines. */
static size_t visit_lines(const char *part, size_t length, shim_held_visit *visit, void *argument,
			  bool *ret_go_on)
{
	struct flock held;
	size_t at = 0;

	for (const char *newline; *ret_go_on && (newline = memchr(part + at, '\n', length - at));
	     at = (size_t)(newline - part) + 1)
		if (parse(part + at, (size_t)(newline - part) - at, &held))
			*ret_go_on = visit(argument, &held);
	return at;
}

int shim_held_each_by_proc(int fd, shim_held_visit *visit, void *argument)
{
	char path[PATH_SIZE], part[PART_SIZE];
	struct text text = TEXT(path);
	size_t kept = 0;
	bool go_on = true;

	text_add(&text, "/proc/thread-self/fdinfo/");
	text_add_number(&text, fd);
	_cleanup_raw_close_ int file = raw_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (file < 0)
		return file;
	while (go_on) {
		ssize_t length = raw_read(file, part + kept, sizeof part - kept);
		if (length <= 0)
			return (int)length;
		kept += (size_t)length;
		size_t used = visit_lines(part, kept, visit, argument, &go_on);
		if (used == 0 && kept == sizeof part)
			return -EIO;
		kept -= used;
		memmove(part, part + used, kept);
	}
	return 0;
}

int shim_held_each(int fd, shim_held_visit *visit, void *argument)
{
	struct flock held;
	off_t from = 0;

	for (;;) {
		held = (struct flock){.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = from};
		int result = raw_fcntl(fd, F_OFD_GETLK, &held);
		/* Only the first question can be refused. */
		if (result < 0)
			return from ? result : shim_held_each_by_proc(fd, visit, argument);
		if (held.l_type == F_UNLCK)
			return 0;
		held.l_pid = 0;
		if (!visit(argument, &held) || held.l_len == 0)
			return 0;
		from = shim_held_last(&held) + 1;
	}
}
