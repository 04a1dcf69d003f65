/*
 * From errno to exit code.
 *
 * flock(1) set the precedent: a lock file that cannot be opened is
 * EX_NOINPUT, whatever the reason (sysexits.h: EX_NOPERM is not for file
 * system problems), one that cannot be made for want of room is
 * EX_CANTCREAT, and a kernel out of resources is EX_OSERR.
 */
#include "exit-code.h"

#include <errno.h>

int exit_code(int error)
{
	switch (-error) {
	case 0:
		return 0;
	case EAGAIN:
	case ETIMEDOUT:
	case EALREADY:
	case EBUSY:
	case ESTALE:
		return EXIT_NOT_HAD;
	case EINVAL:
	case ENAMETOOLONG:
	case EFBIG:
		return EX_USAGE;
	case EROFS:
	case ENOSPC:
	case EDQUOT:
		return EX_CANTCREAT;
	case ENOMEM:
	case EMFILE:
	case ENFILE:
	case ENOLCK:
		return EX_OSERR;
	case EPROTONOSUPPORT:
	case ENOSYS:
	case EOPNOTSUPP:
		return EX_UNAVAILABLE;
	case EIO:
		return EX_IOERR;
	case EINTR:
		return EX_TEMPFAIL;
	default:
		return EX_NOINPUT;
	}
}

int exec_exit_code(int error_number)
{
	return error_number == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT_EXECUTE;
}
