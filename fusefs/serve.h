/*
 * Serving a mount, from the store to the last request.
 */
#pragma once

#include <stdbool.h>

#ifndef FUSE_USE_VERSION
#define FUSE_USE_VERSION 312
#endif

#include <fuse3/fuse_lowlevel.h>
#include <relock.h>

#include "permissions.h"

struct ledger;

struct serving {
	const char *mountpoint; /* absolute */
	const char *store;      /* URL */
	struct fuse_args *arguments;
	struct permissions permissions;
	/* Where to say that the mount is there, and that this process is in the
	 * background from then on; -1: it is in the foreground. */
	int ready;

	/* Of a supervised mount; else NULL. */
	struct ledger *ledger;
	int device; /* /dev/fuse, mounted; -1: not yet */
	bool is_in_foreground;
};

/*
 * Mounts, serves, and unmounts again; of a supervised mount it serves only.
 * Says what goes wrong.  Negative errno; -EOWNERDEAD: the supervisor has ended,
 * and nothing was given back.
 */
int serve(const struct serving *serving);

/* Mounts, without serving yet.  libfuse's session is the caller's; NULL if that
 * failed, and it has been said why. */
struct fuse_session *serve_mount(struct fuse_args *arguments, const char *mountpoint);
