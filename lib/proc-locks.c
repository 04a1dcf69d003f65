#include "proc-locks.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "cleanup.h"
#include "clock.h"
#include "process.h"

/* Appends an item to a growing array.  False without memory. */
static bool append(void **array, size_t *count, size_t size, const void *item)
{
	/* Doubled whenever the count is a power of two. */
	if ((*count & (*count - 1)) == 0) {
		void *larger = realloc(*array, (*count ? *count * 2 : 1) * size);
		if (!larger)
			return false;
		*array = larger;
	}
	memcpy((char *)*array + *count * size, item, size);
	++*count;
	return true;
}

/* Reading, line by line */

int proc_each_line(const char *path, line_callback *callback, void *argument)
{
	/* In large pieces: the kernel makes the text piece by piece, and between
	 * two of them the list may change. */
	CLEANUP_FREE char *buffer = malloc(65536);
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	size_t kept = 0;

	if (fd < 0)
		return -errno;
	if (!buffer)
		return -ENOMEM;
	for (;;) {
		ssize_t part = read(fd, buffer + kept, 65536 - kept);
		if (part < 0 && errno == EINTR)
			continue;
		if (part <= 0)
			return part < 0 ? -errno : 0;
		size_t length = kept + (size_t)part;
		char *at = buffer, *newline;
		while ((newline = memchr(at, '\n', length - (size_t)(at - buffer)))) {
			int result = callback(at, (size_t)(newline - at), argument);
			if (result != 0)
				return result;
			at = newline + 1;
		}
		kept = length - (size_t)(at - buffer);
		if (kept == 65536)
			return -EIO;
		memmove(buffer, at, kept);
	}
}

/* /proc/locks */

static int keep_line(const char *text, size_t length, void *argument)
{
	struct snapshot *snapshot = argument;
	struct lock_line line;

	if (!lock_line_parse(text, length, &line))
		return 0;
	return append((void **)&snapshot->lines, &snapshot->line_count, sizeof line, &line)
		       ? 0
		       : -ENOMEM;
}

static bool is_listed(const struct snapshot *snapshot, const struct lock_line *wanted)
{
	for (size_t i = 0; i < snapshot->line_count; i++) {
		const struct lock_line *line = &snapshot->lines[i];
		if (line->inode == wanted->inode && line->start == wanted->start &&
		    line->end == wanted->end && line->pid == wanted->pid &&
		    line->type == wanted->type && line->blocked == wanted->blocked &&
		    line->exclusive == wanted->exclusive && line->major == wanted->major &&
		    line->minor == wanted->minor)
			return true;
	}
	return false;
}

static int keep_new_line(const char *text, size_t length, void *argument)
{
	struct lock_line line;

	if (!lock_line_parse(text, length, &line) || is_listed(argument, &line))
		return 0;
	return keep_line(text, length, argument);
}

/*
 * The kernel gives the list a page at a time, and finds its place in it by
 * counting: if locks come and go in between, lines are given twice or left out.
 * Twice does not matter to those who look; so that none is left out, a list of
 * more than a page is read again.  (Very long ones are not: it would take
 * longer than it is worth.)
 */
static int read_lines(struct snapshot *snapshot)
{
	enum { LINES_OF_A_PAGE = 60, LONG = 2000, READS = 3 };

	int result = proc_each_line("/proc/locks", keep_line, snapshot);
	for (int i = 1; result == 0 && i < READS; i++)
		if (snapshot->line_count > LINES_OF_A_PAGE && snapshot->line_count < LONG)
			result = proc_each_line("/proc/locks", keep_new_line, snapshot);
	return result;
}

int snapshot_lines(struct snapshot *snapshot)
{
	if (snapshot->has_lines)
		return 0;
	snapshot->lines_read = clock_now(CLOCK_MONOTONIC);
	int result = read_lines(snapshot);
	if (result < 0)
		return result == -ENOENT ? -ENOSYS : result;
	snapshot->has_lines = true;
	return 0;
}

/* Processes and their descriptors */

typedef int entry_callback(pid_t pid, long number, void *argument);

/* Each entry of /proc/PID/WHAT, or of /proc itself, whose name is a number. */
static int each_number(pid_t pid, const char *what, entry_callback *callback, void *argument)
{
	char path[48] = "/proc";

	if (what)
		snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, what);
	CLEANUP_CLOSEDIR DIR *dir = opendir(path);
	if (!dir)
		return what ? 0 : -ENOSYS; /* not ours to see, or gone */
	for (struct dirent *entry; (entry = readdir(dir));) {
		if (!isdigit((unsigned char)*entry->d_name))
			continue;
		int result = callback(pid, strtol(entry->d_name, NULL, 10), argument);
		if (result < 0)
			return result;
	}
	return 0;
}

struct fdinfo {
	pid_t pid;
	int fd;
	struct snapshot *snapshot;
};

static int keep_hold(const char *text, size_t length, void *argument)
{
	const struct fdinfo *fdinfo = argument;
	struct snapshot *snapshot = fdinfo->snapshot;
	struct lock_hold hold = {.pid = fdinfo->pid, .fd = fdinfo->fd};

	if (strncmp(text, "lock:", 5) != 0 || !lock_line_parse(text, length, &hold.line))
		return 0;
	return append((void **)&snapshot->holds, &snapshot->hold_count, sizeof hold, &hold)
		       ? 0
		       : -ENOMEM;
}

static int holds_of_fd(pid_t pid, long fd, void *argument)
{
	struct fdinfo fdinfo = {pid, (int)fd, argument};
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/fdinfo/%ld", (int)pid, fd);
	int result = proc_each_line(path, keep_hold, &fdinfo);
	return result == -ENOMEM ? result : 0;
}

static int holds_of_process(pid_t none, long pid, void *argument)
{
	return each_number((pid_t)pid, "fdinfo", holds_of_fd, argument);
}

int snapshot_holds(struct snapshot *snapshot)
{
	if (snapshot->has_holds)
		return 0;
	int result = each_number(0, NULL, holds_of_process, snapshot);
	snapshot->has_holds = result == 0;
	return result;
}

/* Waiters */

static bool waits_for_lock(long number, long command, enum lock_line_type *ret_type)
{
	if (number == SYS_flock)
		*ret_type = LOCK_LINE_FLOCK;
	else if (number == SYS_fcntl && command == F_OFD_SETLKW)
		*ret_type = LOCK_LINE_OFD;
	else if (number == SYS_fcntl && command == F_SETLKW)
		*ret_type = LOCK_LINE_POSIX;
	else
		return false;
	return true;
}

static int waits_of_task(pid_t pid, long tid, void *argument)
{
	struct snapshot *snapshot = argument;
	struct lock_wait wait = {.pid = pid, .tid = (pid_t)tid};
	char path[64], text[256];
	unsigned long fd, command;
	struct statx status;
	long number;

	snprintf(path, sizeof path, "/proc/%d/task/%ld/syscall", (int)pid, tid);
	if (proc_read(path, text, sizeof text) < 0 ||
	    sscanf(text, "%ld 0x%lx 0x%lx", &number, &fd, &command) != 3 ||
	    !waits_for_lock(number, (long)command, &wait.type))
		return 0;
	snprintf(path, sizeof path, "/proc/%d/fd/%lu", (int)pid, fd);
	if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_INO, &status) < 0)
		return 0;
	wait.device = makedev(status.stx_dev_major, status.stx_dev_minor);
	wait.inode = status.stx_ino;
	process_start_time((pid_t)tid, &wait.started);
	return append((void **)&snapshot->waits, &snapshot->wait_count, sizeof wait, &wait)
		       ? 0
		       : -ENOMEM;
}

static int waits_of_process(pid_t none, long pid, void *argument)
{
	return each_number((pid_t)pid, "task", waits_of_task, argument);
}

static int by_start(const void *left, const void *right)
{
	const struct lock_wait *a = left, *b = right;

	if (a->started != b->started)
		return a->started < b->started ? -1 : 1;
	return (a->tid > b->tid) - (a->tid < b->tid);
}

int snapshot_waits(struct snapshot *snapshot)
{
	if (snapshot->has_waits)
		return 0;
	int result = each_number(0, NULL, waits_of_process, snapshot);
	if (result < 0)
		return result;
	if (snapshot->wait_count)
		qsort(snapshot->waits, snapshot->wait_count, sizeof *snapshot->waits, by_start);
	snapshot->has_waits = true;
	return 0;
}

void snapshot_free(struct snapshot *snapshot)
{
	free(snapshot->lines);
	free(snapshot->holds);
	free(snapshot->waits);
	*snapshot = (struct snapshot){0};
}

/* One file, one descriptor */

static int find_mount_id(const char *text, size_t length, void *argument)
{
	if (strncmp(text, "mnt_id:", 7) == 0)
		*(long *)argument = strtol(text + 7, NULL, 10);
	return 0;
}

struct mount_search {
	long id;
	struct file_id *found;
};

/* "36 35 98:0 /root /mnt ...": mount id, parent, device of the super block */
static int find_mount(const char *text, size_t length, void *argument)
{
	struct mount_search *search = argument;
	unsigned major, minor;
	long id;

	if (sscanf(text, "%ld %*d %u:%u", &id, &major, &minor) != 3 || id != search->id)
		return 0;
	search->found->major = major;
	search->found->minor = minor;
	return 1;
}

int file_id_of(int fd, struct file_id *ret)
{
	struct mount_search search = {.id = -1, .found = ret};
	struct stat status;
	char path[48];

	if (fstat(fd, &status) < 0)
		return -errno;
	ret->inode = status.st_ino;
	ret->major = major(status.st_dev);
	ret->minor = minor(status.st_dev);
	/* Only file systems without a device of their own have two numbers. */
	if (ret->major != 0)
		return 0;
	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	if (proc_each_line(path, find_mount_id, &search.id) == 0 && search.id >= 0)
		proc_each_line("/proc/self/mountinfo", find_mount, &search);
	return 0;
}

struct type_search {
	long id;
	char *type;
	size_t size;
};

/* "36 35 98:0 /root /mnt ... - TYPE SOURCE OPTIONS" */
static int find_type(const char *text, size_t length, void *argument)
{
	const struct type_search *search = argument;
	const char *mark = memmem(text, length, " - ", 3);

	if (!mark || strtol(text, NULL, 10) != search->id)
		return 0;
	const char *type = mark + 3, *end = memchr(type, ' ', length - (size_t)(type - text));
	if (!end || (size_t)(end - type) >= search->size)
		return -ENAMETOOLONG;
	memcpy(search->type, type, (size_t)(end - type));
	search->type[end - type] = '\0';
	return 1;
}

int mount_type_of(int fd, char *type, size_t size)
{
	struct type_search search = {.id = -1, .type = type, .size = size};
	char path[48];

	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
	int result = proc_each_line(path, find_mount_id, &search.id);
	if (result < 0)
		return result;
	result = proc_each_line("/proc/self/mountinfo", find_type, &search);
	return result == 1 ? 0 : result < 0 ? result : -ENOENT;
}

struct hold_search {
	enum lock_line_type type;
	const struct file_id *id;
	struct lock_line *ret_line;
};

static int find_hold(const char *text, size_t length, void *argument)
{
	const struct hold_search *search = argument;
	struct lock_line line;

	if (strncmp(text, "lock:", 5) != 0 || !lock_line_parse(text, length, &line) ||
	    line.type != search->type || !line_is_of(&line, search->id))
		return 0;
	*search->ret_line = line;
	return 1;
}

int descriptor_holds(pid_t pid, int fd, enum lock_line_type type, const struct file_id *id,
		     struct lock_line *ret_line)
{
	struct hold_search search = {type, id, ret_line};
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/fdinfo/%d", (int)pid, fd);
	int result = proc_each_line(path, find_hold, &search);
	if (result != -ENOENT && result != -ESRCH)
		return result;
	/* No such descriptor, or, with hidepid, no such process to be seen. */
	snprintf(path, sizeof path, "/proc/%d", (int)pid);
	if (access(path, F_OK) == 0)
		return 0;
	return access("/proc/self", F_OK) < 0 ? -ENOSYS : -EACCES;
}
