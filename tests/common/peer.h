/*
 * Peers: other processes that a test steers.
 *
 * A test of a lock needs somebody else who holds it, waits for it, or dies
 * with it.  A peer is a forked child at the end of a socket pair: the test
 * tells it to go on, the peer says how far it has come.  Nobody sleeps: each
 * side waits on the socket, and a peer whose test is gone reads end-of-file
 * and ends.
 */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

struct peer {
	pid_t pid;
	int fd;
};

/* What a peer runs; its return value is the peer's exit status. */
typedef int peer_main(struct peer *self, void *arg);

/* Forks a peer.  Fails the test if that cannot be done. */
struct peer peer_start(peer_main *main, void *arg);

/* Both sides: send one number, or wait for one (at most 20 s; fails the test
 * on the test's side, ends the peer on its own side). */
void peer_say(struct peer *peer, int value);
int peer_hear(struct peer *peer);

/* Test's side: the peer said nothing so far. */
bool peer_is_silent(struct peer *peer);

/* SIGKILL and reap. */
void peer_kill(struct peer *peer);

/* Waits for the peer's end and returns its wait status. */
int peer_reap(struct peer *peer);

/* Waits until a thread of this process is blocked in the system call `number`
 * (from <sys/syscall.h>).  The kernel tells of no event for this, so it looks
 * at /proc/PID/task/TID/syscall again and again, giving up the processor in
 * between; 20 s at most, then the test fails. */
void wait_until_blocked(pid_t pid, long number);

/* The same of one thread. */
void wait_until_task_blocked(pid_t pid, pid_t tid, long number);

/* One look: is that thread (0: any thread) of the process blocked there now? */
bool task_is_blocked(pid_t pid, pid_t tid, long number);
