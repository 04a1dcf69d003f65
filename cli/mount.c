/*
 * relock mount: a store as a folder, by relockfs.
 *
 * relockfs has its own options, which are not known here: all words but
 * --store are passed on, and the store is put before the folder, where
 * relockfs expects it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "command.h"
#include "exit-code.h"
#include "installed-path.h"
#include "message.h"

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

static int mount_main(struct invocation *invocation, int argc, char **argv)
{
	CLEANUP_FREE char **command = calloc((size_t)argc + 2, sizeof *command);
	size_t count = 0;

	if (!command)
		out_of_memory();
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
	.summary = "mount a store as a folder, by relockfs",
	.help = "relock mount [--store URL] [RELOCKFS-OPTION]... DIR\n"
		"\n"
		"Mounts a store on a folder: opening DIR/NAME for writing acquires the lock\n"
		"NAME, reading it shows who holds it.  Options are relockfs(8)'s.\n"
		"\n"
		"      --store URL  the store\n"
		"  -h, --help       this text\n"
		"\n"
		"To end it: umount DIR, or fusermount3 -u DIR.\n",
	.run = mount_main,
};
