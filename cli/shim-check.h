/*
 * Will the dynamic linker load the shim into a program?
 */
#pragma once

/*
 * Finds out, before it is run, why LD_PRELOAD would do nothing in a program.
 * NULL if the shim will be loaded, or if that cannot be told (a program that
 * may be run but not read).  Else the reason, as the end of a sentence that
 * begins with "it": "is statically linked"; to be freed.  `ret_remedy` is set
 * to static text, what to do about it.
 */
char *shim_check(const char *path, const char **ret_remedy);
