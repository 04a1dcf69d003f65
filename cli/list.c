/*
 * relock list: the locks of a store.
 *
 * A line is a lock.  Shared holders share it: the cells that tell of holders
 * have a line of text for each, in the same order (as lsblk's MOUNTPOINTS).
 * Plain --json gives the nested objects of `relock state`; with -o it gives
 * the columns picked.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "command.h"
#include "duration.h"
#include "exit-code.h"
#include "json.h"
#include "message.h"
#include "relock.h"
#include "status-in-mount.h"
#include "status-json.h"
#include "table.h"
#include "waiters-text.h"

enum {
	NAME,
	STATE,
	MODE,
	PID,
	USER,
	HELD,
	SINCE,
	COMMAND,
	WAITERS,
	TOKEN,
	VIA,
	HOST,
	INFO,
	LAST,
	COLUMN_COUNT,
};

static const struct table_column columns[COLUMN_COUNT] = {
	[NAME] = {"NAME", "the lock's name", 0},
	[STATE] = {"STATE", "free or held", 0},
	[MODE] = {"MODE", "exclusive or shared", 0},
	[PID] = {"PID", "holder's pid", TABLE_NUMBER | TABLE_LINES | TABLE_RIGHT},
	[USER] = {"USER", "holder's user", TABLE_LINES},
	[HELD] = {"HELD", "for how long", TABLE_LINES},
	[SINCE] = {"SINCE", "since when", TABLE_LINES},
	[COMMAND] = {"COMMAND", "what the holder runs", TABLE_LINES | TABLE_CUT},
	[WAITERS] = {"WAITERS", "pids of who waits, in their order", TABLE_NUMBER | TABLE_LINES},
	[TOKEN] = {"TOKEN", "fencing token", TABLE_RIGHT | TABLE_NUMBER},
	[VIA] = {"VIA", "who holds it on the holder's behalf", TABLE_LINES | TABLE_CUT},
	[HOST] = {"HOST", "holder's host", TABLE_LINES},
	[INFO] = {"INFO", "the holder's text", TABLE_LINES | TABLE_CUT},
	[LAST] = {"LAST", "of a free lock: who held it last, and how that ended", TABLE_CUT},
};

struct list_options {
	struct table_options table;
	bool all;
};

/* A cell with a line for each holder. */
struct cell {
	char *text;
	size_t size;
	FILE *out;
};

static FILE *cell_open(struct cell *cell)
{
	*cell = (struct cell){NULL, 0, NULL};
	cell->out = open_memstream(&cell->text, &cell->size);
	if (!cell->out)
		out_of_memory();
	return cell->out;
}

static void cell_set(struct cell *cell, struct table *table, size_t column)
{
	if (fclose(cell->out) != 0)
		out_of_memory();
	table_set(table, column, cell->text);
	free(cell->text);
}

static void print_holder_value(FILE *out, const struct relock_holder *holder, size_t column,
			       int64_t now)
{
	char duration[DURATION_TEXT_SIZE], moment[MOMENT_TEXT_SIZE];
	/* The first of those that have it now, if who acquired it has not; `relock
	 * state` has all. */
	const struct relock_kernel_process *heir =
		holder->pid == 0 && holder->open_by_count > 0 ? holder->open_by : NULL;
	const char *text = NULL;
	size_t length = 0;

	switch (column) {
	case PID:
		if (holder->pid > 0 || heir)
			fprintf(out, "%d", (int)(heir ? heir->pid : holder->pid));
		return;
	case HELD:
		if (holder->since > 0)
			fputs(duration_text(now - holder->since, duration), out);
		return;
	case SINCE:
		if (holder->since > 0)
			fputs(moment_text(holder->since, moment), out);
		return;
	case USER:
		text = holder->user;
		break;
	case COMMAND:
		text = heir ? heir->command : holder->command;
		break;
	case VIA:
		text = holder->via;
		break;
	case HOST:
		text = holder->host;
		break;
	default:
		text = holder->info;
		length = holder->info_length;
		break;
	}
	if (!text)
		return;

	CLEANUP_FREE char *escaped = need_text(relock_escape(text, length ? length : strlen(text)));

	fputs(escaped, out);
}

static void set_holders(struct table *table, const struct relock_status *status)
{
	static const size_t of_holders[] = {PID, USER, HELD, SINCE, COMMAND, VIA, HOST, INFO};

	if (status->holder_count == 0)
		return;
	for (size_t i = 0; i < sizeof of_holders / sizeof of_holders[0]; i++) {
		struct cell cell;
		FILE *out = cell_open(&cell);

		for (size_t holder = 0; holder < status->holder_count; holder++) {
			if (holder > 0)
				putc('\n', out);
			print_holder_value(out, &status->holders[holder], of_holders[i],
					   status->now);
		}
		cell_set(&cell, table, of_holders[i]);
	}
}

static const char *end_text(enum relock_end end)
{
	switch (end) {
	case RELOCK_END_RELEASED:
		return "released";
	case RELOCK_END_DIED:
		return "died";
	case RELOCK_END_BROKEN:
		return "broken";
	default:
		return NULL;
	}
}

/* "released 2026-11-21 10:38:11 by pid 4711 (python3 job.py)" */
static void set_last(struct table *table, const struct relock_status *status)
{
	const char *end = end_text(status->last_end);
	char moment[MOMENT_TEXT_SIZE];
	struct cell cell;

	if (!end)
		return;

	FILE *out = cell_open(&cell);

	fputs(end, out);
	if (status->last_end_time > 0)
		fprintf(out, " %s", moment_text(status->last_end_time, moment));
	if (status->last.pid > 0)
		fprintf(out, ", pid %d", (int)status->last.pid);
	if (status->last.command) {
		CLEANUP_FREE char *command = printable(status->last.command);

		fprintf(out, " (%s)", command);
	}
	cell_set(&cell, table, LAST);
}

static const char *state_text(enum relock_state state)
{
	static const char *const texts[] = {
		[RELOCK_FREE] = "free",       [RELOCK_HELD] = "held",
		[RELOCK_EXPIRED] = "expired", [RELOCK_STALE] = "stale",
		[RELOCK_UNKNOWN] = "unknown",
	};

	return (size_t)state < sizeof texts / sizeof texts[0] ? texts[state] : "unknown";
}

static void add_lock(struct table *table, const struct relock_status *status, bool json)
{
	CLEANUP_FREE char *name = printable(status->name);
	CLEANUP_FREE char *waiters = waiters_text(status->waiter_pids, status->waiter_pid_count,
						  status->waiter_count, json);

	table_add_line(table);
	table_set(table, NAME, name);
	table_set(table, STATE, state_text(status->state));
	table_set(table, WAITERS, waiters);
	if (status->state == RELOCK_FREE) {
		set_last(table, status);
		return;
	}
	table_set(table, MODE, status->mode == RELOCK_SHARED ? "shared" : "exclusive");
	if (status->holder_count > 0 && status->holders[0].token > 0)
		table_setf(table, TOKEN, "%llu", (unsigned long long)status->holders[0].token);
	set_holders(table, status);
}

static int print_json(struct relock_status *const *locks, size_t count)
{
	CLEANUP_JSON struct json_object *json = NULL;

	if (!json_load())
		return EX_UNAVAILABLE;
	json = json_new();

	struct json_object *array = json_add_array(json, "locks");

	for (size_t i = 0; i < count; i++)
		json_append(array, status_json(locks[i]));
	json_print(json);
	return 0;
}

static int print_table(const struct list_options *options, struct relock_status *const *locks,
		       size_t count)
{
	CLEANUP_TABLE struct table *table = NULL;

	int code =
		table_new(&table, "locks", columns, COLUMN_COUNT,
			  options->all ? "NAME,STATE,MODE,PID,USER,HELD,WAITERS,COMMAND,INFO,LAST"
				       : "NAME,MODE,PID,USER,HELD,WAITERS,COMMAND,INFO",
			  &options->table);
	if (code != 0)
		return code;
	for (size_t i = 0; i < count; i++)
		add_lock(table, locks[i], options->table.json);
	table_print(table);
	return 0;
}

static int list(const struct invocation *invocation, const struct list_options *options)
{
	CLEANUP_STORE relock_store *store = NULL;
	struct relock_status **locks = NULL;
	size_t count = 0;

	int error = relock_store_open(&store, invocation->store);
	if (error == 0)
		error = relock_list(store, options->all ? RELOCK_LIST_FREE : 0, &locks, &count);
	if (error < 0)
		return complain_error(invocation->store ? invocation->store : "default store",
				      error);
	(void)status_ask_mounts(locks, count);

	int code = options->table.json && !options->table.output
			   ? print_json(locks, count)
			   : print_table(options, locks, count);

	relock_list_free(locks, count);
	return code;
}

static const struct option long_options[] = {
	COMMON_OPTIONS,
	{"all", no_argument, NULL, 'a'},
	{"output", required_argument, NULL, 'o'},
	{"json", no_argument, NULL, 'J'},
	{"raw", no_argument, NULL, 'r'},
	{"noheadings", no_argument, NULL, 'n'},
	{NULL, 0, NULL, 0},
};

static int list_main(struct invocation *invocation, int argc, char **argv)
{
	struct list_options options = {.all = false};
	int option, code = 0;

	while ((option = getopt_long(argc, argv, "ao:Jrnh", long_options, NULL)) != -1)
		switch (option) {
		case 'a':
			options.all = true;
			break;
		case 'o':
			options.table.output = optarg;
			break;
		case 'J':
			options.table.json = true;
			break;
		case 'r':
			options.table.raw = true;
			break;
		case 'n':
			options.table.no_headings = true;
			break;
		default:
			if (!common_option(invocation, &command_list, option, &code))
				return code;
		}
	if (optind != argc)
		return usage_error(&command_list,
				   "it takes no names; for one lock: `relock state`");
	if (options.table.json && options.table.raw)
		return usage_error(&command_list, "--json and --raw exclude each other");
	return list(invocation, &options);
}

static void print_columns(void)
{
	table_print_columns(columns, COLUMN_COUNT);
}

const struct command command_list = {
	.name = "list",
	.summary = "list the locks of a store",
	.help = "relock list [OPTION]...\n"
		"\n"
		"Lists the locks held in a store, and who holds them.\n"
		"\n"
		"  -a, --all           those free too that have a history\n"
		"  -o, --output LIST   columns to show; +LIST: these as well\n"
		"  -J, --json          as JSON: nested, or with -o the columns\n"
		"  -r, --raw           no alignment, for scripts\n"
		"  -n, --noheadings    no line of headings\n"
		"      --store URL     the store\n"
		"  -h, --help          this text\n",
	.print_more_help = print_columns,
	.run = list_main,
};
