/*
 * What there is to say of a lock call, in whatever form: report-text.c makes
 * the line of RELOCK_DEBUG of it, report-json.c that of RELOCK_TRACE.
 */
#pragma once

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <time.h>

#include "text.h"

/* Who speaks, and when. */
struct shim_speaker {
	const char *program; /* NULL: not known yet, before libc's own start */
	pid_t pid, tid;
	struct timespec time;
};

/* A byte range, or what was asked for if there is no such range. */
struct shim_report_range {
	bool is_resolved;
	off_t first, last; /* INT64_MAX: to the end of the file */
	struct flock request;
};

struct shim_report {
	struct shim_speaker speaker;
	int fd;
	const char *path; /* NULL: not known; no NUL at its end */
	size_t path_length;
	bool is_path_cut, is_deleted;
	const char *call;
	bool is_readable; /* the program's struct; else there is no range */
	struct shim_report_range range;
	int result; /* 0 or a negative errno */
	const char *semantics;
	bool has_answer;               /* a successful F_GETLK */
	struct shim_report_range held; /* l_type F_UNLCK: nobody holds it */
};

enum {
	/* So much of a path is shown. */
	REPORT_PATH_SIZE = 768,
	REPORT_TEXT_SIZE = 1280,
	/* A JSON line is never cut: strings are, to these sizes as they stand there,
	 * and all else has room. */
	REPORT_JSON_PATH_MAX = 1024,
	REPORT_JSON_PROGRAM_MAX = 256,
	REPORT_JSON_NOTE_MAX = 256,
	REPORT_JSON_SIZE = REPORT_JSON_PATH_MAX + REPORT_JSON_PROGRAM_MAX + 768,
};

void shim_report_text(struct text *text, const struct shim_report *report);
void shim_report_text_note(struct text *text, const struct shim_speaker *speaker, const char *note);
void shim_report_json(struct text *text, const struct shim_report *report);
void shim_report_json_note(struct text *text, const struct shim_speaker *speaker, const char *note);
