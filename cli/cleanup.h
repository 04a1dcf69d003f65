/*
 * Who owns what, visible at the line that gets it: a variable marked
 * CLEANUP_... gives its resource back on every way out of its scope.
 */
#pragma once

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "relock.h"

#define CLEANUP(function) __attribute__((cleanup(function)))
#define CLEANUP_FREE      CLEANUP(cleanup_free)
#define CLEANUP_CLOSE     CLEANUP(cleanup_close)
#define CLEANUP_FCLOSE    CLEANUP(cleanup_fclose)
#define CLEANUP_STATUS    CLEANUP(cleanup_status)
#define CLEANUP_STORE     CLEANUP(cleanup_store)

static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
}

static inline void cleanup_fclose(FILE **file)
{
	if (*file)
		fclose(*file);
}

static inline void cleanup_status(struct relock_status **status)
{
	relock_status_free(*status);
}

static inline void cleanup_store(relock_store **store)
{
	relock_store_close(*store);
}
