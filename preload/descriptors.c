/* See descriptors.h. */
#include "descriptors.h"

#include <errno.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <sys/mman.h>

#include "apart.h"
#include "raw.h"

#ifndef F_DUPFD_QUERY /* headers before Linux 6.10 */
#define F_DUPFD_QUERY (1024 + 3)
#endif

/* Mapped one by one as they are needed. */
_Alignas(4096) tag_chunk descriptor_first_tags SHIM_APART;
_Atomic(tag_chunk *) descriptor_tags[TAG_CHUNKS] SHIM_APART;

/* One more than the largest number that ever had a tag. */
static _Atomic int end_of_tags;
static _Atomic uint32_t last_open;

/* A bit for each of the first descriptors that the program was started with.
 * They may be duplicates of each other, and no dup(2) of ours has seen it. */
enum { INHERITED_MAX = 64 };
static uint64_t inherited;

static _Atomic descriptor_tag *slot(int fd, bool make)
{
	if ((unsigned)fd < TAGS_PER_CHUNK)
		return &descriptor_first_tags[fd];
	if ((unsigned)fd >= TAGGED_DESCRIPTORS_MAX)
		return NULL;

	_Atomic(tag_chunk *) *place = &descriptor_tags[fd / TAGS_PER_CHUNK];
	tag_chunk *chunk = atomic_load_explicit(place, memory_order_acquire);
	if (!chunk && make) {
		long address = raw_syscall(SYS_mmap, 0, sizeof *chunk, PROT_READ | PROT_WRITE,
					   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (address < 0 && address > -4096)
			return NULL;
		if (atomic_compare_exchange_strong(place, &chunk, (tag_chunk *)address))
			chunk = (tag_chunk *)address;
		else
			raw_syscall(SYS_munmap, address, sizeof *chunk, 0, 0, 0, 0);
	}
	return chunk ? &(*chunk)[fd % TAGS_PER_CHUNK] : NULL;
}

static void raise_end(int fd)
{
	int end = atomic_load_explicit(&end_of_tags, memory_order_relaxed);

	while (end <= fd && !atomic_compare_exchange_weak(&end_of_tags, &end, fd + 1))
		;
}

bool descriptor_tag_set(int fd, descriptor_tag tag)
{
	_Atomic descriptor_tag *place = slot(fd, tag != 0);

	if (!place)
		return tag == 0;

	if (tag)
		raise_end(fd);
	atomic_store(place, tag);
	return true;
}

bool descriptor_tag_replace(int fd, descriptor_tag from, descriptor_tag to)
{
	_Atomic descriptor_tag *place = slot(fd, to != 0);

	if (!place)
		return from == 0 && to == 0;
	if (to)
		raise_end(fd);
	return atomic_compare_exchange_strong(place, &from, to);
}

descriptor_tag descriptor_tag_take(int fd)
{
	_Atomic descriptor_tag *place = slot(fd, false);

	return place ? atomic_exchange(place, 0) : 0;
}

bool descriptor_tag_drop(int fd)
{
	descriptor_tag tag = descriptor_tag_of(fd);

	while (!tag_file(tag)) {
		if (descriptor_tag_replace(fd, tag, 0))
			return true;
		tag = descriptor_tag_of(fd);
	}
	return false;
}

uint32_t descriptor_new_open(void)
{
	uint32_t open = atomic_fetch_add_explicit(&last_open, 1, memory_order_relaxed) + 1;

	/* After four thousand million, 0 and LOCKED_BY_MANY mean something. */
	return open == 0 || open == LOCKED_BY_MANY ? descriptor_new_open() : open;
}

void descriptor_opens_begin_above(uint32_t open)
{
	if (atomic_load(&last_open) < open)
		atomic_store(&last_open, open);
}

bool descriptor_duplicated(int fd, int copy)
{
	_Atomic descriptor_tag *place = slot(fd, true);
	descriptor_tag tag = place ? atomic_load(place) : 0;

	if (place && !tag) {
		descriptor_tag first = tag_make(descriptor_new_open(), 0, 0);
		if (atomic_compare_exchange_strong(place, &tag, first))
			tag = first;
		raise_end(fd);
	}
	descriptor_tag before = descriptor_tag_of(copy);
	while (!tag_file(tag) && !tag_file(before)) {
		/* Without memory there is no tag. */
		if (descriptor_tag_replace(copy, before, tag) || !slot(copy, true))
			return true;
		before = descriptor_tag_of(copy);
	}
	return false;
}

int descriptor_next(int from)
{
	int end = atomic_load_explicit(&end_of_tags, memory_order_relaxed);

	for (int fd = from; fd < end; fd++)
		if (descriptor_tag_of(fd))
			return fd;
	return -1;
}

int descriptor_of_open(uint32_t open)
{
	for (int fd = descriptor_next(0); fd >= 0; fd = descriptor_next(fd + 1))
		if (tag_open(descriptor_tag_of(fd)) == open)
			return fd;
	return -1;
}

int descriptor_of_file(uint32_t file)
{
	for (int fd = descriptor_next(0); fd >= 0; fd = descriptor_next(fd + 1))
		if (tag_file(descriptor_tag_of(fd)) == file)
			return fd;
	return -1;
}

int descriptor_is_same_open(int a, int b)
{
	int result = (int)raw_syscall(SYS_fcntl, a, F_DUPFD_QUERY, b, 0, 0, 0);

	if (result >= 0)
		return result;
	/* Linux before 6.10.  kcmp(2) wants the rights of a tracer, and many
	 * containers do not let it through. */
	pid_t self = raw_getpid();
	result = (int)raw_syscall(SYS_kcmp, self, self, KCMP_FILE, a, b, 0);
	return result < 0 ? result : result == 0;
}

/* Once, before main(): one call tells of all of them. */
__attribute__((constructor)) static void note_inherited(void)
{
	struct pollfd each[INHERITED_MAX];

	for (int fd = 0; fd < INHERITED_MAX; fd++)
		each[fd] = (struct pollfd){.fd = fd};
	struct timespec at_once = {0};
	if (raw_syscall(SYS_ppoll, (long)each, INHERITED_MAX, (long)&at_once, 0, 0, 0) < 0)
		return;
	for (int fd = 0; fd < INHERITED_MAX; fd++)
		if (!(each[fd].revents & POLLNVAL))
			inherited |= UINT64_C(1) << fd;
}

int descriptor_unknown_duplicate(int fd)
{
	for (int other = 0; other < INHERITED_MAX; other++)
		if (other != fd && inherited >> other & 1 && !descriptor_tag_of(other) &&
		    descriptor_is_same_open(fd, other) == 1)
			return other;
	/* Duplicates of those have an id. */
	for (int other = descriptor_next(0); other >= 0; other = descriptor_next(other + 1))
		if (other != fd && !tag_file(descriptor_tag_of(other)) &&
		    descriptor_is_same_open(fd, other) == 1)
			return other;
	return -1;
}

void descriptors_forget_files(void)
{
	for (int fd = descriptor_next(0); fd >= 0; fd = descriptor_next(fd + 1)) {
		descriptor_tag tag = descriptor_tag_of(fd);
		if (tag_file(tag))
			descriptor_tag_set(fd, tag_make(tag_open(tag), 0, 0));
	}
}
