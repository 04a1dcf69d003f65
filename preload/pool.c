/* See pool.h. */
#include "pool.h"

#include <string.h>
#include <sys/mman.h>

#include "raw.h"

static uint32_t objects_per_chunk(size_t object_size)
{
	return POOL_CHUNK_SIZE / (uint32_t)object_size;
}

static bool map_chunk(struct pool *pool, uint32_t index)
{
	if (index == 0)
		return true;
	if (index >= POOL_CHUNKS_MAX)
		return false;
	if (atomic_load_explicit(&pool->tables->other_chunks[index], memory_order_relaxed))
		return true;

	long address = raw_syscall(SYS_mmap, 0, POOL_CHUNK_SIZE, PROT_READ | PROT_WRITE,
				   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (address < 0 && address > -4096)
		return false;
	atomic_store_explicit(&pool->tables->other_chunks[index], (char *)address,
			      memory_order_release);
	return true;
}

uint32_t pool_take(struct pool *pool, size_t object_size)
{
	uint32_t number = pool->free;

	if (number) {
		memcpy(&pool->free, pool_at(pool, object_size, number), sizeof pool->free);
		return number;
	}
	if (!map_chunk(pool, pool->used / objects_per_chunk(object_size)))
		return 0;
	return ++pool->used;
}

void pool_give_back(struct pool *pool, size_t object_size, uint32_t number)
{
	memcpy(pool_at(pool, object_size, number), &pool->free, sizeof pool->free);
	pool->free = number;
}

bool pool_reserve(struct pool *pool, size_t object_size, uint32_t count)
{
	uint32_t number = pool->free;

	for (; count && number; count--)
		memcpy(&number, pool_at(pool, object_size, number), sizeof number);
	return count == 0 ||
	       (map_chunk(pool, pool->used / objects_per_chunk(object_size)) &&
		map_chunk(pool, (pool->used + count - 1) / objects_per_chunk(object_size)));
}

void pool_reset(struct pool *pool)
{
	pool->used = 0;
	pool->free = 0;
}
