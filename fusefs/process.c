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

/* "NStgid:	4711	1": its pids from our namespace down to its own. */
static void find_namespace(struct process *process, const char *text)
{
	static const char label[] = "\nNStgid:\t";
	const char *line = strstr(text, label);
	char path[64];
	struct stat status;

	if (!line)
		return;
	line += sizeof label - 1;
	const char *last = memrchr(line, '\t', strcspn(line, "\n"));
	if (!last)
		return;
	process->namespace_pid = (pid_t)strtol(last + 1, NULL, 10);
	snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)process->pid);
	if (stat(path, &status) == 0)
		process->pid_namespace = (uint32_t)status.st_ino;
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
	find_namespace(ret, text);
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

/* A zombie has closed its files, unless it is the first thread of a process
 * whose others live on (pthread_exit in main). */
bool process_has_ended(const struct process *process)
{
	char text[4096];
	long threads;

	if (process->pid == 0)
		return false;
	if (!read_proc(process->pid, "status", text, sizeof text))
		return kill(process->pid, 0) < 0 && errno == ESRCH;
	const char *state = strstr(text, "\nState:\t");
	return state && (state[8] == 'Z' || state[8] == 'X') &&
	       (!number_after(text, "\nThreads:", &threads) || threads <= 1);
}

bool process_is_gone(const struct process *process)
{
	struct process now = {0};
	char text[4096];

	if (process_has_ended(process))
		return true;
	if (process->pid == 0 || process->start_time == 0 ||
	    !read_proc(process->pid, "stat", text, sizeof text))
		return false;
	parse_stat(&now, text);
	return now.start_time != process->start_time;
}

void process_command_of(pid_t pid, char command[16])
{
	if (!read_proc(pid, "comm", command, 16))
		command[0] = '\0';
	command[strcspn(command, "\n")] = '\0';
}

/* "ino:	4711".  What is open the kernel tells of a process at any time, but
 * to follow the link to it waits while the process is in execve(2), and that
 * may wait for ever, for a server of FUSE that does not answer. */
static bool may_be_open_on(int folder, const char *number, ino_t inode)
{
	char path[64], text[512];
	long seen;

	snprintf(path, sizeof path, "../fdinfo/%.20s", number);
	int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return true;
	ssize_t length = read(fd, text, sizeof text - 1);
	close(fd);
	text[length > 0 ? length : 0] = '\0';
	/* Since Linux 5.14 */
	return !number_after(text, "\nino:", &seen) || (ino_t)seen == inode;
}

/* The session thread asks about its own mount: without DONT_SYNC the kernel
 * would send it a GETATTR, and wait for the answer.  A link of /proc is followed
 * without looking its name up. */
static bool is_open_on(int folder, const char *number, dev_t device, ino_t inode)
{
	struct statx status;

	return may_be_open_on(folder, number, inode) &&
	       statx(folder, number, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_INO, &status) ==
		       0 &&
	       status.stx_ino == inode &&
	       makedev(status.stx_dev_major, status.stx_dev_minor) == device;
}

/* The link itself has the rights that the descriptor gives. */
static int access_of(int folder, const char *number)
{
	struct stat link;

	if (fstatat(folder, number, &link, AT_SYMLINK_NOFOLLOW) < 0)
		return O_RDONLY;
	bool reads = link.st_mode & S_IRUSR, writes = link.st_mode & S_IWUSR;
	return reads && writes ? O_RDWR : writes ? O_WRONLY : O_RDONLY;
}

bool process_each_open(pid_t pid, pid_t thread, dev_t device, ino_t inode,
		       bool (*found)(void *argument, int number, int access), void *argument)
{
	enum { DESCRIPTORS_MOST = 4096 };
	char path[64];
	bool goes_on = true;
	int seen = 0;

	if (thread == pid)
		snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	else
		snprintf(path, sizeof path, "/proc/%d/task/%d/fd", (int)pid, (int)thread);
	DIR *descriptors = opendir(path);
	if (!descriptors)
		return false;
	int folder = dirfd(descriptors);
	for (struct dirent *entry;
	     goes_on && seen <= DESCRIPTORS_MOST && (entry = readdir(descriptors));) {
		if (entry->d_name[0] == '.')
			continue;
		seen++;
		if (is_open_on(folder, entry->d_name, device, inode))
			goes_on = found(argument, atoi(entry->d_name),
					access_of(folder, entry->d_name));
	}
	closedir(descriptors);
	return seen <= DESCRIPTORS_MOST;
}

static bool note_that_one_is(void *argument, int number, int access)
{
	*(bool *)argument = true;
	return false;
}

bool process_has_open(const struct process *process, dev_t device, ino_t inode)
{
	bool has = false;

	return !process_each_open(process->pid, process->pid, device, inode, note_that_one_is,
				  &has) ||
	       has;
}

bool process_has_open_at(pid_t pid, int number, dev_t device, ino_t inode)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/%d/fd", (int)pid);
	int folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (folder < 0)
		return false;
	snprintf(path, sizeof path, "%d", number);
	bool has = is_open_on(folder, path, device, inode);
	close(folder);
	return has;
}

bool process_any_has_open(dev_t device, ino_t inode)
{
	DIR *processes = opendir("/proc");
	bool found = false;

	if (!processes)
		return true;
	for (struct dirent *entry; !found && (entry = readdir(processes));) {
		pid_t pid = (pid_t)strtol(entry->d_name, NULL, 10);
		/* One whose descriptors cannot be read is another user's, or gone. */
		if (pid > 0)
			(void)process_each_open(pid, pid, device, inode, note_that_one_is, &found);
	}
	closedir(processes);
	return found;
}
