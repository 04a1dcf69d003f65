/*
 * Who a process is: its pid *and* its start time, on a boot, in a pid
 * namespace.  A pid alone is used again, and means another process in another
 * namespace; it is only ever looked up where all of this matches.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct self {
	pid_t pid;
	uid_t uid;
	uint64_t start_time;       /* 0: /proc is not mounted */
	uint64_t pid_namespace;    /* inode of /proc/self/ns/pid; 0: not known */
	unsigned char boot_id[16]; /* zeros: not known */
	char host[64];
	char command[160]; /* the command line, blanks between its words */
};

/* This process, as found out at the first call.  Valid until the next fork,
 * in whose child it is found out anew. */
const struct self *process_self(void);

/* To be called in the child, before anything else of the library is. */
void process_forget_self(void);

/* Field 22 of /proc/PID/stat.  -ESRCH: no such process; -ENOSYS: no /proc;
 * -EACCES: hidden (hidepid). */
int process_start_time(pid_t pid, uint64_t *ret);

/* A process of this pid and start time exists now.  Without /proc, and for
 * start_time 0, kill(2) says whether the pid does. */
bool process_is_alive(pid_t pid, uint64_t start_time);

/* It is proven that no process of this pid and start time (0: of this pid) runs
 * in this pid namespace: there is none, or another, or only what is left of it
 * until its parent asks how it ended.  False where nothing can be seen. */
bool process_is_proven_gone(pid_t pid, uint64_t start_time);

/* The moment of a start time. */
int64_t process_started(uint64_t start_time);

/* Command line with blanks between its words, or the name in brackets where
 * there is none (as ps does); cut to `size`.  -ESRCH, -EACCES, -ENOSYS */
int process_command(pid_t pid, char *buffer, size_t size);

/* Effective user id.  Errors as above. */
int process_uid(pid_t pid, uid_t *ret);

/* Reads a small file of /proc: at most size - 1 bytes, NUL-terminated.
 * Returns the length, or a negative errno. */
ssize_t proc_read(const char *path, char *buffer, size_t size);
