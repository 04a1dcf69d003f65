/*
 * relock mount --status: how the daemons of mounts are.
 */
#include "mount-actions.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cleanup.h"
#include "duration.h"
#include "exit-code.h"
#include "json.h"
#include "message.h"
#include "mount-daemon.h"
#include "table.h"

enum {
	DIR,
	STORE,
	STATE,
	LOCKS,
	WAITERS,
	REQUESTS,
	UPTIME,
	PID,
	VERSION,
	SUPERVISED,
	RESTARTS,
	SUPERVISOR,
	NAMES,
	COLUMN_COUNT,
};

static const struct table_column columns[COLUMN_COUNT] = {
	[DIR] = {"DIR", "where it is mounted", 0},
	[STORE] = {"STORE", "the store's URL", 0},
	[STATE] = {"STATE", "serving, silent (the daemon does not answer), dead, or forbidden", 0},
	[LOCKS] = {"LOCKS", "holds through this mount", TABLE_NUMBER | TABLE_RIGHT},
	[WAITERS] = {"WAITERS", "who waits in this mount", TABLE_NUMBER | TABLE_RIGHT},
	[REQUESTS] = {"REQUESTS", "requests served", TABLE_NUMBER | TABLE_RIGHT},
	[UPTIME] = {"UPTIME", "since when it serves", TABLE_RIGHT},
	[PID] = {"PID", "the daemon's pid", TABLE_NUMBER | TABLE_RIGHT},
	[VERSION] = {"VERSION", "the daemon's version", 0},
	[SUPERVISED] = {"SUPERVISED", "whether a successor takes over, yes or no", 0},
	[RESTARTS] = {"RESTARTS", "how often one has", TABLE_NUMBER | TABLE_RIGHT},
	[SUPERVISOR] = {"SUPERVISOR", "the supervisor's pid", TABLE_NUMBER | TABLE_RIGHT},
	[NAMES] = {"NAMES", "names that the kernel knows", TABLE_NUMBER | TABLE_RIGHT},
};

/* One mount, and what came of asking. */
struct seen {
	const struct mounted *mounted;
	int error;
	struct mount_answer answer;
};

static const char *state_text(int error)
{
	switch (-error) {
	case 0:
		return "serving";
	case ENOTCONN:
		return "dead";
	case ETIMEDOUT:
		return "silent";
	case EACCES:
		return "forbidden";
	default:
		return "unknown";
	}
}

static bool is_supervised(const struct seen *seen)
{
	return seen->answer.numbers[MOUNT_SUPERVISOR] > 0;
}

/* -1: not supervised. */
static int64_t restarts(const struct seen *seen)
{
	int64_t starts = seen->answer.numbers[MOUNT_STARTS];

	return is_supervised(seen) && starts > 0 ? starts - 1 : -1;
}

static void set_number(struct table *table, size_t column, int64_t number)
{
	if (number >= 0)
		table_setf(table, column, "%" PRId64, number);
}

static void add_line(struct table *table, const struct seen *seen)
{
	const int64_t *numbers = seen->answer.numbers;
	CLEANUP_FREE char *folder = printable(seen->mounted->folder);
	CLEANUP_FREE char *store = printable(seen->mounted->source);
	char uptime[DURATION_TEXT_SIZE];

	table_add_line(table);
	table_set(table, DIR, folder);
	table_set(table, STORE, store);
	table_set(table, STATE, state_text(seen->error));
	if (seen->error < 0)
		return;
	set_number(table, LOCKS, numbers[MOUNT_LOCKS]);
	set_number(table, WAITERS, numbers[MOUNT_WAITERS]);
	set_number(table, REQUESTS, numbers[MOUNT_REQUESTS]);
	if (numbers[MOUNT_UPTIME] >= 0)
		table_set(table, UPTIME,
			  duration_text(numbers[MOUNT_UPTIME] * RELOCK_SECOND, uptime));
	set_number(table, PID, numbers[MOUNT_PID]);
	table_set(table, VERSION, seen->answer.version);
	table_set(table, SUPERVISED, is_supervised(seen) ? "yes" : "no");
	set_number(table, RESTARTS, restarts(seen));
	set_number(table, SUPERVISOR, numbers[MOUNT_SUPERVISOR]);
	set_number(table, NAMES, numbers[MOUNT_NAMES]);
}

static int print_table(const struct table_options *options, const struct seen *all, size_t count)
{
	CLEANUP_TABLE struct table *table = NULL;

	int code = table_new(&table, "mounts", columns, COLUMN_COUNT,
			     "DIR,STORE,STATE,LOCKS,WAITERS,REQUESTS,UPTIME,PID,VERSION,"
			     "SUPERVISED,RESTARTS",
			     options);
	if (code != 0)
		return code;
	for (size_t i = 0; i < count; i++)
		add_line(table, &all[i]);
	table_print(table);
	return 0;
}

static void add_number(struct json_object *object, const char *key, int64_t number)
{
	if (number >= 0)
		json_add_signed(object, key, number);
	else
		json_add_null(object, key);
}

/* The uptime is a number of seconds here. */
static struct json_object *seen_json(const struct seen *seen)
{
	const int64_t *numbers = seen->answer.numbers;
	struct json_object *object = json_new();
	CLEANUP_FREE char *folder = printable(seen->mounted->folder);
	CLEANUP_FREE char *store = printable(seen->mounted->source);

	json_add_text(object, "dir", folder);
	json_add_text(object, "store", store);
	json_add_text(object, "state", state_text(seen->error));
	if (seen->error < 0)
		return object;
	add_number(object, "locks", numbers[MOUNT_LOCKS]);
	add_number(object, "waiters", numbers[MOUNT_WAITERS]);
	add_number(object, "requests", numbers[MOUNT_REQUESTS]);
	add_number(object, "uptime", numbers[MOUNT_UPTIME]);
	add_number(object, "pid", numbers[MOUNT_PID]);
	json_add_text(object, "version", seen->answer.version);
	json_add_bool(object, "supervised", is_supervised(seen));
	add_number(object, "restarts", restarts(seen));
	add_number(object, "supervisor", numbers[MOUNT_SUPERVISOR]);
	add_number(object, "names", numbers[MOUNT_NAMES]);
	return object;
}

static int print_json(const struct seen *all, size_t count)
{
	CLEANUP_JSON struct json_object *json = NULL;

	if (!json_load())
		return EX_UNAVAILABLE;
	json = json_new();

	struct json_object *array = json_add_array(json, "mounts");

	for (size_t i = 0; i < count; i++)
		json_append(array, seen_json(&all[i]));
	json_print(json);
	return 0;
}

/* Asks all, shows all, and then says what is wrong with which. */
static int show(const struct mounted *list, size_t count, const struct table_options *options)
{
	CLEANUP_FREE struct seen *all = calloc(count + 1, sizeof *all);
	int code;

	if (!all)
		out_of_memory();
	for (size_t i = 0; i < count; i++) {
		all[i].mounted = &list[i];
		all[i].error = mount_daemon_ask(list[i].folder, MOUNT_PATIENCE * RELOCK_SECOND,
						&all[i].answer);
	}
	code = options->json && !options->output ? print_json(all, count)
						 : print_table(options, all, count);
	if (fflush(stdout) != 0)
		return code; /* main() says so */
	for (size_t i = 0; i < count; i++)
		if (all[i].error < 0)
			code = complain_mount_daemon(list[i].folder, all[i].error);
	return code;
}

int mount_status(char *const folders[], size_t count, const struct table_options *options)
{
	struct mounted *list = NULL;
	int code = 0;

	if (count == 0) {
		count = mount_table_list(&list);
	} else {
		list = calloc(count, sizeof *list);
		if (!list)
			out_of_memory();
		for (size_t i = 0; i < count && code == 0; i++)
			code = mount_daemon_find(folders[i], &list[i]);
	}
	if (code == 0)
		code = show(list, count, options);
	mount_table_free_list(list, count);
	return code;
}

void mount_status_print_columns(void)
{
	table_print_columns(columns, COLUMN_COUNT);
}
