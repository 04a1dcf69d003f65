/*
 * relock trace: a lock's state, watched until Ctrl-C.
 *
 * On a terminal the state is drawn again in place at each look.  Into a pipe
 * or a file, where a hundred equal blocks help nobody, it is printed whenever
 * it has changed; `held-for`, which always does, counts for nothing there.
 */
#include <errno.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "command.h"
#include "duration.h"
#include "exit-code.h"
#include "json.h"
#include "message.h"
#include "named-lock.h"
#include "relock.h"
#include "status-in-mount.h"
#include "status-json.h"

struct trace_options {
	int64_t update;
	bool json;
	bool redraw;
	const char *name;
};

struct text_builder {
	FILE *out;
};

static int add_lasting_pair(const struct relock_pair *pair, void *argument)
{
	struct text_builder *builder = argument;

	if (strcmp(pair->key, "held-for") != 0)
		fprintf(builder->out, "%zu %s %s\n", pair->holder, pair->key, pair->value);
	return 0;
}

/* What of a status stays the same as long as nothing happens. */
static char *lasting_text(const struct relock_status *status)
{
	char *text = NULL;
	size_t size = 0;
	struct text_builder builder = {open_memstream(&text, &size)};

	if (!builder.out)
		out_of_memory();
	relock_status_each(status, add_lasting_pair, &builder);
	if (fclose(builder.out) != 0)
		out_of_memory();
	return text;
}

static void draw(const struct trace_options *options, const struct relock_status *status)
{
	if (options->json) {
		CLEANUP_JSON struct json_object *json = status_json(status);

		json_print_line(json);
		return;
	}

	CLEANUP_FREE char *text = NULL;

	if (relock_status_text(status, &text) < 0)
		out_of_memory();
	if (!options->redraw) {
		printf("%s\n", text);
	} else {
		char moment[MOMENT_TEXT_SIZE];

		/* Cursor home; then each line is cleared as it is replaced, and at last
		 * what is below: no flicker, unlike clearing the screen first. */
		fputs("\033[H", stdout);
		for (const char *line = text; *line;) {
			size_t length = strcspn(line, "\n");

			printf("%.*s\033[K\n", (int)length, line);
			line += length + (line[length] == '\n');
		}
		printf("\033[K\n%s, every %.3g s; Ctrl-C ends\033[K\n\033[J",
		       moment_text(status->now, moment), (double)options->update / RELOCK_SECOND);
	}
	fflush(stdout);
}

/* SIGINT and SIGTERM as a descriptor; -1: out of descriptors. */
static int open_endings(void)
{
	sigset_t endings;

	sigemptyset(&endings);
	sigaddset(&endings, SIGINT);
	sigaddset(&endings, SIGTERM);
	sigprocmask(SIG_BLOCK, &endings, NULL);
	return signalfd(-1, &endings, SFD_CLOEXEC);
}

/* False: asked to end, or nobody reads any more (`relock trace a | head -1`),
 * which the next write would only find out when something has changed. */
static bool wait_for_next_look(int endings, int64_t update)
{
	const struct timespec timeout = {update / RELOCK_SECOND, update % RELOCK_SECOND};
	struct pollfd fds[] = {
		{.fd = endings, .events = POLLIN},
		{.fd = STDOUT_FILENO, .events = 0},
	};

	return ppoll(fds, 2, &timeout, NULL) <= 0;
}

static int watch(struct named_lock *named, const struct trace_options *options)
{
	CLEANUP_FREE char *shown = NULL;
	CLEANUP_CLOSE int endings = open_endings();

	if (endings < 0) {
		complain("cannot wait for signals: %m");
		return EX_OSERR;
	}
	if (options->redraw)
		fputs("\033[2J", stdout);
	do {
		CLEANUP_STATUS struct relock_status *status = NULL;

		int error = status_of_named(named, &status);
		if (error < 0)
			return complain_error(options->name, error);

		char *lasting = lasting_text(status);

		if (options->redraw || !shown || strcmp(lasting, shown) != 0)
			draw(options, status);
		free(shown);
		shown = lasting;
		/* What is left in the buffer fails once more, when main() flushes it, and
		 * is complained of there. */
		if (ferror(stdout))
			return EX_IOERR;
	} while (wait_for_next_look(endings, options->update));
	return 0;
}

static const struct option long_options[] = {
	COMMON_OPTIONS,
	{"update", required_argument, NULL, 'u'},
	{"json", no_argument, NULL, 'J'},
	{NULL, 0, NULL, 0},
};

static int trace_main(struct invocation *invocation, int argc, char **argv)
{
	struct trace_options options = {.update = RELOCK_SECOND / 2};
	NAMED_LOCK named = {NULL, NULL};
	int option, code = 0;

	while ((option = getopt_long(argc, argv, "u:Jh", long_options, NULL)) != -1)
		switch (option) {
		case 'u': {
			const char *fault = duration_parse(optarg, &options.update);

			if (!fault && options.update < RELOCK_MILLISECOND)
				fault = "is too short: at least 0.001 seconds";
			if (fault) {
				CLEANUP_FREE char *text = printable(optarg);

				return usage_error(&command_trace, "-u '%s' %s", text, fault);
			}
			break;
		}
		case 'J':
			options.json = true;
			break;
		default:
			if (!common_option(invocation, &command_trace, option, &code))
				return code;
		}
	if (argc - optind != 1)
		return usage_error(&command_trace, optind == argc ? "a lock's name is missing"
								  : "only one name at a time");
	options.name = argv[optind];
	options.redraw = !options.json && isatty(STDOUT_FILENO);
	if (options.json && !json_load())
		return EX_UNAVAILABLE;

	int error = named_lock_open(&named, invocation, options.name);
	if (error < 0)
		return complain_error(options.name, error);
	return watch(&named, &options);
}

const struct command command_trace = {
	.name = "trace",
	.summary = "watch a lock until Ctrl-C",
	.help = "relock trace [OPTION]... NAME\n"
		"\n"
		"Shows a lock again and again until Ctrl-C: redrawn on a terminal, else\n"
		"printed when it has changed, with an empty line after each state.\n"
		"\n"
		"  -u, --update SECONDS  look this often, default 0.5\n"
		"  -J, --json            as JSON, one line for each state\n"
		"      --store URL       where the lock is\n"
		"  -h, --help            this text\n",
	.run = trace_main,
};
