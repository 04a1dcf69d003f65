/*
 * relock mount: a store as a folder, by relockfs; and what there is to do with
 * such a mount (mount-actions.h).
 *
 * relockfs has its own options, which are not known here: all words but
 * --store are passed on, and the store is put before the folder, where
 * relockfs expects it.  One of --status, --clear and --upgrade among the words
 * makes it the other kind of command, with the options of that.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "command.h"
#include "exit-code.h"
#include "installed-path.h"
#include "message.h"
#include "mount-actions.h"
#include "table.h"

/* "--store URL", "--store=URL": the next word is used up for the first. */
static bool take_store(struct invocation *invocation, char ***word)
{
	static const char with_value[] = "--store=";

	if (strcmp(**word, "--store") == 0 && (*word)[1]) {
		invocation->store = *++*word;
		return true;
	}
	if (strncmp(**word, with_value, sizeof with_value - 1) == 0) {
		invocation->store = **word + sizeof with_value - 1;
		return true;
	}
	return false;
}

static int execute(char **command)
{
	CLEANUP_FREE char *path = installed_path("../fusefs/relockfs", RELOCK_BINDIR "/relockfs");

	/* Found by $PATH too: a distribution may have it in another package. */
	if (path)
		execv(path, command);
	else
		execvp(command[0], command);

	int code = exec_exit_code(errno);

	complain("mount: cannot run relockfs: %m%s",
		 code != EXIT_NOT_FOUND ? ""
		 : access("/proc/self/exe", F_OK) < 0
			 ? "; looked for in $PATH only: /proc is not mounted"
			 : "; is relock's file system installed?");
	return code;
}

enum { OPTION_CLEAR = 1000, OPTION_STATUS, OPTION_UPGRADE };

static const struct option action_options[] = {
	COMMON_OPTIONS,
	{"clear", no_argument, NULL, OPTION_CLEAR},
	{"status", no_argument, NULL, OPTION_STATUS},
	{"upgrade", no_argument, NULL, OPTION_UPGRADE},
	{"json", no_argument, NULL, 'J'},
	{"output", required_argument, NULL, 'o'},
	{"raw", no_argument, NULL, 'r'},
	{"noheadings", no_argument, NULL, 'n'},
	{NULL, 0, NULL, 0},
};

static bool is_action(const char *word)
{
	return strcmp(word, "--status") == 0 || strcmp(word, "--clear") == 0 ||
	       strcmp(word, "--upgrade") == 0;
}

static bool has_action(char **words)
{
	for (; *words && strcmp(*words, "--") != 0; words++)
		if (is_action(*words))
			return true;
	return false;
}

static int act(int action, char **folders, size_t count, const struct table_options *table)
{
	if (action == OPTION_STATUS) {
		if (table->json && table->raw)
			return usage_error(&command_mount, "--json and --raw exclude each other");
		return mount_status(folders, count, table);
	}
	if (table->json || table->raw || table->no_headings || table->output)
		return usage_error(&command_mount, "only --status prints a table");
	if (count != 1)
		return usage_error(&command_mount, count == 0 ? "the folder is missing"
							      : "only one folder at a time");
	return action == OPTION_CLEAR ? mount_clear(folders[0]) : mount_upgrade(folders[0]);
}

static int action_main(struct invocation *invocation, int argc, char **argv)
{
	struct table_options table = {.json = false};
	int option, action = 0, code = 0;

	while ((option = getopt_long(argc, argv, "Jo:rnh", action_options, NULL)) != -1)
		switch (option) {
		case OPTION_CLEAR:
		case OPTION_STATUS:
		case OPTION_UPGRADE:
			if (action != 0 && action != option)
				return usage_error(&command_mount, "--status, --clear and "
								   "--upgrade exclude each other");
			action = option;
			break;
		case 'J':
			table.json = true;
			break;
		case 'o':
			table.output = optarg;
			break;
		case 'r':
			table.raw = true;
			break;
		case 'n':
			table.no_headings = true;
			break;
		default:
			if (!common_option(invocation, &command_mount, option, &code))
				return code;
		}
	return act(action, argv + optind, (size_t)(argc - optind), &table);
}

static int mount_main(struct invocation *invocation, int argc, char **argv)
{
	CLEANUP_FREE char **command = calloc((size_t)argc + 2, sizeof *command);
	size_t count = 0;

	if (!command)
		out_of_memory();
	if (has_action(argv + 1))
		return action_main(invocation, argc, argv);
	command[count++] = (char *)"relockfs";
	for (char **word = argv + 1; *word; word++) {
		if (strcmp(*word, "-h") == 0 || strcmp(*word, "--help") == 0) {
			print_command_help(&command_mount);
			return 0;
		}
		if (!take_store(invocation, &word))
			command[count++] = *word;
	}
	if (count < 2)
		return usage_error(&command_mount, "the folder to mount on is missing");
	if (invocation->store) {
		command[count] = command[count - 1];
		command[count - 1] = (char *)invocation->store;
	}
	return execute(command);
}

const struct command command_mount = {
	.name = "mount",
	.summary = "mount a store as a folder, or see to such a mount",
	.help = "relock mount [--store URL] [RELOCKFS-OPTION]... DIR\n"
		"       relock mount --status [-J] [-o LIST] [-r] [-n] [DIR]...\n"
		"       relock mount --clear DIR\n"
		"       relock mount --upgrade DIR\n"
		"\n"
		"Mounts a store on a folder: opening DIR/NAME for writing acquires the lock\n"
		"NAME, reading it shows who holds it.  RELOCKFS-OPTIONs are relockfs(8)'s:\n"
		"-f stays in the foreground, -o LIST is mount options, such as\n"
		"-o uid=USER,gid=GROUP,mode=0660 for who may see and acquire.\n"
		"\n"
		"      --store URL   the store\n"
		"      --status      how the mounts on these folders are, or all\n"
		"  -J, --json        as JSON\n"
		"  -o, --output LIST columns to show; +LIST: these as well\n"
		"  -r, --raw         no alignment, for scripts\n"
		"  -n, --noheadings  no line of headings\n"
		"      --clear       remove a mount whose daemon is gone\n"
		"      --upgrade     let the daemon of a mount made with --supervise be\n"
		"                    followed by the one installed now; its locks stay\n"
		"  -h, --help        this text\n"
		"\n"
		"To end it: umount DIR, or fusermount3 -u DIR.  See relock-mount(8).\n",
	.print_more_help = mount_status_print_columns,
	.run = mount_main,
};
