/*
 * A hash table of things that embed their node: names, inodes, file handles.
 *
 * The kernel gets numbers, never addresses: a number that is not in the table
 * is answered with an error, and means the same to a daemon that takes the
 * mount over.  Used by the session thread only.
 */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct table_node {
	struct table_node *next;
	uint64_t key;
};

struct table {
	struct table_node **buckets; /* NULL until something is added */
	size_t bucket_count;         /* a power of two */
	size_t count;
};

/* -ENOMEM */
int table_add(struct table *table, struct table_node *node, uint64_t key);
void table_remove(struct table *table, struct table_node *node);
/* The first node of this key, or of the same key after `previous`. */
struct table_node *table_find(const struct table *table, uint64_t key);
struct table_node *table_find_next(const struct table_node *previous);
/* Any order; NULL starts.  The node returned may be removed before the call
 * for the next one only if that is remembered first. */
struct table_node *table_next(const struct table *table, const struct table_node *previous);
void table_free(struct table *table);

/* The key of a name. */
uint64_t table_key_of_text(const char *text);

/* The structure that a node is part of. */
#define TABLE_OWNER(node, type, member) ((type *)(void *)((char *)(node)-offsetof(type, member)))
