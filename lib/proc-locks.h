/*
 * Who holds and who waits for kernel locks, from /proc.
 *
 *	/proc/locks            every lock, and who is blocked on it; an OFD
 *	                       lock's owner is shown as -1, a flock's as the
 *	                       process that made it, which may be gone
 *	/proc/PID/fdinfo/FD    the locks of that descriptor's open file
 *	                       description: its true holders
 *	/proc/PID/task/TID/syscall   fcntl(fd, F_OFD_SETLKW, ...): a waiter
 *
 * None of these calls the file's file system: a stat() of /proc/PID/fd/FD
 * would ask a FUSE server for the attributes, and hang if it is the one that
 * looks (statx() with AT_STATX_DONT_SYNC does not).
 *
 * What belongs to other users is readable only with the rights of ptrace(2).
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "lock-line.h"

/* A file as /proc/locks names it: the device is that of the super block, which
 * stat(2) does not tell on btrfs. */
struct file_id {
	unsigned major, minor;
	uint64_t inode;
};

/* A descriptor that has a lock. */
struct lock_hold {
	pid_t pid;
	int fd;
	struct lock_line line;
};

/* A thread that waits for a lock. */
struct lock_wait {
	pid_t pid, tid;
	uint64_t started; /* of the thread: a librelock wait with a timeout has one of its own */
	enum lock_line_type type;
	dev_t device; /* as stat(2) has it */
	ino_t inode;
};

/*
 * What was found, each part at its first use, and then kept, so that a listing
 * of many locks looks once.
 */
struct snapshot {
	bool has_lines, has_holds, has_waits;
	int64_t lines_read;      /* when they were, CLOCK_MONOTONIC */
	struct lock_line *lines; /* of /proc/locks */
	size_t line_count;
	struct lock_hold *holds;
	size_t hold_count;
	struct lock_wait *waits;
	size_t wait_count;
};

/* 0, -ENOMEM, or -ENOSYS without /proc. */
int snapshot_lines(struct snapshot *snapshot);
int snapshot_holds(struct snapshot *snapshot);
int snapshot_waits(struct snapshot *snapshot);
void snapshot_free(struct snapshot *snapshot);

/* Calls back with each line of a file of /proc, which is not NUL-terminated but
 * followed by a newline, until the result is not 0, and returns that. */
typedef int line_callback(const char *line, size_t length, void *argument);
int proc_each_line(const char *path, line_callback *callback, void *argument);

/* The type of the mount that an open file is on, as in mountinfo. */
int mount_type_of(int fd, char *type, size_t size);

/* The id of an open file. */
int file_id_of(int fd, struct file_id *ret);

static inline bool line_is_of(const struct lock_line *line, const struct file_id *id)
{
	return line->inode == id->inode && line->major == id->major && line->minor == id->minor;
}

/* The descriptor `fd` of process `pid` has a lock of this type on this file:
 * 1, else 0; -EACCES if that may not be looked at, -ENOSYS without /proc. */
int descriptor_holds(pid_t pid, int fd, enum lock_line_type type, const struct file_id *id,
		     struct lock_line *ret_line);
