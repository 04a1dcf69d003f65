/*
 * Where relock's other parts are: beside this program in a build tree, or
 * where they were installed.
 */
#pragma once

/*
 * The first that exists of: `in_build_tree`, relative to this program's
 * folder; `installed`, an absolute path, moved along if the whole installation
 * was (DESTDIR).  To be freed; NULL if there is neither.
 */
char *installed_path(const char *in_build_tree, const char *installed);
