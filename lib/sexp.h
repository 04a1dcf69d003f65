/*
 * S-expressions, as OCaml's sexplib writes and reads them: an atom is a string
 * of any bytes, quoted where it must be; a list has atoms and lists in
 * parentheses.  Comments are ';' to the end of the line, #| nested |#, and #;
 * before an expression.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct sexp {
	bool is_list;
	size_t next;      /* index of what follows it, and what is in it */
	char *bytes;      /* of an atom; a NUL follows */
	size_t length;    /* likewise */
	size_t parent;    /* while it is read: index + 1 of the list that it is in */
	unsigned ignores; /* likewise: that so many of a list's next elements are comments */
};

/* Expressions in the order in which they begin: of a list at `i`, the first
 * element is at `i + 1`, each other where the one before says `next`, and the
 * last one's `next` is the list's own. */
struct sexp_tree {
	struct sexp *nodes;
	size_t count, room;
	char *atoms; /* their bytes */
};

/* Reads a text that is one expression.  -EBADMSG if it is not; -ENOMEM.  What
 * it gives is to be freed with sexp_free(). */
int sexp_read(const char *text, size_t length, struct sexp_tree *ret);
void sexp_free(struct sexp_tree *tree);

/* At most so many bytes for an atom, with the NUL that follows it. */
#define SEXP_ATOM_ROOM(length) (4 * (length) + 3)

/* Writes an atom, quoted if it must be; returns where its end is. */
char *sexp_write_atom(char *to, const char *bytes, size_t length);
