/*
 * See read-all.h.  Files of /proc may give less than there is at once, and so may
 * those of a network.
 */
#include "read-all.h"

#include <errno.h>
#include <unistd.h>

int read_all(int fd, void *buffer, size_t size, size_t *ret_length)
{
	size_t length = 0;

	while (length < size) {
		ssize_t part = pread(fd, (char *)buffer + length, size - length, (off_t)length);
		if (part < 0 && errno == EINTR)
			continue;
		if (part < 0)
			return -errno;
		if (part == 0)
			break;
		length += (size_t)part;
	}
	*ret_length = length;
	return 0;
}
