/*
 * What there is to see of a lock file: for the status, and for whoever breaks
 * the lock.
 */
#pragma once

#include <fcntl.h>

#include "clock.h"
#include "lock-file.h"
#include "proc-locks.h"

struct file_holder {
	pid_t pid; /* the process that has the descriptor; 0: out of sight */
	int fd;
	bool proven; /* seen to have the lock; else only recorded */
	size_t slot_number;
	struct slot *slot; /* its record; NULL: none */
};

struct file_look {
	int fd; /* of the look's own */
	bool writable;
	struct stat status;
	struct file_id id;
	bool held;
	enum hold_mode mode; /* if held */
	struct file_holder *holders;
	size_t holder_count;
};

/* Starts with `fd` -1 in `ret`; to be ended in any case.  -ENOENT and others
 * of lock_file_open_existing(), -ENOMEM. */
int file_look(const struct file_store *store, const char *name, struct snapshot *snapshot,
	      struct file_look *ret);
void file_look_end(struct file_look *look);

/* Adds who waits for the held lock that was looked at.  -ENOMEM */
int file_look_waiters(struct file_store *store, const struct file_look *look,
		      struct snapshot *snapshot, struct relock_status *status);
