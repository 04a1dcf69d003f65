/*
 * What is handed over, for each file with a lock that belongs to an open with
 * a descriptor that is not close-on-exec: the shim's description, which stops
 * being close-on-exec, and the tables' words about it.  They go as text:
 *
 *	pid;fd,device,inode,kind,access,sole;tTAG,fd;sOPEN,first,last;fd,...
 *
 * in hexadecimal: a file, then the tags of its surviving descriptors, then its
 * spans.  The pid is what makes them this process's: a child that inherits the
 * variable from an image without the shim has another one.
 *
 * Never more access than the survivors have: a new image may be less trusted
 * than the old one.  Where the shim's description has more, the survivors'
 * read locks go over on one that has less.  Write locks cannot: if only such
 * survive as may not read, and the description may, it goes over where anybody
 * may read the file.  Else nothing is handed over.
 *
 * Opens that do not survive lose their locks (row 11).  If they are not the
 * only ones of the file, their bytes are locked on the description that is
 * handed over, too, and the new image unlocks them first thing.
 */
#include "handover.h"

#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <unistd.h>

#include "child.h"
#include "debug.h"
#include "description.h"
#include "descriptors.h"
#include "gate.h"
#include "locked-file.h"
#include "private-fd.h"
#include "raw.h"
#include "spans.h"

/* Writing */

/* A tag with its two numbers, a span with its three, a file with its six: none
 * is longer, as text. */
enum { ENTRY_SIZE = 128, NAME_SIZE = sizeof SHIM_HANDOVER_VARIABLE "=" };

struct writer {
	char *at;
};

static void put_number(struct writer *writer, uint64_t number, char after)
{
	static const char digits[] = "0123456789abcdef";
	int shift = 60;

	while (shift > 0 && !(number >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		*writer->at++ = digits[number >> shift & 15];
	*writer->at++ = after;
}

static bool survives(int fd)
{
	long flags = raw_syscall(SYS_fcntl, fd, F_GETFD, 0, 0, 0, 0);

	return flags >= 0 && !(flags & FD_CLOEXEC);
}

static uint8_t tag_access(descriptor_tag tag)
{
	return (tag & TAG_READABLE ? LOCKED_READABLE : 0) |
	       (tag & TAG_WRITABLE ? LOCKED_WRITABLE : 0);
}

static bool open_has_locks(const struct locked_file *file, uint32_t open)
{
	if (atomic_load(&file->sole) != LOCKED_BY_MANY)
		return atomic_load(&file->sole) == open;
	for (uint32_t number = file->spans; number; number = span_at(number)->next)
		if (span_at(number)->open == open)
			return true;
	return false;
}

/* Duplicates that the program was started with, and has not locked through,
 * keep the locks of those that do not survive. */
static void find_duplicates(uint32_t number)
{
	for (int fd = descriptor_next(0); fd >= 0; fd = descriptor_next(fd + 1)) {
		descriptor_tag tag = descriptor_tag_of(fd);
		int duplicate;
		if (tag_file(tag) != number || survives(fd))
			continue;
		while ((duplicate = descriptor_unknown_duplicate(fd)) >= 0 &&
		       descriptor_tag_set(duplicate, tag))
			;
	}
}

struct survivors {
	int fd; /* one of them; -1: none that has locked anything */
	uint8_t access;
};

static struct survivors survivors_of(uint32_t number)
{
	const struct locked_file *file = locked_file_at(number);
	struct survivors survivors = {.fd = -1};

	for (int fd = descriptor_next(0); fd >= 0; fd = descriptor_next(fd + 1)) {
		descriptor_tag tag = descriptor_tag_of(fd);
		if (tag_file(tag) != number || !survives(fd) ||
		    (file->kind == LOCKED_BY_PROCESS && !open_has_locks(file, tag_open(tag))))
			continue;
		survivors.fd = fd;
		survivors.access |= tag_access(tag);
	}
	return survivors;
}

/* A description with the survivors' access and their read locks; or -1. */
static int narrow(uint32_t number, const struct survivors *survivors)
{
	const struct locked_file *file = locked_file_at(number);

	if (survivors->access != LOCKED_READABLE)
		return -1;
	int narrowed = shim_description_reopen(survivors->fd, LOCKED_READABLE);
	if (narrowed < 0)
		return -1;
	narrowed = shim_private_place(narrowed);
	for (int fd = descriptor_next(0); fd >= 0 && narrowed >= 0; fd = descriptor_next(fd + 1)) {
		descriptor_tag tag = descriptor_tag_of(fd);
		if (tag_file(tag) == number && survives(fd))
			shim_description_copy_read_locks(file, atomic_load(&file->fd), narrowed,
							 tag_open(tag));
	}
	return narrowed;
}

static void put_tags(struct writer *writer, uint32_t number)
{
	for (int fd = descriptor_next(0); fd >= 0; fd = descriptor_next(fd + 1)) {
		descriptor_tag tag = descriptor_tag_of(fd);
		if (tag_file(tag) != number || !survives(fd))
			continue;
		*writer->at++ = 't';
		put_number(writer, tag_make(tag_open(tag), 0, tag & (TAG_READABLE | TAG_WRITABLE)),
			   ',');
		put_number(writer, (uint64_t)fd, ';');
	}
}

static void put_spans(struct writer *writer, const struct locked_file *file)
{
	for (uint32_t number = file->spans; number; number = span_at(number)->next) {
		const struct span *span = span_at(number);
		*writer->at++ = 's';
		put_number(writer, span->open, ',');
		put_number(writer, (uint64_t)span->first, ',');
		put_number(writer, (uint64_t)span->last, ';');
	}
}

static bool put_file(struct writer *writer, uint32_t number)
{
	const struct locked_file *file = locked_file_at(number);

	find_duplicates(number);
	struct survivors survivors = survivors_of(number);
	int fd = atomic_load(&file->fd);

	if (survivors.fd < 0 || file->kind == LOCKED_LEGACY)
		return false;
	if (survivors.access == LOCKED_WRITABLE && shim_description_may_anybody_read(survivors.fd))
		survivors.access = file->access;
	if (fd >= 0 && (file->access & survivors.access) != file->access) {
		fd = narrow(number, &survivors);
		if (fd < 0) {
			shim_debug_note("execve: a lock is not handed over, because the new "
					"image may not read its file");
			return false;
		}
	}
	if (fd >= 0)
		raw_syscall(SYS_fcntl, fd, F_SETFD, 0, 0, 0, 0);
	put_number(writer, (uint64_t)(uint32_t)fd, ',');
	put_number(writer, file->device, ',');
	put_number(writer, file->inode, ',');
	put_number(writer, file->kind, ',');
	put_number(writer, file->access & survivors.access, ',');
	put_number(writer, atomic_load(&file->sole), ';');
	put_tags(writer, number);
	put_spans(writer, file);
	return true;
}

/* Room for everything, with the environment in front. */
static size_t text_size(void)
{
	size_t entries = 2;

	for (uint32_t number = locked_file_next(0); number; number = locked_file_next(number)) {
		entries++;
		for (uint32_t span = locked_file_at(number)->spans; span;
		     span = span_at(span)->next)
			entries++;
	}
	for (int fd = descriptor_next(0); fd >= 0; fd = descriptor_next(fd + 1))
		entries++;
	return entries * ENTRY_SIZE;
}

static void put_all(struct shim_handover *handover, char *const environment[], size_t count)
{
	char **copy = handover->memory;
	char *variable = (char *)(copy + count + 2);
	struct writer writer = {variable};
	bool any = false;

	memcpy(copy, environment, count * sizeof *copy);
	copy[count] = variable;
	copy[count + 1] = NULL;
	memcpy(writer.at, SHIM_HANDOVER_VARIABLE "=", NAME_SIZE - 1);
	writer.at += NAME_SIZE - 1;
	put_number(&writer, (uint64_t)raw_getpid(), ';');
	for (uint32_t number = locked_file_next(0); number; number = locked_file_next(number))
		any |= put_file(&writer, number);
	*writer.at = '\0';
	if (any)
		handover->environment = copy;
}

void shim_handover_begin(struct shim_handover *handover, char *const environment[])
{
	struct shim_gate gate;
	size_t count = 0;

	*handover = (struct shim_handover){.environment = environment};
	if (!atomic_load(&locked_file_count) || !environment)
		return;
	while (environment[count])
		count++;
	shim_gate_enter(&gate);
	size_t size = (count + 2) * sizeof *environment + text_size();
	long address = raw_syscall(SYS_mmap, 0, (long)size, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (address > 0 || address < -4095) {
		handover->memory = (void *)address;
		handover->size = size;
		put_all(handover, environment, count);
	}
	shim_gate_leave(&gate);
}

void shim_handover_undo(struct shim_handover *handover)
{
	struct shim_gate gate;

	if (!handover->memory)
		return;
	shim_gate_enter(&gate);
	for (int fd = shim_private_next(0); fd != INT_MAX; fd = shim_private_next(fd + 1)) {
		if (locked_file_of_description(fd))
			raw_syscall(SYS_fcntl, fd, F_SETFD, FD_CLOEXEC, 0, 0, 0);
		else if (survives(fd))
			shim_private_close(fd); /* made narrower for the new image */
	}
	shim_gate_leave(&gate);
	raw_syscall(SYS_munmap, (long)handover->memory, (long)handover->size, 0, 0, 0, 0);
}

/* Reading */

struct reader {
	const char *at;
};

/* False: no number, or not with that behind it. */
static bool get_number(struct reader *reader, uint64_t *ret, char after)
{
	uint64_t number = 0;
	int digits = 0;

	for (;; digits++, reader->at++) {
		char c = *reader->at;
		if (c >= '0' && c <= '9')
			number = number << 4 | (uint64_t)(c - '0');
		else if (c >= 'a' && c <= 'f')
			number = number << 4 | (uint64_t)(c - 'a' + 10);
		else
			break;
	}
	if (!digits || digits > 16 || *reader->at != after)
		return false;
	reader->at++;
	*ret = number;
	return true;
}

static bool is_of_file(int fd, uint64_t device, uint64_t inode)
{
	struct stat stat;

	return raw_fstat(fd, &stat) == 0 && stat.st_ino == inode &&
	       (uint32_t)stat.st_dev == (uint32_t)device;
}

static bool get_tag(struct reader *reader, uint32_t number)
{
	const struct locked_file *file = locked_file_at(number);
	uint64_t tag, fd;

	reader->at++;
	if (!get_number(reader, &tag, ',') || !get_number(reader, &fd, ';') || fd > INT_MAX)
		return false;
	if (is_of_file((int)fd, file->device, file->inode)) {
		descriptor_tag_set((int)fd, tag_make(tag_open(tag), number,
						     tag & (TAG_READABLE | TAG_WRITABLE)));
		descriptor_opens_begin_above(tag_open(tag));
	}
	return true;
}

/* The spans of those that did not survive are unlocked. */
static bool get_span(struct reader *reader, uint32_t number)
{
	struct locked_file *file = locked_file_at(number);
	uint64_t open, first, last;

	reader->at++;
	if (!get_number(reader, &open, ',') || !get_number(reader, &first, ',') ||
	    !get_number(reader, &last, ';') || first > last || last > INT64_MAX)
		return false;
	if (descriptor_of_open((uint32_t)open) >= 0) {
		if (spans_reserve())
			spans_assign(&file->spans, (off_t)first, (off_t)last, (uint32_t)open);
		return true;
	}
	shim_description_unlock(atomic_load(&file->fd), (off_t)first, (off_t)last);
	return true;
}

static bool get_file(struct reader *reader)
{
	uint64_t fd, device, inode, kind, access, sole;

	if (!get_number(reader, &fd, ',') || !get_number(reader, &device, ',') ||
	    !get_number(reader, &inode, ',') || !get_number(reader, &kind, ',') ||
	    !get_number(reader, &access, ',') || !get_number(reader, &sole, ';') ||
	    kind > LOCKED_BY_OPEN)
		return false;
	if (kind == LOCKED_BY_PROCESS &&
	    (fd > INT_MAX || !is_of_file((int)fd, device, inode) || !shim_private_adopt((int)fd)))
		return false;

	struct stat stat = {.st_dev = (dev_t)device, .st_ino = (ino_t)inode};
	uint32_t number = locked_file_add(&stat, (enum locked_file_kind)kind);
	if (!number)
		return false;
	struct locked_file *file = locked_file_at(number);
	file->access = (uint8_t)access;
	atomic_store(&file->sole, (uint32_t)sole);
	atomic_store(&file->fd, kind == LOCKED_BY_PROCESS ? (int)fd : -1);

	while (*reader->at == 't')
		if (!get_tag(reader, number))
			return false;
	while (*reader->at == 's')
		if (!get_span(reader, number))
			return false;
	if (descriptor_of_file(number) < 0)
		locked_file_remove(number);
	return true;
}

__attribute__((constructor(101))) void shim_handover_receive(void)
{
	static atomic_flag is_done = ATOMIC_FLAG_INIT;

	/* Before libc has seen the environment there is none to read. */
	if (!environ || atomic_flag_test_and_set(&is_done))
		return;

	for (char **entry = environ; entry && *entry; entry++) {
		struct reader reader = {*entry + NAME_SIZE - 1};
		struct shim_gate gate;
		uint64_t pid;

		if (strncmp(*entry, SHIM_HANDOVER_VARIABLE "=", NAME_SIZE - 1) != 0)
			continue;
		/* Nobody else needs to see it. */
		for (char **rest = entry; *rest; rest++)
			rest[0] = rest[1];
		if (getauxval(AT_SECURE) || !get_number(&reader, &pid, ';') ||
		    (pid_t)pid != raw_getpid())
			return;
		shim_gate_enter(&gate);
		/* Without memory they stay locked, as in a program without the shim. */
		bool has_room = shim_watch_forks();
		while (has_room && *reader.at && get_file(&reader))
			;
		shim_gate_leave(&gate);
		return;
	}
}
