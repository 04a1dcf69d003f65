/*
 * Messages that name the lock, its holder, and the remedy.
 *
 * A person who reads "held" wants to know by whom, since when, and what can
 * be done; what can be done depends on how the lock is held: what `relock
 * get` holds is given back by `unget`, anything else is waited for or broken.
 */
#include "message.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "duration.h"
#include "exit-code.h"

/* More holders than this are counted, not named. */
enum { HOLDERS_NAMED = 4 };

static void print_line(int fd, const char *format, va_list arguments)
{
	CLEANUP_FREE char *text = NULL;

	if (vasprintf(&text, format, arguments) < 0) {
		text = NULL;
		return;
	}
	/* One write, so that lines of several commands do not mix. */
	dprintf(fd, "relock: %s\n", text);
}

void complain(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print_line(STDERR_FILENO, format, arguments);
	va_end(arguments);
}

void out_of_memory(void)
{
	static const char text[] = "relock: out of memory\n";

	if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
		_exit(EX_OSERR);
	_exit(EX_OSERR);
}

char *need_text(char *text)
{
	if (!text)
		out_of_memory();
	return text;
}

char *printable(const char *text)
{
	return need_text(relock_escape(text, strlen(text)));
}

int complain_error(const char *name, int error)
{
	const char *message = relock_error_message();

	if (*message) {
		complain("%s", message);
	} else {
		CLEANUP_FREE char *text = printable(name);

		complain("%s: %s", text, strerror(-error));
	}
	return exit_code(error);
}

const char *moment_text(int64_t moment, char buffer[MOMENT_TEXT_SIZE])
{
	time_t seconds = (time_t)(moment / RELOCK_SECOND);
	struct tm local;

	if (!localtime_r(&seconds, &local) ||
	    strftime(buffer, MOMENT_TEXT_SIZE, "%Y-%m-%d %H:%M:%S", &local) == 0)
		snprintf(buffer, MOMENT_TEXT_SIZE, "@%lld", (long long)seconds);
	return buffer;
}

static void print_holder(FILE *out, const struct relock_holder *holder, int64_t now)
{
	char since[DURATION_TEXT_SIZE];

	if (holder->pid > 0)
		fprintf(out, "pid %d", (int)holder->pid);
	else if (holder->presence == RELOCK_ENDED && holder->opener > 0)
		fprintf(out, "whoever has the descriptor of pid %d, which has ended",
			(int)holder->opener);
	else
		fputs("a process that is out of sight", out);
	if (holder->command) {
		CLEANUP_FREE char *command = printable(holder->command);

		fprintf(out, " (%s)", command);
	}
	if (holder->user) {
		CLEANUP_FREE char *user = printable(holder->user);

		fprintf(out, ", user %s", user);
	}
	if (holder->since > 0)
		fprintf(out, ", for %s", duration_text(now - holder->since, since));
	if (holder->info_length > 0) {
		CLEANUP_FREE char *info =
			need_text(relock_escape(holder->info, holder->info_length));

		fprintf(out, ", saying \"%s\"", info);
	}
}

char *held_by_text(const struct relock_status *status)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		out_of_memory();
	fputs(status->mode == RELOCK_SHARED ? "held shared" : "held exclusively", out);
	if (status->holder_count == 0)
		fputs(" by a process that is out of sight (another user's, or in another pid "
		      "namespace; `relock locks` run by root may name it)",
		      out);
	for (size_t i = 0; i < status->holder_count && i < HOLDERS_NAMED; i++) {
		fputs(i == 0 ? " by " : "; and by ", out);
		print_holder(out, &status->holders[i], status->now);
	}
	if (status->holder_count > HOLDERS_NAMED)
		fprintf(out, "; and %zu more", status->holder_count - HOLDERS_NAMED);
	if (fclose(out) != 0)
		out_of_memory();
	return text;
}

/* A word that a shell reads back as it is. */
static void print_shell_word(FILE *out, const char *word)
{
	CLEANUP_FREE char *text = printable(word);

	if (*text && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				  "0123456789_-+=./:,@%") == strlen(text)) {
		fputs(text, out);
		return;
	}
	putc('\'', out);
	for (const char *c = text; *c; c++)
		if (*c == '\'')
			fputs("'\\''", out);
		else
			putc(*c, out);
	putc('\'', out);
}

char *remedy_text(const struct invocation *invocation, const char *subcommand, const char *name)
{
	char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		out_of_memory();
	fprintf(out, "relock %s ", subcommand);
	if (invocation->store) {
		fputs("--store ", out);
		print_shell_word(out, invocation->store);
		putc(' ', out);
	}
	if (*name == '-')
		fputs("-- ", out);
	print_shell_word(out, name);
	if (fclose(out) != 0)
		out_of_memory();
	return text;
}

static bool held_by_get(const struct relock_status *status)
{
	for (size_t i = 0; i < status->holder_count; i++)
		if (status->holders[i].via_kind != RELOCK_VIA_GET)
			return false;
	return status->holder_count > 0;
}

void complain_not_had(const struct invocation *invocation, const char *name, relock_lock *lock,
		      int64_t timeout)
{
	CLEANUP_STATUS struct relock_status *status = NULL;
	CLEANUP_FREE char *text = printable(name);
	char reason[64] = "not to be had at once", waited[DURATION_TEXT_SIZE];

	if (timeout > 0)
		snprintf(reason, sizeof reason, "not to be had within %s",
			 duration_text(timeout, waited));
	if (relock_lock_status(lock, &status) < 0 || status->state == RELOCK_FREE) {
		complain("%s: %s; it has been given back since: try again", text, reason);
		return;
	}

	CLEANUP_FREE char *holders = held_by_text(status);
	bool by_get = held_by_get(status);
	CLEANUP_FREE char *remedy =
		remedy_text(invocation, by_get ? "unget" : "unget --force", name);

	if (status->look_at) {
		CLEANUP_FREE char *file = printable(status->look_at);
		CLEANUP_FREE char *why = printable(status->why);

		complain("%s: %s: look at %s: %s; if not, remove it, or: %s", text, reason, file,
			 why, remedy);
		return;
	}
	complain("%s: %s: it is %s; %s: %s", text, reason, holders,
		 by_get ? "to give it back" : "to break it", remedy);
}

void log_line(const char *format, ...)
{
	const char *where = getenv("RELOCK_DEBUG");
	CLEANUP_CLOSE int own_fd = -1;
	va_list arguments;
	int fd = STDERR_FILENO;

	if (!where || !*where)
		return;
	if (strcmp(where, "1") != 0)
		fd = own_fd = open(where, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		return;
	va_start(arguments, format);
	print_line(fd, format, arguments);
	va_end(arguments);
}
