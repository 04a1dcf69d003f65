/*
 * Which open file description is it?  The shim knows of the duplicates that
 * the program has made, and asks the kernel about those that it was started
 * with or was sent.
 *
 * How are its locks made?  By the process, on a description of the shim's own,
 * where that can be had.  RELOCK_POLICY and the file system may have it
 * otherwise; and for a file that cannot be opened again (privileges were
 * dropped, /proc is not there, it is a device) the locks go to the program's
 * own descriptors, as in `ofd` semantics.  It is decided for an inode, with
 * its first lock: locks of two kinds on one file would be in each other's way.
 */
#include "adoption.h"

#include <errno.h>
#include <sys/single_threaded.h>

#include "child.h"
#include "closing.h"
#include "debug.h"
#include "description.h"
#include "error-name.h"
#include "filesystem.h"
#include "gate.h"
#include "handover.h"
#include "policy.h"
#include "private-fd.h"
#include "raw.h"
#include "semantics.h"
#include "settings.h"
#include "text.h"

static void note_fallback(int fd, int error)
{
	char note[160];
	struct text text = TEXT(note);

	text_add(&text, "the file of descriptor ");
	text_add_number(&text, fd);
	text_add(&text, " cannot be opened again (");
	text_add_error(&text, error);
	text_add(&text, "): its locks belong to its opens, as with `ofd`");
	shim_debug_note(note);
}

/* Asked once: a sandbox has them or not. */
static bool kernel_has_ofd_locks(int fd)
{
	enum { UNKNOWN, HAS, HAS_NOT };
	static _Atomic int known = UNKNOWN;

	if (atomic_load_explicit(&known, memory_order_relaxed) == UNKNOWN) {
		struct flock question = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
		int result = raw_fcntl(fd, F_OFD_GETLK, &question);
		bool has = result != -EINVAL && result != -EPERM && result != -ENOSYS;
		atomic_store(&known, has ? HAS : HAS_NOT);
	}
	return atomic_load_explicit(&known, memory_order_relaxed) == HAS;
}

enum locked_file_kind shim_adoption_kind(int fd)
{
	struct shim_settings scratch;
	const struct shim_settings *settings = shim_settings(&scratch);
	enum shim_choice choice = settings->semantics;
	bool is_by_rule = false;

	if (settings->has_policy)
		choice = shim_policy_choice(settings, fd, &is_by_rule);
	if (choice == SHIM_LEGACY || (!is_by_rule && shim_filesystem_keeps_legacy(fd)))
		return LOCKED_LEGACY;
	if (!kernel_has_ofd_locks(fd)) {
		shim_note_no_ofd_locks();
		return LOCKED_LEGACY;
	}
	return choice == SHIM_OFD ? LOCKED_BY_OPEN : LOCKED_BY_PROCESS;
}

/*
 * There was no room to note a file: it has the program's own calls then, and
 * every file that is not known yet has them from now on.  Were it noted after
 * all with its next lock, the shim's description would conflict with the legacy
 * lock that is there, and closing one would take that away.
 */
static _Atomic bool is_out_of_room;

static void note_out_of_room(void)
{
	if (!atomic_exchange(&is_out_of_room, true))
		shim_debug_note("no memory for more files: legacy record locks for all that are "
				"not known yet");
}

static uint8_t access_mode(int flags)
{
	switch (flags & O_ACCMODE) {
	case O_RDONLY:
		return LOCKED_READABLE;
	case O_WRONLY:
		return LOCKED_WRITABLE;
	case O_RDWR:
		return LOCKED_READABLE | LOCKED_WRITABLE;
	default:
		return 0;
	}
}

/* Another thread may have closed it, or made it another file's. */
static bool is_still(const struct stat *stat, int fd)
{
	struct stat now;

	return raw_fstat(fd, &now) == 0 && now.st_ino == stat->st_ino && now.st_dev == stat->st_dev;
}

/* The same through a duplicate, which nobody closes meanwhile.  -EAGAIN: the
 * descriptor is another file's by now. */
static int open_through_duplicate(const struct stat *stat, int fd, uint8_t access, uint32_t number)
{
	int duplicate = shim_private_duplicate(fd);

	if (duplicate < 0)
		return is_still(stat, fd) ? duplicate : -EAGAIN;
	int result = is_still(stat, duplicate)
			     ? shim_description_open(locked_file_at(number), duplicate, access)
			     : -EAGAIN;
	shim_private_close(duplicate);
	return result;
}

/* -ENOLCK: there is no room; -EAGAIN: as above. */
static int make_file(const struct stat *stat, int fd, uint8_t access, uint32_t *ret)
{
	enum locked_file_kind kind = shim_adoption_kind(fd);
	int result = -EINVAL;

	uint32_t number = shim_watch_forks() ? locked_file_add(stat, kind) : 0;
	if (!number)
		return -ENOLCK;
	*ret = number;
	if (kind != LOCKED_BY_PROCESS)
		return 0;
	if (S_ISREG(stat->st_mode))
		result = shim_description_open(locked_file_at(number), fd, access);
	/* The number may have been another file's, or nobody's, for a moment. */
	if (result < 0 && S_ISREG(stat->st_mode) && !__libc_single_threaded)
		result = open_through_duplicate(stat, fd, access, number);
	if (result >= 0)
		return 0;
	if (result == -EAGAIN) {
		locked_file_remove(number);
		return result;
	}
	note_fallback(fd, -result);
	locked_file_at(number)->kind = LOCKED_BY_OPEN;
	return 0;
}

static void rename_open(uint32_t from, uint32_t to)
{
	for (int fd = descriptor_next(0); fd >= 0; fd = descriptor_next(fd + 1)) {
		descriptor_tag tag = descriptor_tag_of(fd);
		if (tag_open(tag) == from)
			descriptor_tag_replace(
				fd, tag,
				tag_make(to, tag_file(tag), tag & (TAG_READABLE | TAG_WRITABLE)));
	}
}

/*
 * The id of `fd`'s open.  There can be several by now: duplicates that the
 * program was started with have got theirs one by one, when they were
 * duplicated again.  One stays, by preference the one that has locked.
 */
static uint32_t find_open(uint32_t file, int fd)
{
	uint32_t open = tag_open(descriptor_tag_of(fd)), seen = open;

	for (int other = descriptor_next(0); other >= 0; other = descriptor_next(other + 1)) {
		descriptor_tag tag = descriptor_tag_of(other);
		uint32_t another = tag_open(tag);
		/* In a forked child, no tag has a file at first. */
		if (other == fd || another == open || another == seen ||
		    (tag_file(tag) && tag_file(tag) != file))
			continue;
		seen = another;
		if (descriptor_is_same_open(fd, other) != 1)
			continue;
		if (open && tag_file(tag))
			rename_open(open, another);
		else if (open)
			rename_open(another, open);
		if (!open || tag_file(tag))
			open = another;
	}
	return open ? open : descriptor_new_open();
}

/* The tag goes to all duplicates that are known.  -EAGAIN: the descriptor was closed
 * by another thread; -ENOLCK: no memory. */
static int bind(int fd, uint32_t file, uint8_t access, descriptor_tag *ret)
{
	bool was_known = descriptor_tag_of(fd);
	uint32_t open = find_open(file, fd);
	descriptor_tag tag = tag_make(open, file,
				      (access & LOCKED_READABLE ? TAG_READABLE : 0) |
					      (access & LOCKED_WRITABLE ? TAG_WRITABLE : 0));
	descriptor_tag before = descriptor_tag_of(fd);

	if (tag_open(before) != (was_known ? open : 0))
		return -EAGAIN;
	if (!descriptor_tag_replace(fd, before, tag))
		return descriptor_tag_of(fd) == before ? -ENOLCK : -EAGAIN;
	for (int other = descriptor_next(0); other >= 0; other = descriptor_next(other + 1)) {
		before = descriptor_tag_of(other);
		if (tag_open(before) == open)
			descriptor_tag_replace(other, before, tag);
	}
	*ret = tag;
	return 0;
}

/* Inside the gate there are no signals, and without other threads nobody who could
 * close the descriptor. */
static bool may_have_changed(const struct stat *stat, int fd)
{
	return !__libc_single_threaded && !is_still(stat, fd);
}

static int bind_to_file(const struct stat *stat, int fd, uint32_t file, uint8_t access,
			descriptor_tag *ret)
{
	int result = bind(fd, file, access, ret);

	if (result == 0 && may_have_changed(stat, fd)) {
		shim_closing_unseen(fd);
		result = -EAGAIN;
	} else if (result < 0) {
		shim_closing_unneeded(file);
	}
	return result;
}

/* -EAGAIN: the descriptor changes, begin anew. */
static int adopt_once(int fd, bool may_make, descriptor_tag *ret)
{
	struct stat stat;
	descriptor_tag tag = descriptor_tag_of(fd);
	int flags = (int)raw_syscall(SYS_fcntl, fd, F_GETFL, 0, 0, 0, 0);

	if (flags < 0 || flags & O_PATH)
		return -EBADF;
	int result = raw_fstat(fd, &stat);
	if (result < 0)
		return result == -EBADF ? result : -ENOLCK;
	if (descriptor_tag_of(fd) != tag)
		return -EAGAIN;
	uint32_t file = locked_file_find(&stat);
	/* Another thread may have been faster. */
	if (tag_file(tag) && tag_file(tag) == file) {
		*ret = tag;
		return 0;
	}
	if (tag_file(tag)) {
		shim_closing_unseen(fd);
		return -EAGAIN;
	}
	if (!file && (!may_make || atomic_load(&is_out_of_room)))
		return -ENOLCK;
	if (!file)
		result = make_file(&stat, fd, access_mode(flags), &file);
	return result < 0 ? result : bind_to_file(&stat, fd, file, access_mode(flags), ret);
}

static int adopt(int fd, bool may_make, descriptor_tag *ret)
{
	int result;

	do
		result = adopt_once(fd, may_make, ret);
	while (result == -EAGAIN);
	return result;
}

int shim_adoption_begin(int fd, descriptor_tag *ret)
{
	struct shim_gate gate;

	shim_handover_receive();
	shim_gate_enter(&gate);
	int result = adopt(fd, true, ret);
	if (result == -ENOLCK)
		note_out_of_room();
	shim_gate_leave(&gate);
	return result;
}

descriptor_tag shim_adoption_known(int fd)
{
	descriptor_tag tag = 0;
	struct shim_gate gate;

	shim_gate_enter(&gate);
	adopt(fd, false, &tag);
	shim_gate_leave(&gate);
	return tag;
}

/* Every open gets what it has locked, which can be read locks only. */
static int hand_locks_to_opens(struct locked_file *file, uint32_t number)
{
	int from = atomic_load(&file->fd);

	for (int fd = descriptor_next(0); fd >= 0; fd = descriptor_next(fd + 1)) {
		descriptor_tag tag = descriptor_tag_of(fd);
		if (tag_file(tag) != number)
			continue;
		int result = shim_description_copy_read_locks(file, from, fd, tag_open(tag));
		if (result < 0)
			return result;
	}
	return 0;
}

int shim_adoption_widen(descriptor_tag tag, int fd)
{
	struct locked_file *file = locked_file_at(tag_file(tag));
	uint8_t access = (tag & TAG_READABLE ? LOCKED_READABLE : 0) |
			 (tag & TAG_WRITABLE ? LOCKED_WRITABLE : 0);
	struct shim_gate gate;
	int result = 0;

	shim_gate_enter(&gate);
	if (file->kind != LOCKED_BY_PROCESS)
		result = -EOPNOTSUPP;
	else if ((file->access & access) != access)
		result = shim_description_widen(file, fd, access);
	if (result < 0 && result != -EBUSY && file->kind == LOCKED_BY_PROCESS) {
		note_fallback(fd, -result);
		if (hand_locks_to_opens(file, tag_file(tag)) == 0) {
			file->kind = LOCKED_BY_OPEN;
			shim_private_close(atomic_exchange(&file->fd, -1));
		}
	}
	shim_gate_leave(&gate);
	return result;
}
