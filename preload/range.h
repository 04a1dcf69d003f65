/* Byte ranges: from lockf(3)'s arguments, and to absolute offsets. */
#pragma once

#include <fcntl.h>

/* A lock of `length` bytes from the current offset (negative: before it), as
 * lockf(3) means it; type is F_RDLCK, F_WRLCK or F_UNLCK. */
struct flock shim_range_from_offset(short type, off_t length);

/*
 * The first and the last byte of a request, as the kernel resolves it;
 * INT64_MAX is the last of one that goes to the end however far it grows.
 *
 * -EINVAL     bad l_whence, or it begins before the file
 * -EOVERFLOW  it ends beyond what off_t holds
 * and the errors of lseek(2).
 */
int shim_range_resolve(int fd, const struct flock *request, off_t *ret_first, off_t *ret_last);

/*
 * Makes a range mean the same on another description of the file: one that is
 * relative to the offset of `fd` becomes an absolute one, others stay.
 *
 * -EOVERFLOW  it begins beyond what off_t holds
 * and the errors of lseek(2); one that begins before the file stays wrong.
 */
int shim_range_fix(int fd, struct flock *range);
