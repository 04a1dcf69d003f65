/*
 * What may take a while, done by another thread.
 *
 * A look at a lock walks through /proc, asks the name service for a user, and
 * reads the memory of processes; breaking one may wait for its holder.  The
 * session thread does none of this: it sends somebody, and answers the request
 * when they are back.
 *
 * A look may hang as long as somebody's execve(2) does (process.h), so there is
 * more than one thread for looks, and one that hangs does not stop the others.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "ledger.h"

struct errand {
	/* In the other thread.  Must not touch what is the session thread's. */
	void (*run)(struct errand *errand);
	/* In the session thread; the errand is the callee's to free. */
	void (*finish)(struct errand *errand);
	int result; /* of run(); -ENODEV if the mount ended first */
	bool is_break;
	bool is_for_nobody; /* for no request */
	struct ledger_errand *kept;
	STAILQ_ENTRY(errand) next;
};

struct errands;

/* Starts a thread; there will be up to `most`, each started when all others are
 * on the way.  With one, errands are run one after the other.  `event` is an
 * eventfd, written to when errands_finish() has something to do.  The request
 * that each is sent for stands in the ledger (NULL: there is none) until the
 * errand is finished.  -ENOMEM, -EAGAIN */
int errands_start(struct errands **ret, int event, size_t most, struct ledger *ledger);
void errands_add(struct errands *errands, struct errand *errand);
/* Finishes those that are back. */
void errands_finish(struct errands *errands);
/* Waits for those under way, finishes all, those that have not been run too, and
 * ends the threads. */
void errands_end(struct errands *errands);
