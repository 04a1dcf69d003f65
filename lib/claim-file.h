/*
 * Locks made of files alone, by link(2): for folders that several machines see,
 * where no kernel knows all holders.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* A file that nobody else has, under a name that nobody else uses. */
struct claim {
	int fd; /* open for reading and writing; -1: there is none */
	dev_t device;
	ino_t inode;
	int64_t made; /* by the clock of the file system, which may be a server's */
	char name[NAME_MAX + 1];
};

#define CLAIM_NONE                                                                                 \
	{                                                                                          \
		.fd = -1                                                                           \
	}

/*
 * Makes a claim file of this content, which everybody can read whatever the umask
 * is.  -EEXIST if there is one of that name: draw another.  Errors of open(2) and
 * write(2), after which there is no file.
 */
int claim_make(int dir_fd, const char *name, const void *content, size_t length, struct claim *ret);

/* Sets the file's modification time, which it shares with the lock file. */
int claim_set_time(const struct claim *claim, int64_t moment);

/*
 * Gives the claim file the lock's name, too: 0, the lock is ours; -EEXIST,
 * somebody has it; or an error of link(2), and it is not ours.
 */
int claim_link(int dir_fd, const struct claim *claim, const char *lock_name);

/* Does this name lead to this file? 1, 0, or an error of stat(2). */
int claim_is_at(int dir_fd, const char *name, dev_t device, ino_t inode);

/*
 * Gives a lock back that we hold by this claim, by taking the right in the name
 * `next`, which the claim file has afterwards, for another lock.  -ENOENT: the
 * right is somebody else's; -ESTALE: the lock is somebody else's; or another error,
 * and the lock and its claim are as they were.
 */
int claim_release(int dir_fd, struct claim *claim, const char *lock_name, const char *next);

/* Removes a claim file that is no lock. */
void claim_remove(int dir_fd, struct claim *claim);

/*
 * Takes the right to remove the lock whose claim file has that name: 0, and the
 * right is a file of the name `right`, or -ENOENT if somebody else has it.  A
 * right is itself taken from a process that is gone in this way.
 */
int claim_seize(int dir_fd, const char *claim_name, const char *right, dev_t device, ino_t inode);

/*
 * A removal takes three system calls.  Pauses for somebody else's that was under way
 * at `since` (CLOCK_MONOTONIC): true, look again; false, it has had its time.
 */
#define CLAIM_REMOVAL_TIME RELOCK_SECOND
bool claim_await_removal(int64_t since);

/*
 * With the right: removes the lock, then the right. -ESTALE if the lock's name
 * leads to another file, or nowhere: then nothing but the right is removed.
 * After another error the right is a claim file of the name `claim_name` again.
 */
int claim_unlock(int dir_fd, const char *lock_name, const char *claim_name, const char *right,
		 dev_t device, ino_t inode);
