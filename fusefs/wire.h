/*
 * The few words of the kernel's protocol that libfuse has no functions for:
 * they matter to a process that goes on where another was killed, and to those
 * that are not to be waited for.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wire_request {
	uint64_t unique;
	uint64_t interrupted; /* of INTERRUPT: the request that it is about; else 0 */
	uint64_t poll;        /* of FUSE_POLL: whom to wake, if that is asked for; else 0 */
	bool is_first;        /* FUSE_INIT */
	bool has_no_turn;     /* FORGET, INTERRUPT: come before others that are older */
	bool has_no_reply;    /* FORGET */
};

/* A request as it was read from /dev/fuse.  False: too short to be one. */
bool wire_parse(const void *bytes, size_t length, struct wire_request *ret);

/* Answers a request of which nothing but the number is known.  `error` is a
 * negative errno, or 0 where that is all there is to say.  Errors of write(2);
 * -ENOENT: nobody waits for it. */
int wire_answer(int fd, uint64_t unique, int error);
/* The same to OPEN: the file is open, by that number. */
int wire_answer_open(int fd, uint64_t unique, uint64_t file, bool direct_io);

/* Lets the kernel send once more what it has sent and not got an answer to:
 * the numbers have LEDGER_RESENT set then.  -EINVAL before Linux 6.9 */
int wire_resend(int fd);

/* Lets the kernel give up what it knows of an inode, if nobody uses it: no lock
 * of a directory is taken for it.  -EINVAL before Linux 6.18 */
int wire_prune(int fd, uint64_t inode);

/* Does the kernel know the inode?  -ENOENT: it does not. */
int wire_probe(int fd, uint64_t inode);

/* Wakes who polls with that number. */
int wire_wake(int fd, uint64_t poll);
