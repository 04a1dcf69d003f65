/*
 * libsmartcols cuts columns as well, but not those whose cells have several
 * lines, and without showing that something is missing; and of such a cell it
 * moves only the first line to the right.
 *
 * What gets here is escaped: valid UTF-8 without control characters, whatever
 * the locale.  Where the locale has no such character, libsmartcols prints each
 * byte as \xHH.
 */
#include "table-fit.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <wchar.h>

#include "message.h"

static const char dots[] = "...";
enum { DOTS = sizeof dots - 1 };

size_t terminal_width(void)
{
	static const size_t usual = 80;
	struct winsize size = {0};
	const char *columns = getenv("COLUMNS");

	if (!isatty(STDOUT_FILENO))
		return 0;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
		return size.ws_col;
	return columns && atoi(columns) > 0 ? (size_t)atoi(columns) : usual;
}

/* The length of the character at `text` in bytes, and its width. */
static size_t character(const char *text, const char *end, size_t *ret_width)
{
	mbstate_t state = {0};
	wchar_t wide;
	size_t length = mbrtowc(&wide, text, (size_t)(end - text), &state);

	if (length == 0 || length > (size_t)(end - text)) {
		*ret_width = strlen("\\xHH");
		return 1;
	}

	int width = wcwidth(wide);

	*ret_width = width > 0 ? (size_t)width : 0;
	return length;
}

static size_t line_width(const char *line, const char *end)
{
	size_t width = 0, one;

	while (line < end) {
		line += character(line, end, &one);
		width += one;
	}
	return width;
}

size_t text_width(const char *text)
{
	size_t widest = 0;

	for (;;) {
		const char *end = strchrnul(text, '\n');
		size_t width = line_width(text, end);

		if (width > widest)
			widest = width;
		if (*end == '\0')
			return widest;
		text = end + 1;
	}
}

void fit_widths(size_t *widths, const bool *may_shrink, size_t count, size_t room)
{
	size_t total = count > 0 ? count - 1 : 0;

	for (size_t i = 0; i < count; i++)
		total += widths[i];
	while (total > room) {
		size_t widest = count;

		for (size_t i = 0; i < count; i++)
			if (may_shrink[i] && widths[i] > NARROWEST &&
			    (widest == count || widths[i] > widths[widest]))
				widest = i;
		if (widest == count)
			return;
		widths[widest]--;
		total--;
	}
}

static void print_cut_at_end(FILE *out, const char *line, const char *end, size_t width)
{
	const char *at = line;
	size_t left = width - DOTS, one;

	while (at < end) {
		size_t length = character(at, end, &one);

		if (one > left)
			break;
		left -= one;
		at += length;
	}
	fprintf(out, "%.*s%s", (int)(at - line), line, dots);
}

static void print_cut_at_start(FILE *out, const char *line, const char *end, size_t width)
{
	size_t left = line_width(line, end), one;

	while (left > width - DOTS) {
		line += character(line, end, &one);
		left -= one;
	}
	fprintf(out, "%s%.*s", dots, (int)(end - line), line);
}

/* A text made line by line from another one. */
static char *each_line(const char *text, size_t width,
		       void (*print)(FILE *out, const char *line, const char *end, size_t width))
{
	char *made = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&made, &size);

	if (!out)
		out_of_memory();
	for (;;) {
		const char *end = strchrnul(text, '\n');

		print(out, text, end, width);
		if (*end == '\0')
			break;
		putc('\n', out);
		text = end + 1;
	}
	if (fclose(out) != 0)
		out_of_memory();
	return made;
}

static void print_end_cut(FILE *out, const char *line, const char *end, size_t width)
{
	if (line_width(line, end) <= width)
		fprintf(out, "%.*s", (int)(end - line), line);
	else
		print_cut_at_end(out, line, end, width);
}

static void print_start_cut(FILE *out, const char *line, const char *end, size_t width)
{
	if (line_width(line, end) <= width)
		fprintf(out, "%.*s", (int)(end - line), line);
	else
		print_cut_at_start(out, line, end, width);
}

char *cut_text(const char *text, size_t width, enum cut cut)
{
	return each_line(text, width, cut == CUT_END ? print_end_cut : print_start_cut);
}

static void print_right(FILE *out, const char *line, const char *end, size_t width)
{
	size_t own = line_width(line, end);

	fprintf(out, "%*s%.*s", (int)(own < width ? width - own : 0), "", (int)(end - line), line);
}

char *align_right(const char *text, size_t width)
{
	return each_line(text, width, print_right);
}
