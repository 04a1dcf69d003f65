/* Who holds an OFD lock. */
#pragma once

#include <fcntl.h>
#include <sys/types.h>

/*
 * The process that holds `conflict`, an OFD lock in the way of `fd`'s open
 * file description, as F_OFD_GETLK reported it: l_whence is SEEK_SET, and type
 * and range are those of the lock.  Another process rather than this one, if
 * both hold such a lock.  0 where the holder is out of sight: another user's
 * process, another pid namespace, no /proc, or gone by now.
 */
pid_t shim_holder_pid(int fd, const struct flock *conflict);
