#include "say.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <syslog.h>

static bool to_log;

void say(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (to_log) {
		vsyslog(LOG_NOTICE, format, arguments);
	} else {
		char line[4096];
		/* One write a line: it may share the terminal with others. */
		vsnprintf(line, sizeof line, format, arguments);
		fprintf(stderr, "relockfs: %s\n", line);
	}
	va_end(arguments);
}

void say_to_log(void)
{
	openlog("relockfs", LOG_PID, LOG_DAEMON);
	to_log = true;
}
