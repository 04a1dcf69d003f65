/*
 * The line of RELOCK_TRACE, for programs: an object, always with the same
 * members.  Where one is not known it is null; others that are seldom there
 * are only there when they say something.  Async-signal-safe.
 */
#include <string.h>

#include "error-name.h"
#include "json-text.h"
#include "report.h"

struct date {
	int year, month, day; /* from 1 on */
};

static bool is_leap_year(int year)
{
	return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int days_of_month(int year, int month)
{
	static const char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

	return days[month - 1] + (month == 2 && is_leap_year(year));
}

/* The kernel's clock is never before 1970, and never after 2262. */
static struct date date_of(int64_t days_since_1970)
{
	struct date date = {.year = 1970, .month = 1};
	int days = (int)days_since_1970;

	for (; days >= 365 + is_leap_year(date.year); date.year++)
		days -= 365 + is_leap_year(date.year);
	for (; days >= days_of_month(date.year, date.month); date.month++)
		days -= days_of_month(date.year, date.month);
	date.day = days + 1;
	return date;
}

static void add_padded(struct text *text, const char *before, int64_t number, int digits)
{
	text_add(text, before);
	for (int64_t limit = 10; --digits > 0; limit *= 10)
		if (number < limit)
			text_add(text, "0");
	text_add_number(text, number);
}

/* RFC 3339, in UTC: gmtime_r(3) may wait for a lock of the time zone. */
static void add_time(struct text *text, const struct timespec *time)
{
	enum { SECONDS_OF_DAY = 24 * 60 * 60 };
	struct date date = date_of(time->tv_sec / SECONDS_OF_DAY);
	int64_t second = time->tv_sec % SECONDS_OF_DAY;

	json_open_string(text, "time");
	add_padded(text, "", date.year, 4);
	add_padded(text, "-", date.month, 2);
	add_padded(text, "-", date.day, 2);
	add_padded(text, "T", second / 3600, 2);
	add_padded(text, ":", second / 60 % 60, 2);
	add_padded(text, ":", second % 60, 2);
	add_padded(text, ".", time->tv_nsec / 1000, 6);
	text_add(text, "Z");
	json_close_string(text);
}

static void add_speaker(struct text *text, const struct shim_speaker *speaker)
{
	add_time(text, &speaker->time);
	if (speaker->program)
		json_add_string(text, "program", speaker->program, strlen(speaker->program),
				REPORT_JSON_PROGRAM_MAX);
	else
		json_add_null(text, "program");
	json_add_number(text, "pid", speaker->pid);
	json_add_number(text, "tid", speaker->tid);
}

static void add_path(struct text *text, const struct shim_report *report)
{
	if (!report->path) {
		json_add_null(text, "path");
		return;
	}
	bool is_whole = json_add_string(text, "path", report->path, report->path_length,
					REPORT_JSON_PATH_MAX);
	if (!is_whole || report->is_path_cut)
		json_add_true(text, "path_cut");
	if (report->is_deleted)
		json_add_true(text, "deleted");
}

/* A number where it is none of the three. */
static void add_type(struct text *text, const char *key, short type)
{
	switch (type) {
	case F_RDLCK:
		json_add_word(text, key, "read");
		break;
	case F_WRLCK:
		json_add_word(text, key, "write");
		break;
	case F_UNLCK:
		json_add_word(text, key, "unlock");
		break;
	default:
		json_add_number(text, key, type);
	}
}

static void add_last(struct text *text, const char *key, off_t last)
{
	if (last == INT64_MAX)
		json_add_null(text, key);
	else
		json_add_number(text, key, last);
}

static void add_range(struct text *text, const struct shim_report_range *range)
{
	add_type(text, "type", range->request.l_type);
	if (range->is_resolved) {
		json_add_number(text, "first", range->first);
		add_last(text, "last", range->last);
		return;
	}
	json_add_null(text, "first");
	json_add_null(text, "last");
	json_add_number(text, "whence", range->request.l_whence);
	json_add_number(text, "start", range->request.l_start);
	json_add_number(text, "length", range->request.l_len);
}

static void add_no_range(struct text *text)
{
	json_add_null(text, "type");
	json_add_null(text, "first");
	json_add_null(text, "last");
}

static void add_answer(struct text *text, const struct shim_report_range *held)
{
	if (held->request.l_type == F_UNLCK) {
		json_add_null(text, "held_type");
		json_add_null(text, "held_first");
		json_add_null(text, "held_last");
		json_add_null(text, "held_by");
		return;
	}
	add_type(text, "held_type", held->request.l_type);
	json_add_number(text, "held_first", held->first);
	add_last(text, "held_last", held->last);
	json_add_number(text, "held_by", held->request.l_pid);
}

static void add_result(struct text *text, int result)
{
	json_open_string(text, "result");
	if (result < 0)
		text_add_error(text, -result);
	else
		text_add(text, "ok");
	json_close_string(text);
}

void shim_report_json(struct text *text, const struct shim_report *report)
{
	json_begin(text);
	add_speaker(text, &report->speaker);
	json_add_number(text, "fd", report->fd);
	add_path(text, report);
	json_add_word(text, "call", report->call);
	if (report->is_readable)
		add_range(text, &report->range);
	else
		add_no_range(text);
	add_result(text, report->result);
	json_add_word(text, "semantics", report->semantics);
	if (report->has_answer)
		add_answer(text, &report->held);
	json_end(text);
}

void shim_report_json_note(struct text *text, const struct shim_speaker *speaker, const char *note)
{
	json_begin(text);
	add_speaker(text, speaker);
	json_add_string(text, "note", note, strlen(note), REPORT_JSON_NOTE_MAX);
	json_end(text);
}
