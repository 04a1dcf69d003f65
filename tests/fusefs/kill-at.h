/*
 * What a test and the library in its server (kill-at.c) have in common: memory,
 * in the file that $KILL_AT names.
 */
#pragma once

#include <stdatomic.h>

struct kill_at {
	/* Calls that may be begun or ended until the server is killed; 0: it is
	 * not. */
	_Atomic long countdown;
	_Atomic long kills;
	/* FUSE_NOTIFY_RESEND gets EINVAL, as before Linux 6.9. */
	_Atomic int cannot_resend;
	/* Each server that reads a request with this text in it is killed; empty:
	 * none. */
	char deadly[32];
};
