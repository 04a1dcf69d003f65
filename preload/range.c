/*
 * The kernel's arithmetic of byte ranges, flock64_to_posix_lock() in
 * fs/locks.c: whence plus l_start is the beginning; a positive l_len goes
 * forward from it, a negative one is the bytes before it, 0 is to the end.
 */
#include "range.h"

#include <errno.h>
#include <stdint.h>

#include "raw.h"

struct flock shim_range_from_offset(short type, off_t length)
{
	return (struct flock){.l_type = type, .l_whence = SEEK_CUR, .l_len = length};
}

static off_t whence_origin(int fd, short whence)
{
	struct statx file;
	int result;

	switch (whence) {
	case SEEK_SET:
		return 0;
	case SEEK_CUR:
		return raw_lseek(fd, 0, SEEK_CUR);
	case SEEK_END:
		result = raw_statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &file);
		return result < 0 ? result : (off_t)file.stx_size;
	default:
		return -EINVAL;
	}
}

int shim_range_resolve(int fd, const struct flock *request, off_t *ret_first, off_t *ret_last)
{
	off_t first, last = INT64_MAX;
	off_t origin = whence_origin(fd, request->l_whence);

	/* A pipe has no offset; the kernel takes it for 0. */
	if (origin == -ESPIPE)
		origin = 0;
	if (origin < 0)
		return (int)origin;
	if (__builtin_add_overflow(origin, request->l_start, &first))
		return -EOVERFLOW;
	if (first < 0)
		return -EINVAL;
	if (request->l_len > 0) {
		if (__builtin_add_overflow(first, request->l_len - 1, &last))
			return -EOVERFLOW;
	} else if (request->l_len < 0) {
		last = first - 1;
		if (__builtin_add_overflow(first, request->l_len, &first) || first < 0)
			return -EINVAL;
	}
	*ret_first = first;
	*ret_last = last;
	return 0;
}

int shim_range_fix(int fd, struct flock *range)
{
	if (range->l_whence != SEEK_CUR)
		return 0;

	off_t origin = whence_origin(fd, SEEK_CUR);
	if (origin == -ESPIPE)
		origin = 0;
	if (origin < 0)
		return (int)origin;
	if (__builtin_add_overflow(origin, range->l_start, &range->l_start))
		return -EOVERFLOW;
	range->l_whence = SEEK_SET;
	return 0;
}
