/*
 * Ownership that can be seen at each line: a variable marked CLEANUP_... gives
 * back what it owns when it goes out of scope; TAKE_... hands it to somebody
 * else.
 */
#pragma once

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

/* An error path must not lose the error it reports. */
static inline void close_keeping_errno(int fd)
{
	int saved = errno;

	if (fd >= 0)
		close(fd);
	errno = saved;
}

static inline void cleanup_close(int *fd)
{
	close_keeping_errno(*fd);
}

static inline void cleanup_free(void *pointer)
{
	free(*(void **)pointer);
}

static inline void cleanup_closedir(DIR **dir)
{
	if (*dir)
		closedir(*dir);
}

#define CLEANUP_CLOSE    __attribute__((cleanup(cleanup_close)))
#define CLEANUP_FREE     __attribute__((cleanup(cleanup_free)))
#define CLEANUP_CLOSEDIR __attribute__((cleanup(cleanup_closedir)))

#define TAKE_FD(fd)                                                                                \
	({                                                                                         \
		int taken_ = (fd);                                                                 \
		(fd) = -1;                                                                         \
		taken_;                                                                            \
	})

#define TAKE_POINTER(pointer)                                                                      \
	({                                                                                         \
		__typeof__(pointer) taken_ = (pointer);                                            \
		(pointer) = NULL;                                                                  \
		taken_;                                                                            \
	})
