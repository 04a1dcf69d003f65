/*
 * The relock command: `relock [--store URL] SUBCOMMAND ...`.
 *
 * This file knows the subcommands' names and nothing of what they do.  The
 * tables and JSON of some of them need libraries that are loaded when first
 * used (table.c, json.c), so that `relock run` starts as fast as flock(1).
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "command.h"
#include "exit-code.h"
#include "message.h"
#include "relock.h"

static const struct command *const commands[] = {
	&command_run,  &command_get,   &command_unget, &command_state, &command_trace,
	&command_list, &command_locks, &command_exec,  &command_mount, &command_probe,
};

enum { COMMAND_COUNT = sizeof commands / sizeof commands[0] };

static void print_help(void)
{
	puts("Usage: relock [--store URL] COMMAND [OPTION]... [ARGUMENT]...\n"
	     "\n"
	     "Named locks that show who holds them, and end with their holder.\n"
	     "\n"
	     "Commands:");
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		printf("  %-8s %s\n", commands[i]->name, commands[i]->summary);
	puts("  help     explain a command\n"
	     "\n"
	     "Options:\n"
	     "  --store URL    where locks are; else $RELOCK_STORE; else see `relock probe`\n"
	     "  -h, --help     this text; `relock COMMAND --help` for a command's\n"
	     "  -V, --version  the version\n"
	     "\n"
	     "A NAME that begins with '/', './' or '../' is the path of a lock file; in a\n"
	     "mount of relockfs, the lock of that name.\n"
	     "Exit codes: 0; 1 for a lock that was not to be had; 64 and up as in\n"
	     "sysexits(3).  See relock(1).");
}

static const struct command *find_command(const char *name)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		if (strcmp(commands[i]->name, name) == 0)
			return commands[i];
	return NULL;
}

int usage_error(const struct command *command, const char *format, ...)
{
	CLEANUP_FREE char *text = NULL;
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(&text, format, arguments) < 0) {
		text = NULL;
		out_of_memory();
	}
	va_end(arguments);
	if (command)
		complain("%s: %s; see `relock %s --help`", command->name, text, command->name);
	else
		complain("%s; see `relock --help`", text);
	return EX_USAGE;
}

void print_command_help(const struct command *command)
{
	printf("Usage: %s", command->help);
	if (command->print_more_help)
		command->print_more_help();
}

bool common_option(struct invocation *invocation, const struct command *command, int option,
		   int *ret_exit_code)
{
	switch (option) {
	case OPTION_STORE:
		invocation->store = optarg;
		return true;
	case 'h':
		print_command_help(command);
		*ret_exit_code = 0;
		return false;
	default:
		fprintf(stderr, "See `relock %s --help`.\n", command->name);
		*ret_exit_code = EX_USAGE;
		return false;
	}
}

static int unknown_command(const char *name)
{
	CLEANUP_FREE char *text = printable(name);

	return usage_error(NULL, "there is no command '%s'", text);
}

static int help(int argc, char **argv)
{
	if (argc < 2) {
		print_help();
		return 0;
	}

	const struct command *command = find_command(argv[1]);

	if (!command)
		return unknown_command(argv[1]);
	print_command_help(command);
	return 0;
}

static int run_command(const struct command *command, struct invocation *invocation, int argc,
		       char **argv)
{
	char title[32];

	snprintf(title, sizeof title, "relock %s", command->name);
	argv[0] = title;
	/* 0, not 1: glibc starts over, with the subcommand's own rules. */
	optind = 0;
	return command->run(invocation, argc, argv);
}

/* What could not be written (a full disk) is not a success. */
static int flush_output(int code)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return code;
	complain("cannot write to standard output: %m");
	return code ? code : EX_IOERR;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"store", required_argument, NULL, OPTION_STORE},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	struct invocation invocation = {NULL};
	int option;

	while ((option = getopt_long(argc, argv, "+hV", options, NULL)) != -1)
		switch (option) {
		case OPTION_STORE:
			invocation.store = optarg;
			break;
		case 'h':
			print_help();
			return flush_output(0);
		case 'V':
			printf("relock %s\n", relock_version());
			return flush_output(0);
		default:
			fputs("See `relock --help`.\n", stderr);
			return EX_USAGE;
		}
	argc -= optind;
	argv += optind;
	if (argc < 1)
		return usage_error(NULL, "a command is missing");
	if (strcmp(argv[0], "help") == 0)
		return flush_output(help(argc, argv));

	const struct command *command = find_command(argv[0]);

	if (!command)
		return unknown_command(argv[0]);
	return flush_output(run_command(command, &invocation, argc, argv));
}
