/*
 * Messages.  The error message is a buffer of the thread's own.  The debug log
 * goes to a callback, or where RELOCK_DEBUG says: "1" is standard error,
 * anything else a file, opened for each line, so that a log may be moved away
 * under a running program.  RELOCK_DEBUG is read once.
 *
 * `log_mutex` guards the callback, so that it is not called any more once
 * relock_set_log() has replaced it.
 */
#include "message.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "relock.h"

enum { MESSAGE_SIZE = 1024 };

static _Thread_local char message[MESSAGE_SIZE];

static pthread_once_t environment_once = PTHREAD_ONCE_INIT;
static const char *debug_target; /* what RELOCK_DEBUG said; NULL: nothing */

static pthread_mutex_t log_mutex = PTHREAD_MUTEX_INITIALIZER;
static void (*log_callback)(const char *line, void *argument); /* log_mutex */
static void *log_argument;                                     /* log_mutex */
static atomic_bool has_callback;

int failed(int error, const char *format, ...)
{
	char plain[MESSAGE_SIZE];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(plain, sizeof plain, format, arguments);
	va_end(arguments);
	/* Names and paths in it come from anywhere. */
	CLEANUP_FREE char *escaped = relock_escape(plain, strlen(plain));
	snprintf(message, sizeof message, "%s", escaped ? escaped : "out of memory");
	debug("error: %s", message);
	return error;
}

void message_begin(void)
{
	message[0] = '\0';
}

int message_end(int result, const char *subject)
{
	if (result < 0 && message[0] == '\0')
		return failed(result, "%s: %s", subject, strerrordesc_np(-result));
	return result;
}

const char *relock_error_message(void)
{
	return message;
}

static void read_environment(void)
{
	const char *value = secure_getenv("RELOCK_DEBUG");

	if (value && *value && strcmp(value, "0") != 0)
		debug_target = strdup(value);
}

int debug_enabled(void)
{
	if (atomic_load_explicit(&has_callback, memory_order_relaxed))
		return 1;
	pthread_once(&environment_once, read_environment);
	return debug_target != NULL;
}

static void write_line(const char *line, size_t length)
{
	CLEANUP_CLOSE int file = -1;
	int fd = STDERR_FILENO;

	if (strcmp(debug_target, "1") != 0) {
		file = open(debug_target, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY,
			    0600);
		if (file < 0)
			return;
		fd = file;
	}
	if (write(fd, line, length) < 0)
		return; /* a log that cannot be written is nobody's failure */
}

void debug_line(const char *format, ...)
{
	char line[MESSAGE_SIZE + 64];
	int saved = errno;
	va_list arguments;

	int prefix = snprintf(line, sizeof line, "relock[%d]: ", (int)getpid());
	va_start(arguments, format);
	vsnprintf(line + prefix, sizeof line - (size_t)prefix - 1, format, arguments);
	va_end(arguments);
	pthread_mutex_lock(&log_mutex);
	if (log_callback) {
		log_callback(line + prefix, log_argument);
	} else if (debug_target) {
		strcat(line, "\n");
		write_line(line, strlen(line));
	}
	pthread_mutex_unlock(&log_mutex);
	errno = saved;
}

void relock_set_log(void (*log)(const char *line, void *argument), void *argument)
{
	pthread_mutex_lock(&log_mutex);
	log_callback = log;
	log_argument = argument;
	atomic_store(&has_callback, log != NULL);
	pthread_mutex_unlock(&log_mutex);
}

void message_after_fork(void)
{
	pthread_mutex_init(&log_mutex, NULL);
}

const char *relock_version(void)
{
	return RELOCK_VERSION;
}
