/*
 * relockfs without FUSE: in place of libfuse, and of the threads of the mount,
 * for target-operations.c.
 *
 * libfuse is a seam that the linker joins: the functions that fusefs/ calls to
 * learn about a request and to answer it are defined here, and a request is a
 * structure of ours.  Likewise errands (errand.h) are done when the target says
 * so, and a wait for the store (store-wait.h) is tried when it says so, so that
 * a fuzzer is in charge of the order of things, and finds the same each time.
 */
#pragma once

#include <sys/queue.h>

#include "server.h"

enum request_kind {
	REQUEST_LOOKUP,
	REQUEST_CREATE,
	REQUEST_OPEN,
	REQUEST_OPENDIR,
	REQUEST_FLOCK,
	REQUEST_RELEASE,
	REQUEST_OTHER,
};

/* fuse_req_t points to it. */
struct fuse_req {
	TAILQ_ENTRY(fuse_req) in_list;
	struct server *server;
	struct fuse_ctx context;
	enum request_kind kind;
	uint64_t number;
	bool interrupted;
	bool gone;     /* whoever asked is dead: the kernel takes no answer */
	uint64_t file; /* of FLOCK: the handle */
	int operation; /* of FLOCK */
	int flags;     /* of OPEN and CREATE */
	bool parked;   /* libfuse knows it no more; it is answered by its number */

	/* The answer. */
	bool answered;
	int error;
	fuse_ino_t node;   /* of LOOKUP and CREATE; of OPEN it is what was asked for */
	uint64_t new_file; /* of OPEN, CREATE, OPENDIR */
};

TAILQ_HEAD(fake_requests, fuse_req);

struct fake {
	struct fake_requests waiting, answered; /* all requests that are not freed yet */
	/* errands: those that a request waits for */
	size_t waiting_count, errand_count, poll_count;
	bool (*coin)(void); /* for what depends on the kernel's scheduling */
};

extern struct fake fake;

/* A request that nobody has answered yet. */
fuse_req_t fake_request(struct server *server, enum request_kind kind);
/* As when the kernel sends INTERRUPT. */
void fake_interrupt(fuse_req_t request);
struct fuse_pollhandle *fake_pollhandle(void);
/* Does the errand that has waited longest; false: there was none. */
bool fake_errand(void);
/* Waits that can end do so; false: there was none. */
bool fake_waits(struct mount *mount);

/* Prints what does not hold, and aborts. */
#define EXPECT(what)                                                                               \
	do                                                                                         \
		if (!(what))                                                                       \
			fake_fail(#what, __FILE__, __LINE__);                                      \
	while (0)
void fake_fail(const char *what, const char *file, int line) __attribute__((noreturn));
