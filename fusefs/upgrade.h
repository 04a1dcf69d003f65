/*
 * Whether the program as it is on disk now can go on with a mount.
 *
 * Once a supervisor has given its place to another program there is no way back,
 * and what that cannot take up is lost: every lock and every waiter.  So the
 * program is run once before, with --ledger-layout.  A file that is missing, that
 * is no program, that lacks a library, crashes or hangs, shows itself then; and so
 * does another version, which writes the ledger in another way (ledger.h).
 */
#pragma once

#include <stdbool.h>

enum { UPGRADE_REASON_SIZE = 512 };

/* False: `reason` says why not. */
bool upgrade_is_possible(const char *program, char reason[UPGRADE_REASON_SIZE]);
