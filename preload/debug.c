/*
 * The lines of RELOCK_DEBUG and RELOCK_TRACE: what there is to say of a call is
 * gathered here, once for both, and put into words by report-text.c and
 * report-json.c.  The files are opened for each line, so that the program never
 * has a descriptor that it did not open, and closing everything or changing
 * root takes nothing from it.
 *
 * Everything here runs inside a lock call: it is async-signal-safe and leaves
 * errno alone.  About 4 KiB of stack at most, for a trace line; the two lines
 * are written one after the other, from functions of their own.
 */
#include "debug.h"

#include <errno.h>
#include <unistd.h>

#include "caller-memory.h"
#include "descriptor-path.h"
#include "range.h"
#include "raw.h"
#include "report.h"
#include "text.h"

static struct shim_speaker this_thread(void)
{
	struct shim_speaker speaker = {
		.program = program_invocation_short_name,
		.pid = raw_getpid(),
		.tid = raw_gettid(),
	};

	raw_clock_gettime(CLOCK_REALTIME, &speaker.time);
	return speaker;
}

static struct shim_report_range resolve(int fd, const struct flock *request)
{
	struct shim_report_range range = {.request = *request};

	range.is_resolved = shim_range_resolve(fd, request, &range.first, &range.last) == 0;
	return range;
}

static void find_path(struct shim_report *report, char path[static REPORT_PATH_SIZE])
{
	ssize_t length =
		shim_descriptor_path(report->fd, path, REPORT_PATH_SIZE, &report->is_deleted);

	if (length < 0)
		return;
	report->path = path;
	report->path_length = (size_t)length;
	report->is_path_cut = length == REPORT_PATH_SIZE;
}

/* What F_GETLK left in the program's struct; nothing, if that has gone. */
static void find_answer(struct shim_report *report, const struct flock *request)
{
	struct flock answer = {.l_type = F_UNLCK};

	shim_caller_read(&answer, request);
	report->has_answer = true;
	report->held = resolve(report->fd, &answer);
}

static void write_line(const char *file, struct text *text)
{
	if (!file) {
		text_write_line(text, STDERR_FILENO);
		return;
	}
	_cleanup_raw_close_ int fd = raw_openat(AT_FDCWD, file, TEXT_APPEND_FLAGS, 0666);
	if (fd >= 0)
		text_write_line(text, fd);
}

/* Of a call, or a note. */
__attribute__((noinline)) static void write_text(const char *file, const struct shim_report *report,
						 const char *note)
{
	char line[REPORT_TEXT_SIZE];
	struct text text = TEXT(line);

	if (note)
		shim_report_text_note(&text, &report->speaker, note);
	else
		shim_report_text(&text, report);
	write_line(file, &text);
}

__attribute__((noinline)) static void write_json(const char *file, const struct shim_report *report,
						 const char *note)
{
	char line[REPORT_JSON_SIZE];
	struct text text = TEXT(line);

	if (note)
		shim_report_json_note(&text, &report->speaker, note);
	else
		shim_report_json(&text, report);
	write_line(file, &text);
}

static void write_lines(const struct shim_settings *settings, const struct shim_report *report,
			const char *note)
{
	if (settings->debug)
		write_text(settings->debug_file, report, note);
	if (settings->trace_file)
		write_json(settings->trace_file, report, note);
}

void shim_debug_begin(struct shim_debug_call *call)
{
	call->is_readable = shim_caller_read(&call->before, call->request) == 0;
}

void shim_debug_end(struct shim_debug_call *call)
{
	char path[REPORT_PATH_SIZE];
	struct shim_report report = {
		.speaker = this_thread(),
		.fd = call->fd,
		.call = call->name,
		.is_readable = call->is_readable,
		.result = call->result,
		.semantics = call->semantics,
	};

	find_path(&report, path);
	if (call->is_readable)
		report.range = resolve(call->fd, &call->before);
	if (call->is_question && call->result == 0)
		find_answer(&report, call->request);
	write_lines(call->settings, &report, NULL);
}

void shim_debug_note(const char *note)
{
	struct shim_settings scratch;
	const struct shim_settings *settings = shim_settings(&scratch);

	if (!shim_settings_want_reports(settings))
		return;

	const struct shim_report report = {.speaker = this_thread()};

	write_lines(settings, &report, note);
}
