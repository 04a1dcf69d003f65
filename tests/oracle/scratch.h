/*
 * A folder for one run, and its end.
 */
#pragma once

/* Makes SCHEME:FOLDER, in $TMPDIR or /tmp; NULL, with errno, if it cannot. */
char *scratch_store_make(const char *scheme);
/* Removes the folder with all that is in it, and frees the URL. */
void scratch_store_remove(char *url);
