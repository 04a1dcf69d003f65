#include "table.h"

#include <errno.h>
#include <stdlib.h>

enum { FIRST_SIZE = 64 };

/* Numbers are given out in a row, and names are up to the user: both are
 * spread over the buckets by the 64-bit finalizer of MurmurHash3. */
static size_t bucket_of(const struct table *table, uint64_t key)
{
	key ^= key >> 33;
	key *= UINT64_C(0xff51afd7ed558ccd);
	key ^= key >> 33;
	return (size_t)key & (table->bucket_count - 1);
}

static void push(struct table *table, struct table_node *node)
{
	struct table_node **bucket = &table->buckets[bucket_of(table, node->key)];

	node->next = *bucket;
	*bucket = node;
}

static int resize(struct table *table, size_t bucket_count)
{
	struct table grown = {.bucket_count = bucket_count, .count = table->count};

	grown.buckets = calloc(bucket_count, sizeof(struct table_node *));
	if (!grown.buckets)
		return -ENOMEM;
	for (size_t i = 0; i < table->bucket_count; i++)
		for (struct table_node *node = table->buckets[i], *next; node; node = next) {
			next = node->next;
			push(&grown, node);
		}
	free(table->buckets);
	*table = grown;
	return 0;
}

int table_add(struct table *table, struct table_node *node, uint64_t key)
{
	/* A table that cannot grow goes on with longer chains. */
	if (table->count >= table->bucket_count &&
	    resize(table, table->bucket_count ? table->bucket_count * 2 : FIRST_SIZE) < 0 &&
	    table->bucket_count == 0)
		return -ENOMEM;
	node->key = key;
	push(table, node);
	table->count++;
	return 0;
}

void table_remove(struct table *table, struct table_node *node)
{
	struct table_node **at = &table->buckets[bucket_of(table, node->key)];

	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	table->count--;
	/* A million names were here once: give their buckets back. */
	if (table->bucket_count > FIRST_SIZE && table->count < table->bucket_count / 8)
		(void)resize(table, table->bucket_count / 2);
}

struct table_node *table_find(const struct table *table, uint64_t key)
{
	if (table->count == 0)
		return NULL;
	struct table_node *node = table->buckets[bucket_of(table, key)];
	while (node && node->key != key)
		node = node->next;
	return node;
}

struct table_node *table_find_next(const struct table_node *previous)
{
	struct table_node *node = previous->next;

	while (node && node->key != previous->key)
		node = node->next;
	return node;
}

struct table_node *table_next(const struct table *table, const struct table_node *previous)
{
	size_t bucket = 0;

	if (previous) {
		if (previous->next)
			return previous->next;
		bucket = bucket_of(table, previous->key) + 1;
	}
	for (; bucket < table->bucket_count; bucket++)
		if (table->buckets[bucket])
			return table->buckets[bucket];
	return NULL;
}

void table_free(struct table *table)
{
	free(table->buckets);
	*table = (struct table){0};
}

uint64_t table_key_of_text(const char *text)
{
	uint64_t key = UINT64_C(0xcbf29ce484222325); /* FNV-1a */

	for (; *text; text++)
		key = (key ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
	return key;
}
