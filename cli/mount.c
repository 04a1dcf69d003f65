/*
 * relock mount: a store as a folder, by relockfs; and what there is to do with
 * such a mount (mount-actions.h).
 *
 * relockfs knows its options by itself; here they are known as well, so that
 * options and words may stand in any order, as getopt(3)'s users expect, and so
 * that the store, which relockfs wants before the folder, finds its place.  One of
 * --status, --clear and --upgrade makes it the other kind of command.
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

enum { OPTION_CLEAR = 1000, OPTION_STATUS, OPTION_UPGRADE, OPTION_SUPERVISE };

static const struct option long_options[] = {
	COMMON_OPTIONS,
	{"supervise", no_argument, NULL, OPTION_SUPERVISE},
	{"version", no_argument, NULL, 'V'},
	{"clear", no_argument, NULL, OPTION_CLEAR},
	{"status", no_argument, NULL, OPTION_STATUS},
	{"upgrade", no_argument, NULL, OPTION_UPGRADE},
	{"json", no_argument, NULL, 'J'},
	{"output", required_argument, NULL, 'O'},
	{"raw", no_argument, NULL, 'r'},
	{"noheadings", no_argument, NULL, 'n'},
	{NULL, 0, NULL, 0},
};

/* What the command line says. */
struct wish {
	int action; /* 0: to mount */
	bool foreground, debug, supervise;
	char **lists; /* of -o: mount options, or columns */
	size_t list_count;
	struct table_options table;
};

static bool is_for_table(const struct table_options *table)
{
	return table->json || table->raw || table->no_headings || table->output;
}

static int act(struct wish *wish, char **folders, size_t count)
{
	if (wish->foreground || wish->debug || wish->supervise)
		return usage_error(&command_mount, "-f, -d and --supervise are for mounting");
	if (wish->list_count > 0)
		wish->table.output = wish->lists[wish->list_count - 1];
	if (wish->action == OPTION_STATUS) {
		if (wish->table.json && wish->table.raw)
			return usage_error(&command_mount, "--json and --raw exclude each other");
		return mount_status(folders, count, &wish->table);
	}
	if (is_for_table(&wish->table))
		return usage_error(&command_mount, "only --status prints a table");
	if (count != 1)
		return usage_error(&command_mount, count == 0 ? "the folder is missing"
							      : "only one folder at a time");
	return wish->action == OPTION_CLEAR ? mount_clear(folders[0]) : mount_upgrade(folders[0]);
}

/* As relockfs wants it: options, the store, the folder. */
static int mount_by_relockfs(const struct wish *wish, const char *url, const char *folder)
{
	CLEANUP_FREE char **command = calloc(wish->list_count * 2 + 8, sizeof *command);
	size_t count = 0;

	if (!command)
		out_of_memory();
	command[count++] = (char *)"relockfs";
	if (wish->foreground)
		command[count++] = (char *)"-f";
	if (wish->debug)
		command[count++] = (char *)"-d";
	if (wish->supervise)
		command[count++] = (char *)"--supervise";
	for (size_t i = 0; i < wish->list_count; i++) {
		command[count++] = (char *)"-o";
		command[count++] = wish->lists[i];
	}
	if (folder[0] == '-' || (url && url[0] == '-'))
		command[count++] = (char *)"--";
	if (url)
		command[count++] = (char *)url;
	command[count++] = (char *)folder;
	return execute(command);
}

/* The words are a folder, or the store and the folder. */
static int mount_anew(const struct wish *wish, const char *store, char **words, size_t count)
{
	if (is_for_table(&wish->table))
		return usage_error(&command_mount, "only --status prints a table");
	if (count == 0)
		return usage_error(&command_mount, "the folder to mount on is missing");
	if (count > 2)
		return usage_error(&command_mount, "only one folder at a time");
	if (count == 2 && store)
		return usage_error(&command_mount, "the store is given twice, or two folders are");
	return mount_by_relockfs(wish, count == 2 ? words[0] : store, words[count - 1]);
}

/* False: `ret_code` is the exit code. */
static bool take_option(struct wish *wish, struct invocation *invocation, int option, int *ret_code)
{
	switch (option) {
	case OPTION_CLEAR:
	case OPTION_STATUS:
	case OPTION_UPGRADE:
		if (wish->action != 0 && wish->action != option) {
			*ret_code = usage_error(&command_mount, "--status, --clear and --upgrade "
								"exclude each other");
			return false;
		}
		wish->action = option;
		return true;
	case 'f':
		wish->foreground = true;
		return true;
	case 'd':
		wish->debug = true;
		return true;
	case 's':
		return true; /* of older mount commands; there is one thread in any case */
	case OPTION_SUPERVISE:
		wish->supervise = true;
		return true;
	case 'o':
		wish->lists[wish->list_count++] = optarg;
		return true;
	case 'J':
		wish->table.json = true;
		return true;
	case 'O':
		wish->table.output = optarg;
		return true;
	case 'r':
		wish->table.raw = true;
		return true;
	case 'n':
		wish->table.no_headings = true;
		return true;
	default:
		return common_option(invocation, &command_mount, option, ret_code);
	}
}

static int mount_main(struct invocation *invocation, int argc, char **argv)
{
	CLEANUP_FREE char **lists = calloc((size_t)argc + 1, sizeof *lists);
	struct wish wish = {.lists = lists};
	int option, code = 0;

	if (!lists)
		out_of_memory();
	while ((option = getopt_long(argc, argv, "fdso:JrnhV", long_options, NULL)) != -1) {
		if (option == 'V')
			return execute((char *[]){(char *)"relockfs", (char *)"-V", NULL});
		if (!take_option(&wish, invocation, option, &code))
			return code;
	}

	char **words = argv + optind;
	size_t count = (size_t)(argc - optind);

	return wish.action != 0 ? act(&wish, words, count)
				: mount_anew(&wish, invocation->store, words, count);
}

const struct command command_mount = {
	.name = "mount",
	.summary = "mount a store as a folder, or see to such a mount",
	.help = "relock mount [OPTION]... [URL] DIR\n"
		"       relock mount --status [-J] [-o LIST] [-r] [-n] [DIR]...\n"
		"       relock mount --clear DIR\n"
		"       relock mount --upgrade DIR\n"
		"\n"
		"Mounts a store on a folder: opening DIR/NAME for writing acquires the lock\n"
		"NAME, reading it shows who holds it.\n"
		"\n"
		"      --store URL   the store; the same as URL\n"
		"      --supervise   the locks outlive the daemon: another takes its place\n"
		"  -o LIST           mount options, such as uid=USER,gid=GROUP,mode=0660 for\n"
		"                    who may see and acquire\n"
		"  -f                stay in the foreground\n"
		"  -d                print each request; implies -f\n"
		"  -V, --version     the version of relockfs\n"
		"  -h, --help        this text\n"
		"\n"
		"      --status      how the mounts on these folders are, or all\n"
		"  -J, --json        as JSON\n"
		"  -o, --output LIST columns to show; +LIST: these as well\n"
		"  -r, --raw         no alignment, for scripts\n"
		"  -n, --noheadings  no line of headings\n"
		"      --clear       remove a mount whose daemon is gone\n"
		"      --upgrade     let the daemon of a mount made with --supervise be\n"
		"                    followed by the one installed now; its locks stay\n"
		"\n"
		"To end it: umount DIR, or fusermount3 -u DIR.  See relock-mount(8).\n",
	.print_more_help = mount_status_print_columns,
	.run = mount_main,
};
