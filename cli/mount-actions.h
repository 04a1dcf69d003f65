/*
 * What `relock mount` does with mounts that are there: each returns the exit
 * code.
 */
#pragma once

#include <stddef.h>

struct table_options;

/* Shows how these mounts are, all if there are none. */
int mount_status(char *const folders[], size_t count, const struct table_options *options);
void mount_status_print_columns(void);

/* Removes a mount whose daemon is gone. */
int mount_clear(const char *folder);

/* Lets a supervised daemon be followed by the program as installed now. */
int mount_upgrade(const char *folder);
