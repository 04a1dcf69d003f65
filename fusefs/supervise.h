/*
 * A mount that outlives its serving process.
 *
 *	supervisor     has the mount, starts the server, waits for its end
 *	    |          clone(CLONE_FILES): one table of descriptors for both
 *	server         all the rest; what it knows is in the ledger (ledger.h)
 *
 * Whatever the server opens, the supervisor has: when the server is killed, the
 * kernel closes nothing, and every lock in the store is still held.  The next
 * server takes up the ledger (recover.h).
 *
 * The supervisor does next to nothing, so that there is nothing to go wrong.  If
 * it is killed all the same, the server notices, and becomes supervisor of a
 * new server, by the same way as the supervisor becomes that of a new version:
 * execve(2), with the descriptors kept open.
 *
 *	SIGTERM, SIGINT, SIGHUP   are the server's, see relockfs(8)
 *	SIGUSR1                   a new server, of the program as it is now on disk
 */
#pragma once

#include "serve.h"

struct supervision {
	struct serving serving;
	char **arguments; /* of the program */
};

/* Mounts and supervises.  The exit status of the program. */
int supervise(struct supervision *supervision);

/* This process has been executed to go on with a mount: the ledger and the
 * mounted device.  False: it has not. */
bool supervise_is_successor(struct supervision *ret);
