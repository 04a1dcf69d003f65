/*
 * Asking the daemon of a mount how it is.
 *
 * A child asks (courier.h), since the daemon may never answer.
 */
#pragma once

#include <limits.h>
#include <stdint.h>

#include "mount-table.h"

enum mount_number {
	MOUNT_PID,
	MOUNT_UPTIME, /* seconds */
	MOUNT_LOCKS,
	MOUNT_WAITERS,
	MOUNT_REQUESTS,
	MOUNT_NAMES,
	MOUNT_SUPERVISOR, /* its pid */
	MOUNT_STARTS,     /* how many serving processes there have been */
	MOUNT_REFUSALS,   /* how many upgrades the supervisor has refused */
	MOUNT_NUMBER_COUNT,
};

struct mount_answer {
	int64_t numbers[MOUNT_NUMBER_COUNT]; /* -1: not told, as by an unsupervised one */
	char store[PATH_MAX + 32];
	char version[32];
	char refusal[512]; /* why the last upgrade was refused */
};

/* Seconds that a daemon is given. */
enum { MOUNT_PATIENCE = 5 };

/*
 * Asks, and waits for the answer at most `patience` nanoseconds.
 *
 * -ENOTCONN   a dead mount, its daemon is gone
 * -ETIMEDOUT  the daemon does not answer
 * and errors of getxattr(2): -EACCES for a mount that is another user's
 */
int mount_daemon_ask(const char *folder, int64_t patience, struct mount_answer *ret);

/* Says what is wrong with the daemon, and what to do; returns the exit code. */
int complain_mount_daemon(const char *folder, int error);

/* What is mounted on the folder that the user names: 0 if it is a relockfs; else
 * an exit code after saying that it is not. */
int mount_daemon_find(const char *path, struct mounted *ret);
