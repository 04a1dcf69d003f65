/* See error-name.h.  glibc has strerrorname_np(3) since 2.32 only. */
#include "error-name.h"

#include <errno.h>

static const char *error_name(int error)
{
	switch (error) {
	case EACCES:
		return "EACCES";
	case EAGAIN:
		return "EAGAIN";
	case EBADF:
		return "EBADF";
	case EDEADLK:
		return "EDEADLK";
	case EFAULT:
		return "EFAULT";
	case EINTR:
		return "EINTR";
	case EINVAL:
		return "EINVAL";
	case EIO:
		return "EIO";
	case ELOOP:
		return "ELOOP";
	case EMFILE:
		return "EMFILE";
	case ENFILE:
		return "ENFILE";
	case ENOENT:
		return "ENOENT";
	case ENOLCK:
		return "ENOLCK";
	case ENOMEM:
		return "ENOMEM";
	case ENOSYS:
		return "ENOSYS";
	case ENXIO:
		return "ENXIO";
	case EOPNOTSUPP:
		return "EOPNOTSUPP";
	case EOVERFLOW:
		return "EOVERFLOW";
	case EPERM:
		return "EPERM";
	case EROFS:
		return "EROFS";
	case ESTALE:
		return "ESTALE";
	case ETXTBSY:
		return "ETXTBSY";
	default:
		return NULL;
	}
}

void text_add_error(struct text *text, int error)
{
	const char *name = error_name(error);

	text_add(text, name ? name : "errno ");
	if (!name)
		text_add_number(text, error);
}
