/*
 * The keys, their order and their values are relock_status_each()'s, so that
 * text and JSON cannot drift apart; only the nesting is made here.
 */
#include "status-json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "json.h"
#include "message.h"

struct nesting {
	const struct relock_status *status;
	struct json_object *lock;
	struct json_object *holders; /* NULL: none so far */
	struct json_object *holder;  /* the one being filled */
	size_t holder_number;
};

static void add_open_by(struct json_object *object, const struct relock_holder *holder)
{
	struct json_object *array = json_add_array(object, "open-by");

	for (size_t i = 0; i < holder->open_by_count; i++) {
		const struct relock_kernel_process *process = &holder->open_by[i];
		struct json_object *json = json_new();

		json_add_signed(json, "pid", process->pid);
		if (process->command) {
			CLEANUP_FREE char *command = printable(process->command);

			json_add_text(json, "command", command);
		}
		json_append(array, json);
	}
}

static int add_pair(const struct relock_pair *pair, void *argument)
{
	struct nesting *nesting = argument;
	struct json_object *object = nesting->lock;

	if (strcmp(pair->key, "waiters") == 0)
		return 0;
	if (pair->holder > 0) {
		if (!nesting->holders)
			nesting->holders = json_add_array(nesting->lock, "holders");
		if (pair->holder != nesting->holder_number) {
			nesting->holder = json_new();
			nesting->holder_number = pair->holder;
			json_append(nesting->holders, nesting->holder);
		}
		object = nesting->holder;
	}
	if (strcmp(pair->key, "open-by") == 0)
		add_open_by(object, &nesting->status->holders[pair->holder - 1]);
	else if (pair->is_number)
		json_add_number(object, pair->key, strtoumax(pair->value, NULL, 10));
	else
		json_add_text(object, pair->key, pair->value);
	return 0;
}

struct json_object *status_json(const struct relock_status *status)
{
	struct nesting nesting = {.status = status, .lock = json_new()};

	relock_status_each(status, add_pair, &nesting);
	if (!nesting.holders)
		json_add_array(nesting.lock, "holders");

	struct json_object *waiters = json_add_array(nesting.lock, "waiters");

	for (size_t i = 0; i < status->waiter_pid_count; i++)
		json_append_signed(waiters, status->waiter_pids[i]);
	/* Those out of sight have no pid to list, and yet they wait. */
	json_add_number(nesting.lock, "waiter-count", status->waiter_count);
	return nesting.lock;
}
