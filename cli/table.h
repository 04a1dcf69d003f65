/*
 * Tables as util-linux prints them, by libsmartcols, loaded when first used; as
 * JSON, by json-c, as all other JSON of the command.
 *
 * A subcommand has an array of all the columns it knows; the user picks with
 * -o, as in lsblk(8): "-o NAME,PID" these, "-o +TOKEN" these as well.  Columns
 * not picked are ignored when set, so the code that fills a line need not
 * know.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum {
	TABLE_RIGHT = 1,     /* to the right, as numbers */
	TABLE_CUT = 2,       /* on a terminal that is too narrow, cut off at the end */
	TABLE_CUT_START = 4, /* or at the start, as for paths */
	TABLE_NUMBER = 8,    /* a number in JSON */
	TABLE_LINES = 16,    /* may have several lines, an array in JSON */
};

struct table_column {
	const char *name;
	const char *summary; /* for the help text */
	int flags;
};

struct table_options {
	bool json, raw, no_headings;
	const char *output; /* -o; NULL: the default columns */
};

struct table;

/*
 * Makes an empty table.  0, or an exit code after saying what is wrong.
 * `default_output` is a list of column names, as the user would write it.
 */
int table_new(struct table **ret, const char *name, const struct table_column *columns,
	      size_t column_count, const char *default_output, const struct table_options *options);
void table_free(struct table *table);

/* The options ask for a table that people read on a terminal: the only one in
 * which anything is left out. */
bool table_is_for_terminal(const struct table_options *options);

void table_add_line(struct table *table);

/* Sets a cell of the last line; NULL leaves it empty: in JSON null, or an array
 * of nothing. An empty line of several is null in the array. */
void table_set(struct table *table, size_t column, const char *text);
__attribute__((format(printf, 3, 4))) void table_setf(struct table *table, size_t column,
						      const char *format, ...);

void table_print(struct table *table);

/* "Columns:" and one line for each, as util-linux ends its help texts. */
void table_print_columns(const struct table_column *columns, size_t count);

static inline void table_cleanup(struct table **table)
{
	table_free(*table);
}

#define CLEANUP_TABLE __attribute__((cleanup(table_cleanup)))
