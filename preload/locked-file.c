/* See locked-file.h.  A hash table whose chains run through the records. */
#include "locked-file.h"

#include "apart.h"
#include "pool.h"
#include "private-fd.h"
#include "spans.h"

enum { BUCKETS = 512 };

static struct pool_tables tables SHIM_APART;
static struct pool pool = {.tables = &tables};
static uint32_t buckets[BUCKETS];
_Atomic uint32_t locked_file_count;

struct locked_file *locked_file_at(uint32_t number)
{
	return pool_at(&pool, sizeof(struct locked_file), number);
}

/* Inode numbers of files that were made one after the other differ in their
 * low bits. */
static uint32_t *bucket(uint64_t inode, uint32_t device)
{
	return &buckets[(inode ^ inode >> 32 ^ device) % BUCKETS];
}

uint32_t locked_file_find(const struct stat *stat)
{
	uint32_t number = *bucket(stat->st_ino, (uint32_t)stat->st_dev);

	while (number && !locked_file_is(locked_file_at(number), stat))
		number = locked_file_at(number)->next;
	return number;
}

uint32_t locked_file_add(const struct stat *stat, enum locked_file_kind kind)
{
	uint32_t number = pool_take(&pool, sizeof(struct locked_file));

	if (number > LOCKED_FILE_MAX) {
		pool_give_back(&pool, sizeof(struct locked_file), number);
		number = 0;
	}
	if (!number)
		return 0;

	uint32_t *head = bucket(stat->st_ino, (uint32_t)stat->st_dev);
	struct locked_file *file = locked_file_at(number);
	file->next = *head;
	atomic_store_explicit(&file->sole, 0, memory_order_relaxed);
	file->inode = stat->st_ino;
	file->device = (uint32_t)stat->st_dev;
	atomic_store_explicit(&file->fd, -1, memory_order_relaxed);
	file->spans = 0;
	file->kind = (uint8_t)kind;
	file->access = 0;
	*head = number;
	atomic_fetch_add_explicit(&locked_file_count, 1, memory_order_relaxed);
	return number;
}

void locked_file_remove(uint32_t number)
{
	struct locked_file *file = locked_file_at(number);
	uint32_t *link = bucket(file->inode, file->device);
	int fd = atomic_exchange(&file->fd, -1);

	while (*link != number)
		link = &locked_file_at(*link)->next;
	*link = file->next;
	spans_free(&file->spans);
	atomic_store(&file->sole, 0);
	if (fd >= 0)
		shim_private_close(fd);
	pool_give_back(&pool, sizeof(struct locked_file), number);
	atomic_fetch_sub_explicit(&locked_file_count, 1, memory_order_relaxed);
}

uint32_t locked_file_next(uint32_t number)
{
	uint32_t at = 0;

	if (number && locked_file_at(number)->next)
		return locked_file_at(number)->next;
	if (number) {
		const struct locked_file *file = locked_file_at(number);
		at = (uint32_t)(bucket(file->inode, file->device) - buckets) + 1;
	}
	for (; at < BUCKETS; at++)
		if (buckets[at])
			return buckets[at];
	return 0;
}

uint32_t locked_file_of_description(int fd)
{
	uint32_t number = locked_file_next(0);

	while (number && atomic_load(&locked_file_at(number)->fd) != fd)
		number = locked_file_next(number);
	return number;
}

void locked_files_reset(void)
{
	for (int i = 0; i < BUCKETS; i++)
		buckets[i] = 0;
	/* Of threads that are not here. */
	for (uint32_t number = 1; number <= pool.used; number++)
		atomic_store_explicit(&locked_file_at(number)->users, 0, memory_order_relaxed);
	pool_reset(&pool);
	atomic_store(&locked_file_count, 0);
}
