/*
 * Who sent a request.
 *
 * The kernel names a thread, in the pid namespace of the mount, or 0 if that
 * thread cannot be seen from there.  A holder is a process: a pid and a start
 * time.  Both are looked up while the request is unanswered, since until then
 * the thread is in the kernel and its id cannot be used again.
 *
 * What is read is /proc/TID/status, and /proc/PID/stat of whoever sent a request
 * that is unanswered.  Never cmdline, environ or maps: those read the memory of
 * the process or take its lock, and whoever maps a file of a slow FUSE server
 * there could stop the session thread, and with it every lock.  So the command
 * shown is the short one.
 *
 * Of a process that is in execve(2) the kernel (6.18 does) shows neither stat
 * nor what /proc/PID/fd/N and ns/pid lead to before that is over, which takes
 * as long as the program's file takes to be read, or a FUSE server to answer a
 * FLUSH of a descriptor closed there; it may be this one.  It does show status.
 * Who waits for an answer is not in execve, and neither is another thread of
 * its process: execve waits for all others to end first.  About everybody else
 * only another thread may ask (errand.h).
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct process {
	pid_t pid;              /* 0: not visible from here */
	pid_t thread;           /* that made the request */
	pid_t namespace_pid;    /* in the pid namespace it lives in; 0: that is ours */
	uint32_t pid_namespace; /* inode of its pid namespace; 0: ours, or not known */
	uint64_t start_time;    /* 0: not known */
	uid_t uid;
	gid_t gid;
	char command[16]; /* as in /proc/PID/comm; empty: not known */
};

/* Never fails: what cannot be found out stays unknown. */
void process_of_thread(struct process *ret, pid_t thread, uid_t uid, gid_t gid);

/* It has one thread, as far as can be known. */
bool process_is_single_threaded(const struct process *process);

bool process_is_same(const struct process *a, const struct process *b);

/* It has ended; its descriptors may live on in a child.  False where that cannot
 * be found out, and where its pid is another's by now. */
bool process_has_ended(const struct process *process);

/* It has ended, also where its pid is another's by now.  Not in the session
 * thread. */
bool process_is_gone(const struct process *process);

/* What there is in /proc/PID/comm; empty: not known. */
void process_command_of(pid_t pid, char command[16]);

/*
 * Calls back with each descriptor of the process, or of a thread of it that has
 * some of its own, that is open on this file; `access` is O_RDONLY, O_WRONLY or
 * O_RDWR.  False ends it.  Of a process with thousands only the first are
 * looked at.
 *
 * False: its descriptors, or not all of them, could be looked at.
 */
bool process_each_open(pid_t pid, pid_t thread, dev_t device, ino_t inode,
		       bool (*found)(void *argument, int number, int access), void *argument);

/* The process has this file open.  True where that cannot be found out. */
bool process_has_open(const struct process *process, dev_t device, ino_t inode);

/* It has it open by this number. */
bool process_has_open_at(pid_t pid, int number, dev_t device, ino_t inode);

/* Any process that can be seen has it open. */
bool process_any_has_open(dev_t device, ino_t inode);
