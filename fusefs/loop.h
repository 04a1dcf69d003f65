/*
 * The session loop: one thread, which serves requests in the order they come.
 *
 * That order is what makes an open with O_NONBLOCK, right after a close, find
 * the lock free.  So nothing in this thread may block.
 */
#pragma once

#include "server.h"

/*
 * Serves until the mount is gone or a signal ends it.  `signals` is a signalfd
 * for SIGTERM, SIGINT and SIGHUP: the first ends the mount if no lock is held
 * or waited for, the second in any case.  SIGUSR2 is for the end of a supervisor:
 * -EOWNERDEAD.  Other negative errno if the connection to the kernel fails.
 */
int loop_run(struct server *server, int signals);
