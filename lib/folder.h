/*
 * The folder of a store.
 */
#pragma once

#include <stdbool.h>

/*
 * Opens the folder that a store's URL names, with O_PATH.  With `any_folder` the
 * user has named it itself, see relock_lock_open_path(), and any will do; else
 * only one in which nobody but root and the caller can swap files.
 *
 * -ENOENT -ENOTDIR -ELOOP -EPERM, with message, and others of open(2)
 */
int folder_open(const char *path, bool any_folder, int *ret_fd);

/* Does this kernel see all that happens in it, so that inotify(7) can tell?  On
 * a network file system, or one that is not known, others change it unseen. */
bool folder_is_local(int fd);
