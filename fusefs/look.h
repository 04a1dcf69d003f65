/*
 * Looking at one lock, on behalf of a request.
 */
#pragma once

#include "errand.h"
#include "server.h"

struct look {
	struct errand errand;
	struct server *server;
	fuse_req_t request;
	struct entry *entry; /* pinned */
	uid_t unknown_user;  /* that the run has to ask for */
	/* The request's own. */
	void (*answer)(struct look *look);
	bool thorough; /* also what is dear: waiters outside the mount, heirs */
	uint64_t handle;
	size_t size;
	off_t offset;
	char *key;

	struct relock_status *status;
	struct heir_search *heirs; /* under way */
	bool wants_store, knows_heirs;
	bool openers_are_seen; /* as in state.h */
};

/*
 * Has the entry looked at, and then calls `answer`, which answers the request;
 * if the look fails, the request is answered here.  The look is copied; `key`,
 * if it has one, belongs to it.
 */
void look_send(const struct look *look);
