/*
 * A thin layer over libsmartcols that knows where its functions are, and
 * which columns were picked.
 */
#include "table.h"

#include <libsmartcols.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "exit-code.h"
#include "lazy-library.h"
#include "message.h"

#define FUNCTIONS(X)                                                                               \
	X(scols_new_table)                                                                         \
	X(scols_unref_table)                                                                       \
	X(scols_table_set_name)                                                                    \
	X(scols_table_enable_json)                                                                 \
	X(scols_table_enable_raw)                                                                  \
	X(scols_table_enable_noheadings)                                                           \
	X(scols_table_new_column)                                                                  \
	X(scols_column_set_wrapfunc)                                                               \
	X(scols_column_set_safechars)                                                              \
	X(scols_column_set_json_type)                                                              \
	X(scols_wrapnl_chunksize)                                                                  \
	X(scols_wrapnl_nextchunk)                                                                  \
	X(scols_table_new_line)                                                                    \
	X(scols_line_set_data)                                                                     \
	X(scols_print_table)

#define DECLARE(name) __typeof__(name) *name##_;
static struct {
	FUNCTIONS(DECLARE)
} scols;
#undef DECLARE

struct table {
	struct libscols_table *table;
	struct libscols_line *line;
	const struct table_column *columns;
	size_t column_count;
	size_t *picked; /* indexes into columns, in the order they are shown */
	size_t picked_count;
};

static bool scols_load(void)
{
#define SYMBOL(name) {#name, (void **)&scols.name##_},
	static const struct lazy_symbol symbols[] = {FUNCTIONS(SYMBOL)};
#undef SYMBOL

	return lazy_library_load("libsmartcols.so.1", "libsmartcols1", symbols,
				 sizeof symbols / sizeof symbols[0]);
}

static bool pick_column(struct table *table, const char *name)
{
	for (size_t i = 0; i < table->column_count; i++) {
		if (strcasecmp(table->columns[i].name, name) != 0)
			continue;
		table->picked[table->picked_count++] = i;
		return true;
	}
	return false;
}

static int unknown_column(const struct table *table, const char *name)
{
	CLEANUP_FREE char *text = printable(name);
	CLEANUP_FREE char *known = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&known, &size);

	if (!out)
		out_of_memory();
	for (size_t i = 0; i < table->column_count; i++)
		fprintf(out, "%s%s", i ? ", " : "", table->columns[i].name);
	if (fclose(out) != 0)
		out_of_memory();
	complain("there is no column '%s'; there are %s", text, known);
	return EX_USAGE;
}

static int pick_columns(struct table *table, const char *list)
{
	CLEANUP_FREE char *names = need_text(strdup(list));
	char *rest = names, *name;

	while ((name = strsep(&rest, ","))) {
		if (table->picked_count == 2 * table->column_count) {
			complain("too many columns");
			return EX_USAGE;
		}
		if (!pick_column(table, name))
			return unknown_column(table, name);
	}
	return 0;
}

static void make_column(struct table *table, const struct table_column *column, bool json)
{
	int flags = (column->flags & TABLE_RIGHT ? SCOLS_FL_RIGHT : 0) |
		    (column->flags & TABLE_TRUNCATE ? SCOLS_FL_TRUNC : 0) |
		    (column->flags & TABLE_LINES ? SCOLS_FL_WRAP : 0);
	bool number = column->flags & TABLE_NUMBER;
	bool lines = column->flags & TABLE_LINES;
	struct libscols_column *made =
		scols.scols_table_new_column_(table->table, column->name, column->width, flags);

	if (!made)
		out_of_memory();
	if (lines) {
		scols.scols_column_set_wrapfunc_(made, scols.scols_wrapnl_chunksize_,
						 scols.scols_wrapnl_nextchunk_, NULL);
	}
	/* What gets here is escaped already; backslashes are not escaped again, and
	 * newlines separate a cell's lines. */
	scols.scols_column_set_safechars_(made, lines ? "\\\n" : "\\");
	if (json)
		scols.scols_column_set_json_type_(made, lines && number ? SCOLS_JSON_ARRAY_NUMBER
							: lines         ? SCOLS_JSON_ARRAY_STRING
							: number        ? SCOLS_JSON_NUMBER
									: SCOLS_JSON_STRING);
}

int table_new(struct table **ret, const char *name, const struct table_column *columns,
	      size_t column_count, const char *default_output, const struct table_options *options)
{
	if (!scols_load())
		return EX_UNAVAILABLE;
	/* Widths are in columns of the terminal: that takes the character set. */
	setlocale(LC_CTYPE, "");

	CLEANUP_TABLE struct table *table = calloc(1, sizeof *table);

	if (!table)
		out_of_memory();
	table->columns = columns;
	table->column_count = column_count;
	table->picked = calloc(2 * column_count, sizeof *table->picked);
	table->table = scols.scols_new_table_();
	if (!table->picked || !table->table)
		out_of_memory();

	const char *output = options->output;
	int code = 0;

	if (!output || *output == '+')
		code = pick_columns(table, default_output);
	if (code == 0 && output)
		code = pick_columns(table, *output == '+' ? output + 1 : output);
	if (code != 0)
		return code;

	scols.scols_table_set_name_(table->table, name);
	scols.scols_table_enable_json_(table->table, options->json);
	scols.scols_table_enable_raw_(table->table, options->raw);
	scols.scols_table_enable_noheadings_(table->table, options->no_headings);
	for (size_t i = 0; i < table->picked_count; i++)
		make_column(table, &columns[table->picked[i]], options->json);
	*ret = table;
	table = NULL;
	return 0;
}

void table_free(struct table *table)
{
	if (!table)
		return;
	if (table->table)
		scols.scols_unref_table_(table->table);
	free(table->picked);
	free(table);
}

void table_add_line(struct table *table)
{
	table->line = scols.scols_table_new_line_(table->table, NULL);
	if (!table->line)
		out_of_memory();
}

void table_set(struct table *table, size_t column, const char *text)
{
	for (size_t i = 0; text && i < table->picked_count; i++)
		if (table->picked[i] == column &&
		    scols.scols_line_set_data_(table->line, i, text) < 0)
			out_of_memory();
}

void table_setf(struct table *table, size_t column, const char *format, ...)
{
	CLEANUP_FREE char *text = NULL;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0) {
		text = NULL;
		out_of_memory();
	}
	va_end(arguments);
	table_set(table, column, text);
}

void table_print(struct table *table)
{
	scols.scols_print_table_(table->table);
}

void table_print_columns(const struct table_column *columns, size_t count)
{
	puts("\nColumns:");
	for (size_t i = 0; i < count; i++)
		printf("  %-8s %s\n", columns[i].name, columns[i].summary);
}
