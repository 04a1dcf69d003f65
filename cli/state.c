/*
 * relock state: who holds a lock, or held it last.
 *
 * Looking is a success whatever is seen: the exit code says whether one could
 * look.  Scripts read the "state:" line, or --json.
 */
#include <getopt.h>
#include <stdio.h>

#include "cleanup.h"
#include "command.h"
#include "exit-code.h"
#include "json.h"
#include "message.h"
#include "named-lock.h"
#include "relock.h"
#include "status-in-mount.h"
#include "status-json.h"

static int print_state(const struct invocation *invocation, const char *name, bool as_json)
{
	CLEANUP_STATUS struct relock_status *status = NULL;
	NAMED_LOCK named = {NULL, NULL};

	int error = named_lock_open(&named, invocation, name);
	if (error == 0)
		error = status_of_named(&named, &status);
	if (error < 0)
		return complain_error(name, error);

	if (as_json) {
		CLEANUP_JSON struct json_object *json = NULL;

		if (!json_load())
			return EX_UNAVAILABLE;
		json = status_json(status);
		json_print(json);
		return 0;
	}

	CLEANUP_FREE char *text = NULL;

	if (relock_status_text(status, &text) < 0)
		out_of_memory();
	fputs(text, stdout);
	return 0;
}

static const struct option long_options[] = {
	COMMON_OPTIONS,
	{"json", no_argument, NULL, 'J'},
	{NULL, 0, NULL, 0},
};

static int state_main(struct invocation *invocation, int argc, char **argv)
{
	bool as_json = false;
	int option, code = 0;

	while ((option = getopt_long(argc, argv, "Jh", long_options, NULL)) != -1)
		switch (option) {
		case 'J':
			as_json = true;
			break;
		default:
			if (!common_option(invocation, &command_state, option, &code))
				return code;
		}
	if (argc - optind != 1)
		return usage_error(&command_state, optind == argc ? "a lock's name is missing"
								  : "only one name at a time");
	return print_state(invocation, argv[optind], as_json);
}

const struct command command_state = {
	.name = "state",
	.summary = "show who holds a lock, or held it last",
	.help = "relock state [OPTION]... NAME\n"
		"\n"
		"Shows a lock: who holds it, since when, who waits; of a free one, who held\n"
		"it last and how that ended.  NAME may be the lock's file in a mount, such as\n"
		"/locks/backup.\n"
		"\n"
		"  -J, --json       as JSON\n"
		"      --store URL  where the lock is\n"
		"  -h, --help       this text\n",
	.run = state_main,
};
