/*
 * The cells are kept until the table is printed: only then it is known how wide
 * the columns are, and what has to be cut to fit the terminal.
 */
#include "table.h"

#include <ctype.h>
#include <inttypes.h>
#include <libsmartcols.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "exit-code.h"
#include "json.h"
#include "lazy-library.h"
#include "message.h"
#include "table-fit.h"

#define FUNCTIONS(X)                                                                               \
	X(scols_new_table)                                                                         \
	X(scols_unref_table)                                                                       \
	X(scols_table_enable_raw)                                                                  \
	X(scols_table_enable_noheadings)                                                           \
	X(scols_table_new_column)                                                                  \
	X(scols_column_set_wrapfunc)                                                               \
	X(scols_column_set_safechars)                                                              \
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
	const char *name;
	const struct table_column *columns;
	size_t column_count;
	struct table_options options;
	size_t *picked; /* indexes into columns, in the order they are shown */
	size_t picked_count;
	char **cells; /* line by line, picked_count each; NULL: empty */
	size_t line_count, line_room;
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

int table_new(struct table **ret, const char *name, const struct table_column *columns,
	      size_t column_count, const char *default_output, const struct table_options *options)
{
	if (options->json ? !json_load() : !scols_load())
		return EX_UNAVAILABLE;
	/* Widths are in columns of the terminal: that takes the character set. */
	setlocale(LC_CTYPE, "");

	CLEANUP_TABLE struct table *table = calloc(1, sizeof *table);

	if (!table)
		out_of_memory();
	table->name = name;
	table->columns = columns;
	table->column_count = column_count;
	table->options = *options;
	table->picked = calloc(2 * column_count, sizeof *table->picked);
	if (!table->picked)
		out_of_memory();

	const char *output = options->output;
	int code = 0;

	if (!output || *output == '+')
		code = pick_columns(table, default_output);
	if (code == 0 && output)
		code = pick_columns(table, *output == '+' ? output + 1 : output);
	if (code != 0)
		return code;
	*ret = table;
	table = NULL;
	return 0;
}

void table_free(struct table *table)
{
	if (!table)
		return;
	for (size_t i = 0; i < table->line_count * table->picked_count; i++)
		free(table->cells[i]);
	free(table->cells);
	free(table->picked);
	free(table);
}

bool table_is_for_terminal(const struct table_options *options)
{
	return !options->json && !options->raw && isatty(STDOUT_FILENO);
}

void table_add_line(struct table *table)
{
	size_t columns = table->picked_count;

	if (table->line_count == table->line_room) {
		size_t room = table->line_room * 2 + 16;
		char **cells = reallocarray(table->cells, room, columns * sizeof *cells);

		if (!cells)
			out_of_memory();
		table->cells = cells;
		table->line_room = room;
	}
	memset(&table->cells[table->line_count++ * columns], 0, columns * sizeof *table->cells);
}

static char **cell(const struct table *table, size_t line, size_t picked)
{
	return &table->cells[line * table->picked_count + picked];
}

void table_set(struct table *table, size_t column, const char *text)
{
	for (size_t i = 0; text && i < table->picked_count; i++)
		if (table->picked[i] == column) {
			char **last = cell(table, table->line_count - 1, i);

			free(*last);
			*last = need_text(strdup(text));
		}
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

static const struct table_column *picked_column(const struct table *table, size_t picked)
{
	return &table->columns[table->picked[picked]];
}

static size_t natural_width(const struct table *table, size_t picked)
{
	size_t widest =
		table->options.no_headings ? 0 : text_width(picked_column(table, picked)->name);

	for (size_t line = 0; line < table->line_count; line++) {
		const char *text = *cell(table, line, picked);
		size_t width = text ? text_width(text) : 0;

		if (width > widest)
			widest = width;
	}
	return widest;
}

static void replace(char **text, char *by)
{
	free(*text);
	*text = by;
}

/* Makes the cells as wide as they shall be. */
static void lay_out(struct table *table)
{
	size_t count = table->picked_count, room = terminal_width();
	CLEANUP_FREE size_t *widths = calloc(count, sizeof *widths);
	CLEANUP_FREE bool *may_shrink = calloc(count, sizeof *may_shrink);

	if (!widths || !may_shrink)
		out_of_memory();
	for (size_t i = 0; i < count; i++) {
		widths[i] = natural_width(table, i);
		may_shrink[i] = picked_column(table, i)->flags & (TABLE_CUT | TABLE_CUT_START);
	}
	if (room > 0)
		fit_widths(widths, may_shrink, count, room);
	for (size_t i = 0; i < count; i++) {
		int flags = picked_column(table, i)->flags;

		for (size_t line = 0; line < table->line_count; line++) {
			char **text = cell(table, line, i);

			if (!*text)
				continue;
			if (text_width(*text) > widths[i])
				replace(text, cut_text(*text, widths[i],
						       flags & TABLE_CUT ? CUT_END : CUT_START));
			if (flags & TABLE_RIGHT)
				replace(text, align_right(*text, widths[i]));
		}
	}
}

static void make_column(struct libscols_table *made_table, const struct table_column *column)
{
	bool lines = column->flags & TABLE_LINES;
	int flags =
		(column->flags & TABLE_RIGHT ? SCOLS_FL_RIGHT : 0) | (lines ? SCOLS_FL_WRAP : 0);
	struct libscols_column *made =
		scols.scols_table_new_column_(made_table, column->name, 0, flags);

	if (!made)
		out_of_memory();
	if (lines)
		scols.scols_column_set_wrapfunc_(made, scols.scols_wrapnl_chunksize_,
						 scols.scols_wrapnl_nextchunk_, NULL);
	/* What gets here is escaped already; backslashes are not escaped again, and
	 * newlines separate a cell's lines. */
	scols.scols_column_set_safechars_(made, lines ? "\\\n" : "\\");
}

static void print_table(struct table *table)
{
	struct libscols_table *made = scols.scols_new_table_();

	if (!made)
		out_of_memory();
	scols.scols_table_enable_raw_(made, table->options.raw);
	scols.scols_table_enable_noheadings_(made, table->options.no_headings);
	for (size_t i = 0; i < table->picked_count; i++)
		make_column(made, picked_column(table, i));
	for (size_t line = 0; line < table->line_count; line++) {
		struct libscols_line *made_line = scols.scols_table_new_line_(made, NULL);

		if (!made_line)
			out_of_memory();
		for (size_t i = 0; i < table->picked_count; i++) {
			const char *text = *cell(table, line, i);

			if (text && *text && scols.scols_line_set_data_(made_line, i, text) < 0)
				out_of_memory();
		}
	}
	scols.scols_print_table_(made);
	scols.scols_unref_table_(made);
}

/* The lines of a cell, whose newlines are gone after that. */
static void add_array(struct json_object *object, const char *key, char *text, bool numbers)
{
	struct json_object *array = json_add_array(object, key);
	char *line;

	while ((line = strsep(&text, "\n")))
		if (*line == '\0')
			json_append(array, NULL);
		else if (numbers)
			json_append_signed(array, strtoimax(line, NULL, 10));
		else
			json_append_text(array, line);
}

static void add_cell(struct json_object *object, const struct table_column *column, char *text)
{
	bool number = column->flags & TABLE_NUMBER;
	char key[32] = "";

	for (size_t i = 0; i < sizeof key - 1 && column->name[i]; i++)
		key[i] = (char)tolower(column->name[i]);
	if (column->flags & TABLE_LINES)
		add_array(object, key, text, number);
	else if (!text)
		json_add_null(object, key);
	else if (number)
		json_add_number(object, key, strtoumax(text, NULL, 10));
	else
		json_add_text(object, key, text);
}

static void print_json(struct table *table)
{
	CLEANUP_JSON struct json_object *json = json_new();
	struct json_object *array = json_add_array(json, table->name);

	for (size_t line = 0; line < table->line_count; line++) {
		struct json_object *object = json_new();

		for (size_t i = 0; i < table->picked_count; i++)
			add_cell(object, picked_column(table, i), *cell(table, line, i));
		json_append(array, object);
	}
	json_print(json);
}

void table_print(struct table *table)
{
	if (table->options.json) {
		print_json(table);
		return;
	}
	if (!table->options.raw)
		lay_out(table);
	print_table(table);
}

void table_print_columns(const struct table_column *columns, size_t count)
{
	int width = 8;

	for (size_t i = 0; i < count; i++)
		width = (int)strlen(columns[i].name) > width ? (int)strlen(columns[i].name) : width;
	puts("\nColumns:");
	for (size_t i = 0; i < count; i++)
		printf("  %-*s %s\n", width, columns[i].name, columns[i].summary);
}
