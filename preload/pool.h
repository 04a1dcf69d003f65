/*
 * Many small objects of one size, by number, without malloc: the shim runs
 * inside malloc and inside signal handlers.
 *
 * Objects lie in chunks that are mapped when they are first needed and stay,
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

enum { POOL_CHUNK_SIZE = 16384, POOL_CHUNKS_MAX = 2048 };

/* The head is written now and then, and shall not lie beside the table. */
typedef _Atomic(char *) pool_chunks[POOL_CHUNKS_MAX];
struct pool {
	uint32_t used; /* objects that were ever taken */
	uint32_t free; /* the first that came back */
	_Atomic(char *) *chunks;
};

/* The size is the caller's to know, as a constant: every lock comes through
 * here more than once, and two divisions by a variable are a tenth of what the
 * shim adds to it. */
static inline void *pool_at(const struct pool *pool, size_t object_size, uint32_t number)
{
	uint32_t per_chunk = POOL_CHUNK_SIZE / (uint32_t)object_size;
	char *chunk =
		atomic_load_explicit(&pool->chunks[(number - 1) / per_chunk], memory_order_acquire);

	return chunk + (number - 1) % per_chunk * object_size;
}

/* The number of an object, whose bytes are what they were; 0: no memory. */
uint32_t pool_take(struct pool *pool, size_t object_size);
void pool_give_back(struct pool *pool, size_t object_size, uint32_t number);
/* Makes sure that `count` can be taken without fail. */
bool pool_reserve(struct pool *pool, size_t object_size, uint32_t count);
/* All come back, in a child that has none of them. */
void pool_reset(struct pool *pool);
