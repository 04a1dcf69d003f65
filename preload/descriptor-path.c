/*
 * See descriptor-path.h.  The kernel writes " (deleted)" behind the path of a
 * file whose name is gone (d_path() in fs/d_path.c), and a file may have a name
 * that ends so.  The link count does not tell them apart: a file that has
 * another name left, has links.  So it is asked whether that name leads to this
 * very file; that takes a look at the tree, for such names only.
 */
#include "descriptor-path.h"

#include <string.h>

#include "raw.h"
#include "text.h"

static const char suffix[] = " (deleted)";
enum { SUFFIX_LENGTH = sizeof suffix - 1 };

/* Not synchronised: the look must not go to a server. */
__attribute__((noinline)) static bool is_path_of(int fd, const char *path)
{
	struct statx file, named;

	return raw_statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &file) == 0 &&
	       raw_statx(AT_FDCWD, path, AT_SYMLINK_NOFOLLOW | AT_STATX_DONT_SYNC, STATX_INO,
			 &named) == 0 &&
	       file.stx_ino == named.stx_ino && file.stx_dev_major == named.stx_dev_major &&
	       file.stx_dev_minor == named.stx_dev_minor;
}

ssize_t shim_descriptor_path(int fd, char *buffer, size_t size, bool *ret_is_deleted)
{
	char link[64];
	struct text text = TEXT(link);

	/* The calling thread's: the first thread of a process may have ended. */
	text_add(&text, "/proc/thread-self/fd/");
	text_add_number(&text, fd);
	ssize_t length = raw_readlink(link, buffer, size);

	*ret_is_deleted = false;
	if (length <= SUFFIX_LENGTH || (size_t)length == size || buffer[0] != '/' ||
	    memcmp(buffer + length - SUFFIX_LENGTH, suffix, SUFFIX_LENGTH) != 0)
		return length;
	buffer[length] = '\0';
	if (is_path_of(fd, buffer))
		return length;
	*ret_is_deleted = true;
	return length - SUFFIX_LENGTH;
}
