/*
 * On three file systems an OFD lock is worse than a legacy one.  A FUSE server
 * is not told which kind it is: it frees a legacy lock upon FLUSH, for which
 * there is no counterpart for OFD locks, and may keep those for ever.  CIFS
 * locks bind the handle that made them.  A 9p server knows the client's
 * processes, and no descriptions.
 *
 * The answer belongs to the mount, and the lock call has only a descriptor,
 * whose number may be another file's by now.  fstatfs(2) tells, at the price
 * of a look at the free blocks (ext4 sums counters over all processors; FUSE
 * asks its server).  statx(2) tells for less the mount's unique id, which is
 * never given to another mount until the next boot: so what was learned about
 * one stays true, and needs no lock, only a word each.  Kernels before 6.11
 * have no such id, or want a path, and pay for fstatfs each time.  (st_dev
 * would not do: the next mount gets the number of the one that went.)
 *
 * An unlock must take the way of its lock.  While this process has made no
 * legacy lock, that is the OFD way, and the look can be saved; but execve(2)
 * hands on legacy locks to a program that knows nothing of them.  So it is
 * saved only for descriptors that this program has taken the OFD way before.
 *
 * No locks here: each word is written and read as a whole, and none says
 * anything about another.  What a vfork child writes is true for its parent.
 */
#include "filesystem.h"

#include <linux/magic.h>
#include <stdatomic.h>
#include <stdint.h>

#include "raw.h"

#ifndef STATX_MNT_ID_UNIQUE /* headers before Linux 6.8 */
#define STATX_MNT_ID_UNIQUE 0x00004000U
#endif
#ifndef FUSE_SUPER_MAGIC /* <linux/magic.h> before 5.19 or so */
#define FUSE_SUPER_MAGIC 0x65735546
#endif
#ifndef CIFS_SUPER_MAGIC
#define CIFS_SUPER_MAGIC 0xFF534D42
#endif
#ifndef SMB2_SUPER_MAGIC
#define SMB2_SUPER_MAGIC 0xFE534D42
#endif

/*
 * What is known about mounts: the id, doubled, plus 1 if it keeps the legacy
 * calls; 0 is nothing.  A slot for ids that are equal modulo the table's size,
 * the last one stays.
 */
static _Atomic uint64_t known_mounts[64];

/* 1, 0, or a negative errno. */
static int ask_filesystem(int fd)
{
	struct statfs filesystem;

	int result = raw_fstatfs(fd, &filesystem);
	if (result < 0)
		return result;
	switch ((uint32_t)filesystem.f_type) {
	case FUSE_SUPER_MAGIC:
	case CIFS_SUPER_MAGIC:
	case SMB2_SUPER_MAGIC:
	case V9FS_MAGIC:
		return 1;
	default:
		return 0;
	}
}

/* This process may hold legacy locks that the shim has made. */
static _Atomic bool is_legacy_made;

/* A bit for each descriptor number that was found on a file system for OFD
 * locks; larger numbers do without. */
enum { DESCRIPTORS = 1024, WORD_BITS = 64 };
static _Atomic uint64_t seen_for_ofd[DESCRIPTORS / WORD_BITS];

static bool look(int fd)
{
	struct statx file;

	/* No path instead of an empty one: 10 % less.  Not synchronised: a look
	 * must not go to a server. */
	if (raw_statx(fd, NULL, AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_MNT_ID_UNIQUE, &file) <
		    0 ||
	    !(file.stx_mask & STATX_MNT_ID_UNIQUE))
		return ask_filesystem(fd) > 0;

	uint64_t mount = file.stx_mnt_id;
	_Atomic uint64_t *slot = &known_mounts[mount % (sizeof known_mounts / sizeof *slot)];
	uint64_t known = atomic_load_explicit(slot, memory_order_relaxed);
	if (known >> 1 == mount && known != 0)
		return known & 1;

	int keeps_legacy = ask_filesystem(fd);
	if (keeps_legacy >= 0)
		atomic_store_explicit(slot, mount << 1 | (unsigned)keeps_legacy,
				      memory_order_relaxed);
	return keeps_legacy > 0;
}

bool shim_filesystem_keeps_legacy(int fd)
{
	bool keeps_legacy = look(fd);

	if (keeps_legacy)
		atomic_store_explicit(&is_legacy_made, true, memory_order_relaxed);
	else if (fd >= 0 && fd < DESCRIPTORS)
		atomic_fetch_or_explicit(&seen_for_ofd[fd / WORD_BITS],
					 UINT64_C(1) << fd % WORD_BITS, memory_order_relaxed);
	return keeps_legacy;
}

bool shim_filesystem_has_no_legacy_lock(int fd)
{
	if (fd < 0 || fd >= DESCRIPTORS ||
	    atomic_load_explicit(&is_legacy_made, memory_order_relaxed))
		return false;
	return atomic_load_explicit(&seen_for_ofd[fd / WORD_BITS], memory_order_relaxed) >>
		       fd % WORD_BITS &
	       1;
}
