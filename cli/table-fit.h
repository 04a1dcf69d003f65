/*
 * Making cells fit: how wide texts are, and cutting and padding them.
 *
 * A cell's text may have several lines.  Widths are in columns of the terminal.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* The terminal that standard output is; 0 if it is none. */
size_t terminal_width(void);

/* Of the widest line. */
size_t text_width(const char *text);

/*
 * Makes columns narrower, the widest first, until all of them fit into `room`
 * with a blank in between, or none can give any more: those with `may_shrink`
 * go down to NARROWEST.
 */
enum { NARROWEST = 10 };
void fit_widths(size_t *widths, const bool *may_shrink, size_t count, size_t room);

/* Lines wider than `width` end, or begin, with "..." instead of the rest. To
 * be freed; never NULL. */
enum cut { CUT_END, CUT_START };
char *cut_text(const char *text, size_t width, enum cut cut);

/* Each line moved to the right edge.  To be freed; never NULL. */
char *align_right(const char *text, size_t width);
