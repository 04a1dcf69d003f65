/*
 * The first record lock through a descriptor: whose it is, and how the file's
 * locks shall be made from now on.
 */
#pragma once

#include "descriptors.h"

/* The descriptor's tag with its file, made if there was none; 0 where there
 * cannot be one, and the lock call itself will say what is wrong. */
descriptor_tag shim_adoption_begin(int fd);

/* The same if this process has locked the file before; else 0. */
descriptor_tag shim_adoption_known(int fd);

/* The shim's description has not the access that the descriptor has, and is
 * opened anew.  A negative errno: it cannot be; then the file's locks belong to
 * its opens from now on, or to both in one case that description.c tells. */
int shim_adoption_widen(descriptor_tag tag, int fd);

/* What is to be done for the file behind `fd`, as settings and file system
 * have it. */
enum locked_file_kind shim_adoption_kind(int fd);
