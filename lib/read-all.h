/* Reading a small file whole. */
#pragma once

#include <stddef.h>

/* From its beginning, until `size` bytes or the end.  A negative errno, or 0. */
int read_all(int fd, void *buffer, size_t size, size_t *ret_length);
