/* The path of an open file. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/*
 * The path of the file behind `fd`, as /proc has it, without a NUL and without
 * the " (deleted)" behind it, which *ret_is_deleted tells.  What is no file of
 * the tree has a name that does not begin with '/': "pipe:[4711]".
 *
 * Returns the length, `size` if it may have been cut; or a negative errno:
 * -ENOENT without /proc, -ENAMETOOLONG if not even the kernel can tell it.
 */
ssize_t shim_descriptor_path(int fd, char *buffer, size_t size, bool *ret_is_deleted);
