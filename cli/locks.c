/*
 * relock locks: every lock the kernel knows, with its true holder.
 *
 * /proc/locks, and lslocks(8) with it, shows -1 for the holder of an open file
 * description's lock, for the description may be shared by many processes.
 * The library finds them, and the waiters; for whom a mount holds a lock, the mount
 * tells (locks-in-mount.h); here they are printed.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "command.h"
#include "exit-code.h"
#include "json.h"
#include "locks-in-mount.h"
#include "message.h"
#include "mounted-lock.h"
#include "relock.h"
#include "table.h"
#include "user-name.h"
#include "waiters-text.h"

enum {
	COMMAND,
	PID,
	USER,
	FD,
	TYPE,
	MODE,
	START,
	END,
	WAITERS,
	DEVICE,
	INODE,
	PATH,
	VIA,
	COLUMN_COUNT,
};

static const struct table_column columns[COLUMN_COUNT] = {
	[COMMAND] = {"COMMAND", "what the holder runs", TABLE_LINES | TABLE_CUT},
	[PID] = {"PID", "holder's pid", TABLE_NUMBER | TABLE_LINES | TABLE_RIGHT},
	[USER] = {"USER", "holder's user", TABLE_LINES},
	[FD] = {"FD", "holder's descriptor of the file", TABLE_NUMBER | TABLE_LINES | TABLE_RIGHT},
	[TYPE] = {"TYPE", "OFD, POSIX, FLOCK or LEASE", 0},
	[MODE] = {"MODE", "exclusive or shared", 0},
	[START] = {"START", "first byte", TABLE_RIGHT | TABLE_NUMBER},
	[END] = {"END", "last byte, or EOF", TABLE_RIGHT | TABLE_NUMBER},
	[WAITERS] = {"WAITERS", "pids of who waits", TABLE_NUMBER | TABLE_LINES},
	[DEVICE] = {"DEVICE", "the file system's major and minor number", 0},
	[INODE] = {"INODE", "the file's inode number", TABLE_RIGHT | TABLE_NUMBER},
	[PATH] = {"PATH", "the file", TABLE_CUT_START},
	[VIA] = {"VIA", "the mount that holds it for them", TABLE_CUT},
};

static const char *const default_columns = "COMMAND,PID,USER,TYPE,MODE,START,END,WAITERS,PATH";

static const char *type_text(enum relock_kernel_type type)
{
	static const char *const texts[] = {
		[RELOCK_KERNEL_POSIX] = "POSIX",
		[RELOCK_KERNEL_OFD] = "OFD",
		[RELOCK_KERNEL_FLOCK] = "FLOCK",
		[RELOCK_KERNEL_LEASE] = "LEASE",
	};

	return texts[type];
}

static const char *mode_text(enum relock_mode mode)
{
	return mode == RELOCK_SHARED ? "shared" : "exclusive";
}

/* A terminal has no room for the program's folder. */
static void print_command(FILE *out, const char *command, bool whole)
{
	CLEANUP_FREE char *text = printable(command);
	const char *slash = whole ? NULL : memrchr(text, '/', strcspn(text, " "));

	fputs(slash ? slash + 1 : text, out);
}

/* What a table shall tell: all of it, and for programs without words. */
struct telling {
	bool whole, json;
};

/* One cell with a line for each holder; "-" if they are out of sight. */
static void set_holders(struct table *table, const struct relock_kernel_lock *lock, size_t column,
			const struct telling *telling)
{
	if (lock->holder_count == 0) {
		table_set(table, column, telling->json ? NULL : "-");
		return;
	}

	CLEANUP_FREE char *text = NULL;
	size_t size = 0;
	FILE *out = open_memstream(&text, &size);

	if (!out)
		out_of_memory();
	for (size_t i = 0; i < lock->holder_count; i++) {
		const struct relock_kernel_process *holder = &lock->holders[i];

		if (i > 0)
			putc('\n', out);
		if (column == COMMAND) {
			if (holder->command || !telling->json)
				print_command(out, holder->command ? holder->command : "-",
					      telling->whole);
		} else if (column == USER) {
			CLEANUP_FREE char *user = user_name(holder->uid);

			fputs(user, out);
		} else if (column == PID) {
			fprintf(out, "%d", (int)holder->pid);
		} else if (holder->fd >= 0) {
			fprintf(out, "%d", holder->fd);
		}
	}
	if (fclose(out) != 0)
		out_of_memory();
	table_set(table, column, text);
}

static char *waiter_pids_text(const struct relock_kernel_lock *lock, bool all)
{
	CLEANUP_FREE pid_t *pids = calloc(lock->waiter_pid_count + 1, sizeof *pids);

	if (!pids)
		out_of_memory();
	for (size_t i = 0; i < lock->waiter_pid_count; i++)
		pids[i] = lock->waiters[i].pid;
	return waiters_text(pids, lock->waiter_pid_count, lock->waiter_count, all);
}

/* `path` is what was asked for, or NULL. */
static void add_lock(struct table *table, const struct relock_kernel_lock *lock, const char *via,
		     const char *path, const struct telling *telling)
{
	CLEANUP_FREE char *waiters = waiter_pids_text(lock, telling->json);

	table_add_line(table);
	set_holders(table, lock, COMMAND, telling);
	set_holders(table, lock, PID, telling);
	set_holders(table, lock, USER, telling);
	set_holders(table, lock, FD, telling);
	table_set(table, TYPE, type_text(lock->type));
	table_set(table, MODE, mode_text(lock->mode));
	table_setf(table, START, "%llu", (unsigned long long)lock->start);
	if (lock->end == INT64_MAX)
		table_set(table, END, telling->json ? NULL : "EOF");
	else
		table_setf(table, END, "%llu", (unsigned long long)lock->end);
	table_set(table, WAITERS, waiters);
	if (via) {
		CLEANUP_FREE char *text = printable(via);

		table_set(table, VIA, text);
	}
	table_setf(table, DEVICE, "%u:%u", lock->major, lock->minor);
	table_setf(table, INODE, "%llu", (unsigned long long)lock->inode);
	if (lock->path || path) {
		CLEANUP_FREE char *text = printable(lock->path ? lock->path : path);

		table_set(table, PATH, text);
	} else if (!telling->json) {
		table_setf(table, PATH, "(inode %llu on %u:%u)", (unsigned long long)lock->inode,
			   lock->major, lock->minor);
	}
}

static struct json_object *process_json(const struct relock_kernel_process *process)
{
	struct json_object *json = json_new();
	CLEANUP_FREE char *user = user_name(process->uid);

	json_add_signed(json, "pid", process->pid);
	if (process->fd >= 0)
		json_add_signed(json, "fd", process->fd);
	json_add_text(json, "user", user);
	if (process->command) {
		CLEANUP_FREE char *command = printable(process->command);

		json_add_text(json, "command", command);
	}
	return json;
}

static struct json_object *lock_json(const struct relock_kernel_lock *lock, const char *via)
{
	struct json_object *json = json_new();

	json_add_text(json, "type", type_text(lock->type));
	json_add_text(json, "mode", mode_text(lock->mode));
	json_add_number(json, "start", lock->start);
	if (lock->end == INT64_MAX)
		json_add_null(json, "end");
	else
		json_add_number(json, "end", lock->end);
	json_add_number(json, "major", lock->major);
	json_add_number(json, "minor", lock->minor);
	json_add_number(json, "inode", lock->inode);
	if (lock->path) {
		CLEANUP_FREE char *path = printable(lock->path);

		json_add_text(json, "path", path);
	} else {
		json_add_null(json, "path");
	}

	if (via) {
		CLEANUP_FREE char *text = printable(via);

		json_add_text(json, "via", text);
	}

	struct json_object *holders = json_add_array(json, "holders");

	for (size_t i = 0; i < lock->holder_count; i++)
		json_append(holders, process_json(&lock->holders[i]));

	struct json_object *waiters = json_add_array(json, "waiters");

	for (size_t i = 0; i < lock->waiter_pid_count; i++)
		json_append(waiters, process_json(&lock->waiters[i]));
	json_add_number(json, "waiter-count", lock->waiter_count);
	return json;
}

static int print_json(const struct relock_kernel_lock *locks, char *const *via, size_t count)
{
	CLEANUP_JSON struct json_object *json = NULL;

	if (!json_load())
		return EX_UNAVAILABLE;
	json = json_new();

	struct json_object *array = json_add_array(json, "locks");

	for (size_t i = 0; i < count; i++)
		json_append(array, lock_json(&locks[i], via[i]));
	json_print(json);
	return 0;
}

static int print_table(const struct table_options *options, const char *path,
		       const struct relock_kernel_lock *locks, char *const *via, size_t count)
{
	const struct telling telling = {!table_is_for_terminal(options), options->json};
	CLEANUP_TABLE struct table *table = NULL;

	int code = table_new(&table, "locks", columns, COLUMN_COUNT, default_columns, options);
	if (code != 0)
		return code;
	for (size_t i = 0; i < count; i++)
		add_lock(table, &locks[i], via[i], path, &telling);
	table_print(table);
	return 0;
}

static void hint_at_root(const struct relock_kernel_lock *locks, size_t count)
{
	size_t out_of_sight = 0;

	for (size_t i = 0; i < count; i++)
		if (locks[i].holder_count == 0)
			out_of_sight++;
	if (out_of_sight > 0)
		complain("%zu of %zu locks %s held out of sight%s", out_of_sight, count,
			 out_of_sight == 1 ? "is" : "are",
			 geteuid() == 0 ? ", in another pid namespace perhaps, or by the kernel"
					: " of this user: root sees all holders");
}

/* The kernel keeps no lock on a file of relockfs: the lock is the mount's, on a file
 * of its store. */
static int complain_no_file(const char *path, const struct mounted_lock *mounted)
{
	const struct invocation of_store = {.store = mounted->store};
	CLEANUP_FREE char *text = printable(path);
	CLEANUP_FREE char *mountpoint = printable(mounted->mountpoint);
	CLEANUP_FREE char *remedy = remedy_text(&of_store, "state", mounted->name);

	complain("%s: a lock of the mount %s, whose store has no file for it; for who holds it: %s",
		 text, mountpoint, remedy);
	return EX_UNAVAILABLE;
}

static int print_locks(const char *path, const struct table_options *options)
{
	MOUNTED_LOCK mounted = {NULL, NULL, NULL, NULL};
	struct relock_kernel_lock *locks = NULL;
	size_t count = 0;

	if (path && mounted_lock_find(path, &mounted)) {
		if (!mounted.file)
			return complain_no_file(path, &mounted);
		path = mounted.file;
	}

	int error = relock_kernel_locks(path, &locks, &count);
	if (error < 0)
		return complain_error(path ? path : "/proc/locks", error);

	char **via = locks_ask_mounts(locks, count);
	int code = options->json && !options->output
			   ? print_json(locks, via, count)
			   : print_table(options, path, locks, via, count);

	locks_free_via(via, count);

	/* Tables shall be read by people, and JSON by programs, which see the
	 * empty array. */
	if (code == 0 && !options->json && !options->raw) {
		fflush(stdout);
		hint_at_root(locks, count);
	}
	relock_kernel_locks_free(locks, count);
	return code;
}

static const struct option long_options[] = {
	COMMON_OPTIONS,
	{"output", required_argument, NULL, 'o'},
	{"json", no_argument, NULL, 'J'},
	{"raw", no_argument, NULL, 'r'},
	{"noheadings", no_argument, NULL, 'n'},
	{NULL, 0, NULL, 0},
};

static int locks_main(struct invocation *invocation, int argc, char **argv)
{
	struct table_options options = {.json = false};
	int option, code = 0;

	while ((option = getopt_long(argc, argv, "o:Jrnh", long_options, NULL)) != -1)
		switch (option) {
		case 'o':
			options.output = optarg;
			break;
		case 'J':
			options.json = true;
			break;
		case 'r':
			options.raw = true;
			break;
		case 'n':
			options.no_headings = true;
			break;
		default:
			if (!common_option(invocation, &command_locks, option, &code))
				return code;
		}
	if (argc - optind > 1)
		return usage_error(&command_locks, "only one path at a time");
	if (options.json && options.raw)
		return usage_error(&command_locks, "--json and --raw exclude each other");
	return print_locks(argv[optind], &options);
}

static void print_columns(void)
{
	table_print_columns(columns, COLUMN_COUNT);
}

const struct command command_locks = {
	.name = "locks",
	.summary = "list every lock the kernel knows, with its true holder",
	.help = "relock locks [OPTION]... [PATH]\n"
		"\n"
		"Lists the file locks of this machine, or those on a file: who really holds\n"
		"them, also where /proc/locks shows -1 or a mount holds them, and who waits.\n"
		"\n"
		"  -o, --output LIST   columns to show; +LIST: these as well\n"
		"  -J, --json          as JSON: nested, or with -o the columns\n"
		"  -r, --raw           no alignment, for scripts\n"
		"  -n, --noheadings    no line of headings\n"
		"  -h, --help          this text\n",
	.print_more_help = print_columns,
	.run = locks_main,
};
