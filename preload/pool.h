/*
 * Many small objects of one size, by number, without malloc: the shim runs
 * inside malloc and inside signal handlers.
 *
 * Objects lie in chunks, of which the first is there from the beginning, and
 * the others are mapped when they are first needed.  They stay,
 * so that a reader without any lock may look at an object that has just been
 * given back, and finds nothing worse than an older or newer one.  Numbers
 * begin with 1; 0 is none.  A free object's first four bytes are the number of
 * the next free one.
 *
 * Taking and giving back: inside the gate.
 */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of a chunk only the pages that are used are there; so it can be large, and the
 * table of chunks small. */
enum { POOL_CHUNK_SIZE = 1 << 18, POOL_CHUNKS_MAX = 256 };

/* The head is written now and then, and shall not lie beside the tables. */
struct pool_tables {
	_Alignas(4096) char first_chunk[POOL_CHUNK_SIZE];
	_Atomic(char *) other_chunks[POOL_CHUNKS_MAX]; /* the first is none */
};
struct pool {
	uint32_t used; /* objects that were ever taken */
	uint32_t free; /* the first that came back */
	struct pool_tables *tables;
};

/* The size is the caller's to know, as a constant: every lock comes through
 * here more than once, and two divisions by a variable are a tenth of what the
 * shim adds to it. */
static inline void *pool_at(const struct pool *pool, size_t object_size, uint32_t number)
{
	uint32_t per_chunk = POOL_CHUNK_SIZE / (uint32_t)object_size;
	uint32_t index = number - 1;

	if (index < per_chunk)
		return pool->tables->first_chunk + index * object_size;

	char *chunk = atomic_load_explicit(&pool->tables->other_chunks[index / per_chunk],
					   memory_order_acquire);
	return chunk + index % per_chunk * object_size;
}

/* The number of an object, whose bytes are what they were; 0: no memory. */
uint32_t pool_take(struct pool *pool, size_t object_size);
void pool_give_back(struct pool *pool, size_t object_size, uint32_t number);
/* Makes sure that `count` can be taken without fail. */
bool pool_reserve(struct pool *pool, size_t object_size, uint32_t count);
/* All come back, in a child that has none of them. */
void pool_reset(struct pool *pool);
