/*
 * The folder to mount on.
 */
#pragma once

#include <sys/types.h>

/*
 * The folder's absolute path, to be freed, if a mount may go there; else says
 * why not and how to clear it.
 *
 * -ENOTCONN  a dead mount, whose daemon is gone, is there
 * -EBUSY     a live relockfs is there
 * and errors of stat(2)
 */
int mountpoint_check(const char *path, char **ret);

/* The device number of what is mounted there, by the mount's own daemon.
 * Never asks that daemon. */
int mountpoint_device(const char *path, dev_t *ret);

/* Unmounts what has this connection, if it is still there; open files go on for as
 * long as somebody serves them. */
void mountpoint_unmount(const char *path, int device);
