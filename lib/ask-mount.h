/*
 * How to ask a mount to take a lock from its holders: an ioctl(2) on the
 * mount's root directory, with the lock's name.
 *
 * Not unlink(2): the kernel keeps the directory locked until it is answered,
 * and the daemon's answer to one may wait for that of another mount, or of its
 * own to somebody who asks on its behalf.  Two that waited for each other's
 * directory could not even be killed.  The kernel takes no lock for an ioctl,
 * and the daemon answers it at once: if the mount does not hold the lock any
 * more, there is nothing to ask it for.
 *
 * It also says who wants it so, for the record.  Root may name anybody, as another
 * mount's daemon does on behalf of an rm(1) there; others are believed what they
 * say of a process of their own user.
 *
 * 0; ENOENT: no holder of that name in this mount; EPERM: another user's
 */
#pragma once

#include <stdint.h>
#include <sys/ioctl.h>

#include "relock.h"

struct mount_break {
	char name[RELOCK_NAME_MAX + 1]; /* NUL-terminated, as the command */
	int32_t by_pid;                 /* 0: out of sight */
	uint32_t by_uid;
	char by_command[16];
};

#define MOUNT_BREAK _IOW('k', 0x4c, struct mount_break)
