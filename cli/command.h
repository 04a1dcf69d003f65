/*
 * What a subcommand is.
 *
 * Each has a file of its own, named for it, with its options, its help text
 * and its code; main.c has the table.  A subcommand's function gets its own
 * argument vector (argv[0] is "relock NAME", so that getopt's messages read
 * well) and returns the exit code.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* What was said before the subcommand, and may be said again after it. */
struct invocation {
	const char *store; /* --store URL; NULL: the default store */
};

struct command {
	const char *name;
	const char *summary;           /* one line for `relock help` */
	const char *help;              /* what `relock NAME --help` prints, from "Usage:" on */
	void (*print_more_help)(void); /* what follows it; may be NULL */
	int (*run)(struct invocation *invocation, int argc, char **argv);
};

extern const struct command command_run, command_get, command_unget, command_state, command_trace,
	command_list, command_locks, command_exec, command_mount, command_probe;

/* getopt_long(3) codes of options without a letter; beyond any char. */
enum {
	OPTION_STORE = 256,
	OPTION_VERBOSE,
	OPTION_POLICY,
	OPTION_SEMANTICS,
	OPTION_STRICT,
	OPTION_TRACE,
	OPTION_LIFETIME,
};

/* Every subcommand has these, and the letter h. */
/* clang-format off */
#define COMMON_OPTIONS                                                                             \
	{"store", required_argument, NULL, OPTION_STORE},                                          \
	{"help", no_argument, NULL, 'h'}
/* clang-format on */

/*
 * The last case of a subcommand's option switch: handles the common options.
 * True: go on with the next option.  False: return *ret_exit_code, because
 * help was printed, or getopt_long(3) has found fault and said so.
 */
bool common_option(struct invocation *invocation, const struct command *command, int option,
		   int *ret_exit_code);

/* What `relock NAME --help` and `relock help NAME` print. */
void print_command_help(const struct command *command);

/* Says what is wrong with the command line, and where help is; returns
 * EX_USAGE. */
__attribute__((format(printf, 2, 3))) int usage_error(const struct command *command,
						      const char *format, ...);
