#include "process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

static bool read_proc(pid_t pid, const char *file, char *buffer, size_t size)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, file);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t length = read(fd, buffer, size - 1);
	close(fd);
	buffer[length > 0 ? length : 0] = '\0';
	return length > 0;
}

static bool number_after(const char *text, const char *label, long *ret)
{
	const char *at = strstr(text, label);

	if (!at)
		return false;
	*ret = strtol(at + strlen(label), NULL, 10);
	return true;
}

/* "PID (COMMAND) STATE PPID ...": the command may contain anything, blanks and
 * brackets too, so the fields are counted from the last bracket. */
static void parse_stat(struct process *process, const char *text)
{
	const char *open = strchr(text, '('), *end = strrchr(text, ')');

	if (!open || !end || end < open)
		return;
	size_t length = (size_t)(end - open) - 1;
	if (length >= sizeof process->command)
		length = sizeof process->command - 1;
	memcpy(process->command, open + 1, length);
	process->command[length] = '\0';
	/* The field after the bracket is the third, the start time field 22. */
	const char *at = end + 1;
	for (int field = 3; at && field < 22; field++)
		at = strchr(at + 1, ' ');
	if (at)
		process->start_time = strtoull(at + 1, NULL, 10);
}

void process_of_thread(struct process *ret, pid_t thread, uid_t uid, gid_t gid)
{
	char text[4096];
	long group;

	*ret = (struct process){.thread = thread, .uid = uid, .gid = gid};
	/* The name comes first in status and is escaped by the kernel: it can
	 * not fake the lines below it. */
	if (thread == 0 || !read_proc(thread, "status", text, sizeof text) ||
	    !number_after(text, "\nTgid:", &group))
		return;
	ret->pid = (pid_t)group;
	if (read_proc(ret->pid, "stat", text, sizeof text))
		parse_stat(ret, text);
}

bool process_is_single_threaded(const struct process *process)
{
	char text[4096];
	long threads;

	return process->pid != 0 && read_proc(process->pid, "status", text, sizeof text) &&
	       number_after(text, "\nThreads:", &threads) && threads == 1;
}

bool process_is_same(const struct process *a, const struct process *b)
{
	return a->pid != 0 && a->pid == b->pid && a->start_time == b->start_time;
}

bool process_is_gone(const struct process *process)
{
	struct process now = {0};
	char text[4096];

	if (process->pid == 0 || process->start_time == 0)
		return false;
	if (!read_proc(process->pid, "stat", text, sizeof text))
		return kill(process->pid, 0) < 0 && errno == ESRCH;
	parse_stat(&now, text);
	/* A zombie has closed its files. */
	const char *end = strrchr(text, ')');
	bool ended = end && (end[2] == 'Z' || end[2] == 'X');
	return ended || now.start_time != process->start_time;
}

bool process_has_open(const struct process *process, dev_t device, ino_t inode)
{
	char path[64];
	bool found = false;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)process->pid);
	DIR *descriptors = opendir(path);
	if (!descriptors)
		return errno != ENOENT && errno != ESRCH;
	for (struct dirent *entry; !found && (entry = readdir(descriptors));) {
		struct statx status;
		/* The session thread asks about its own mount: without DONT_SYNC
		 * the kernel would send it a GETATTR, and wait for the answer.  A
		 * link of /proc is followed without looking its name up. */
		found = entry->d_name[0] != '.' &&
			statx(dirfd(descriptors), entry->d_name,
			      AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO, &status) == 0 &&
			status.stx_ino == inode &&
			makedev(status.stx_dev_major, status.stx_dev_minor) == device;
	}
	closedir(descriptors);
	return found;
}

bool process_any_has_open(dev_t device, ino_t inode)
{
	DIR *processes = opendir("/proc");
	bool found = false;

	if (!processes)
		return true;
	for (struct dirent *entry; !found && (entry = readdir(processes));) {
		struct process process = {.pid = (pid_t)strtol(entry->d_name, NULL, 10)};
		/* One whose descriptors cannot be read is another user's. */
		found = process.pid > 0 && process_has_open(&process, device, inode);
	}
	closedir(processes);
	return found;
}
