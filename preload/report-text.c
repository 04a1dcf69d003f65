/* The line of RELOCK_DEBUG, for people; see debug.h.  Async-signal-safe. */
#include <string.h>

#include "error-name.h"
#include "report.h"

static void add_program(struct text *text, const struct shim_speaker *speaker)
{
	text_add(text, "relock: ");
	text_add_escaped(text, speaker->program, speaker->program ? strlen(speaker->program) : 0);
	text_add(text, "[");
	text_add_number(text, speaker->pid);
	text_add(text, "] ");
}

static void add_descriptor(struct text *text, const struct shim_report *report)
{
	text_add(text, "fd ");
	text_add_number(text, report->fd);
	text_add(text, " ");
	if (report->path)
		text_add_escaped(text, report->path, report->path_length);
	else
		text_add(text, "?");
	text_add(text, report->is_deleted ? " (deleted): " : ": ");
}

static void add_type(struct text *text, short type)
{
	switch (type) {
	case F_RDLCK:
		text_add(text, "read ");
		break;
	case F_WRLCK:
		text_add(text, "write ");
		break;
	case F_UNLCK:
		text_add(text, "unlock ");
		break;
	default:
		text_add(text, "type ");
		text_add_number(text, type);
		text_add(text, " ");
	}
}

static void add_range(struct text *text, const struct shim_report_range *range)
{
	add_type(text, range->request.l_type);
	if (!range->is_resolved) {
		text_add(text, "whence ");
		text_add_number(text, range->request.l_whence);
		text_add(text, " start ");
		text_add_number(text, range->request.l_start);
		text_add(text, " length ");
		text_add_number(text, range->request.l_len);
		return;
	}
	text_add_number(text, range->first);
	text_add(text, "-");
	if (range->last == INT64_MAX)
		text_add(text, "EOF");
	else
		text_add_number(text, range->last);
}

static void add_answer(struct text *text, const struct shim_report_range *held)
{
	if (held->request.l_type == F_UNLCK) {
		text_add(text, "free");
		return;
	}
	text_add(text, "held: ");
	add_range(text, held);
	text_add(text, " by ");
	text_add_number(text, held->request.l_pid);
}

void shim_report_text(struct text *text, const struct shim_report *report)
{
	add_program(text, &report->speaker);
	add_descriptor(text, report);
	text_add(text, report->call);
	text_add(text, " ");
	if (report->is_readable)
		add_range(text, &report->range);
	else
		text_add(text, "bad address");
	text_add(text, " = ");
	if (report->result < 0)
		text_add_error(text, -report->result);
	else if (report->has_answer)
		add_answer(text, &report->held);
	else
		text_add(text, "ok");
	text_add(text, " (");
	text_add(text, report->semantics);
	text_add(text, ")");
}

void shim_report_text_note(struct text *text, const struct shim_speaker *speaker, const char *note)
{
	add_program(text, speaker);
	text_add(text, note);
}
