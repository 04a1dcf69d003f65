/*
 * libc's own functions behind those that the shim defines, where libc has no
 * other name for them.  Looked up once, when the shim starts, for dlsym(3) is
 * not async-signal-safe; who comes before that looks for itself, and nobody
 * calls these before then from a signal handler.
 */
#pragma once

#include <dirent.h>
#include <stdio.h>
#include <sys/types.h>

struct shim_real {
	FILE *(*freopen)(const char *path, const char *mode, FILE *stream);
	int (*closedir)(DIR *folder);
	int (*execvpe)(const char *file, char *const arguments[], char *const environment[]);
	pid_t (*fork)(void); /* _Fork(3); NULL before glibc 2.34 */
};

const struct shim_real *shim_real(void);
