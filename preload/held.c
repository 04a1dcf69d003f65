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

/* Takes the line's lock for the answer if it is the first so far. */
static bool consider(const char *line, size_t length, off_t from, struct lock_line *best, bool any)
{
	static const char label[] = "lock:\t";
	struct lock_line found;

	if (length < sizeof label - 1 || memcmp(line, label, sizeof label - 1) != 0 ||
	    !lock_line_parse(line + sizeof label - 1, length - (sizeof label - 1), &found) ||
	    found.type != LOCK_LINE_OFD || found.end < (uint64_t)from ||
	    (any && found.start > best->start))
		return false;
	*best = found;
	return true;
}

int shim_held_next_by_proc(int fd, off_t from, struct flock *ret)
{
	char path[PATH_SIZE], part[PART_SIZE];
	struct text text = TEXT(path);
	struct lock_line best = {0};
	size_t kept = 0;
	bool any = false;

	text_add(&text, "/proc/thread-self/fdinfo/");
	text_add_number(&text, fd);
	_cleanup_raw_close_ int file = raw_openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
	if (file < 0)
		return file;

	for (;;) {
		ssize_t length = raw_read(file, part + kept, sizeof part - kept);
		if (length < 0)
			return (int)length;
		if (length == 0)
			break;
		size_t end = kept + (size_t)length, at = 0;
		for (char *newline; (newline = memchr(part + at, '\n', end - at));
		     at = (size_t)(newline - part) + 1)
			any |= consider(part + at, (size_t)(newline - part) - at, from, &best, any);
		kept = end - at;
		if (kept == sizeof part)
			return -EIO;
		memmove(part, part + at, kept);
	}
	if (!any)
		return 0;
	*ret = (struct flock){
		.l_type = best.exclusive ? F_WRLCK : F_RDLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)best.start,
		.l_len = best.end == INT64_MAX ? 0 : (off_t)(best.end - best.start + 1),
	};
	return 1;
}

int shim_held_next(int fd, off_t from, struct flock *ret)
{
	struct flock question = {.l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = from};

	int result = raw_fcntl(fd, F_OFD_GETLK, &question);
	if (result < 0)
		return shim_held_next_by_proc(fd, from, ret);
	if (question.l_type == F_UNLCK)
		return 0;
	*ret = question;
	return 1;
}
