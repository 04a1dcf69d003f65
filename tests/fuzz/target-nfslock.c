/*
 * Properties: whatever the text is, it is read without harm; what is taken for a
 * lock file says a host and a pid, and what is written of it says the same. An atom
 * that is written is read back, byte for byte, whatever its bytes are.
 */
#include <stdlib.h>
#include <string.h>

#include "nfslock-info.h"
#include "sexp.h"
#include "target.h"

static void check_atom(const char *bytes, size_t length)
{
	struct sexp_tree tree = {0};
	char *text = malloc(SEXP_ATOM_ROOM(length));

	if (!text)
		abort();
	size_t written = (size_t)(sexp_write_atom(text, bytes, length) - text);
	if (written >= SEXP_ATOM_ROOM(length) || sexp_read(text, written, &tree) < 0 ||
	    tree.count != 1 || tree.nodes[0].is_list || tree.nodes[0].length != length ||
	    (length && memcmp(tree.nodes[0].bytes, bytes, length) != 0))
		abort();
	sexp_free(&tree);
	free(text);
}

/* Each list's elements are within it. */
static void check_tree(const struct sexp_tree *tree)
{
	for (size_t i = 0; i < tree->count; i++) {
		const struct sexp *node = &tree->nodes[i];
		if (node->next <= i || node->next > tree->count ||
		    (!node->is_list && (node->next != i + 1 || node->bytes[node->length] != '\0')))
			abort();
		for (size_t k = i + 1; k < node->next; k = tree->nodes[k].next)
			if (tree->nodes[k].next > node->next)
				abort();
	}
}

static void check_info(const struct nfslock_info *info)
{
	struct nfslock_info back = {0};
	char *text = nfslock_info_write(info);

	if (!text || info->pid <= 0 || *info->host == '\0' ||
	    nfslock_info_read(text, strlen(text), &back) < 0 ||
	    strcmp(back.host, info->host) != 0 || back.pid != info->pid ||
	    back.message_length != info->message_length ||
	    memcmp(back.message, info->message, info->message_length) != 0)
		abort();
	/* Times are written in microseconds, and since the epoch. */
	if (info->started > 0 && back.started != info->started - info->started % 1000)
		abort();
	nfslock_info_free(&back);
	free(text);
}

void fuzz_nfslock(const uint8_t *bytes, size_t size)
{
	struct sexp_tree tree = {0};
	struct nfslock_info info = {0};

	check_atom((const char *)bytes, size);
	if (sexp_read((const char *)bytes, size, &tree) == 0)
		check_tree(&tree);
	sexp_free(&tree);
	if (nfslock_info_read((const char *)bytes, size, &info) == 0)
		check_info(&info);
	nfslock_info_free(&info);
}
