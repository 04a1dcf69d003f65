/* What the early program and its library share. */
#pragma once

#include <sys/types.h>

/* Opens the file and locks one byte; the descriptor, or -1. */
int early_lock(const char *path, off_t start);
/* The one that the library's constructor locked. */
extern int early_constructor_fd;
/* What the library's fork handlers lock: byte 20 before and after, and 30 in
 * the child.  NULL: nothing. */
extern const char *early_forked_path;
