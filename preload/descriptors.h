/*
 * What is known of the program's descriptors: a word for each number.
 *
 * A tag says which open file description it is, by an id of the shim's own
 * that all duplicates share, and, once a record lock was taken through one of
 * them, which file of locked-file.h it belongs to.  0 is a descriptor that
 * nobody has locked through or duplicated, which is nearly each of them: so
 * close(2) of one costs a look at its tag.
 *
 * Reading a tag needs no lock.  Tags with a file come and go inside the gate, others
 * (the ids of duplicates) with whoever makes and closes the descriptor.  Those do
 * not know that another thread is about to lock through it for the first time.  So
 * who tags a descriptor takes nothing away that has changed (compare-and-exchange),
 * and looks afterwards whether it is still of that file; who closes one looks
 * afterwards whether it has a tag by now.  All of that is sequentially consistent:
 * one of the two sees the other.  (And see calls.c.)
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "locked-file.h"

/* 0-31 the open's id; 32-51 the file's number; then the flags. */
typedef uint64_t descriptor_tag;

#define TAG_READABLE (UINT64_C(1) << 62)
#define TAG_WRITABLE (UINT64_C(1) << 63)

static inline uint32_t tag_open(descriptor_tag tag)
{
	return (uint32_t)tag;
}

/* 0: no record lock was taken through this open. */
static inline uint32_t tag_file(descriptor_tag tag)
{
	return (uint32_t)(tag >> 32) & LOCKED_FILE_MAX;
}

static inline descriptor_tag tag_make(uint32_t open, uint32_t file, uint64_t access)
{
	return open | (uint64_t)file << 32 | access;
}

enum {
	/* Of a chunk only the pages that are used are there. */
	TAGS_PER_CHUNK = 16384,
	TAG_CHUNKS = 64,
	/* fs.nr_open is 2^20 by default; larger numbers go without a tag. */
	TAGGED_DESCRIPTORS_MAX = TAGS_PER_CHUNK * TAG_CHUNKS,
};

typedef _Atomic descriptor_tag tag_chunk[TAGS_PER_CHUNK];
/* Of the numbers that nearly every descriptor has, and of the others, where the
 * first element is none. */
extern tag_chunk descriptor_first_tags;
extern _Atomic(tag_chunk *) descriptor_tags[TAG_CHUNKS];

static inline descriptor_tag descriptor_tag_of(int fd)
{
	if ((unsigned)fd < TAGS_PER_CHUNK)
		return atomic_load(&descriptor_first_tags[fd]);
	if ((unsigned)fd >= TAGGED_DESCRIPTORS_MAX)
		return 0;

	tag_chunk *chunk =
		atomic_load_explicit(&descriptor_tags[fd / TAGS_PER_CHUNK], memory_order_acquire);

	return chunk ? atomic_load(&(*chunk)[fd % TAGS_PER_CHUNK]) : 0;
}

/* False: no memory, or too large a number. */
bool descriptor_tag_set(int fd, descriptor_tag tag);
/* The same if it is still `from`. */
bool descriptor_tag_replace(int fd, descriptor_tag from, descriptor_tag to);
/* Takes it out. */
descriptor_tag descriptor_tag_take(int fd);
/* Takes out one without a file.  False: it has one, and stays. */
bool descriptor_tag_drop(int fd);

/* An id that no open has had. */
uint32_t descriptor_new_open(void);

/* `copy` has just been made a duplicate of `fd`, which was not locked through.
 * False: one of them has been, by now. */
bool descriptor_duplicated(int fd, int copy);

/* The next tagged descriptor from `from` on, or -1. */
int descriptor_next(int from);
/* Some descriptor of this open, or of this file; -1: none. */
int descriptor_of_open(uint32_t open);
int descriptor_of_file(uint32_t file);

/* 1: the same open file description; 0: another one; -EOPNOTSUPP or another
 * negative errno: nobody may know. */
int descriptor_is_same_open(int a, int b);
/* A duplicate of `fd` that nobody has locked through or knows for one yet: the
 * program was started with both.  -1: none that one could find. */
int descriptor_unknown_duplicate(int fd);

/* In a forked child: no file is locked here. */
void descriptors_forget_files(void);
/* After execve(2), where ids were handed over: new ones begin above this. */
void descriptor_opens_begin_above(uint32_t open);
