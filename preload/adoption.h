/*
 * The first record lock through a descriptor: whose it is, and how the file's
 * locks shall be made from now on.
 */
#pragma once

#include "descriptors.h"

/*
 * The descriptor's tag with its file, made if there was none.
 *
 * -EBADF   there is no such descriptor, or none that can be locked through.
 *          The answer is final: the program's call is not to be made after it,
 *          as another thread may have opened the number again.
 * -ENOLCK  there cannot be a tag, and the program's call is all that is left
 */
int shim_adoption_begin(int fd, descriptor_tag *ret);

/* The same if this process has locked the file before; else 0. */
descriptor_tag shim_adoption_known(int fd);

/* The shim's description has not the access that the descriptor has, and is
 * opened anew.  A negative errno: it cannot be; then the file's locks belong to
 * its opens from now on, or to both in one case that description.c tells. */
int shim_adoption_widen(descriptor_tag tag, int fd);

/* What is to be done for the file behind `fd`, as settings and file system
 * have it. */
enum locked_file_kind shim_adoption_kind(int fd);
