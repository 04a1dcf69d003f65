/*
 * A user's name for people.
 */
#pragma once

#include <sys/types.h>

/* Its name, else its number; "-" if not known.  To be freed; never NULL. */
char *user_name(uid_t uid);
