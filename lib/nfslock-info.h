/*
 * What a lock file of Core_unix's Lock_file.Nfs says: who has the lock, and why.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct nfslock_info {
	char *host;
	pid_t pid;
	char *message; /* bytes; a NUL follows */
	size_t message_length;
	int64_t started; /* when the process began, since the epoch; 0: not known */
};

/* Reads the text of a lock file.  -EBADMSG if it is none; -ENOMEM.  What it gives
 * is to be freed with nfslock_info_free(). */
int nfslock_info_read(const char *text, size_t length, struct nfslock_info *ret);
void nfslock_info_free(struct nfslock_info *info);

/* The text, as create_v2 writes it, to be freed by the caller; NULL without memory. */
char *nfslock_info_write(const struct nfslock_info *info);
