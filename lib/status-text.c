/*
 * What state looks like: the same keys in `relock state`, in the mount, and in
 * JSON, so there is one walk over them.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cancellation.h"
#include "cleanup.h"
#include "relock.h"
#include "status.h"

struct walk {
	int (*callback)(const struct relock_pair *pair, void *argument);
	void *argument;
	const char *prefix; /* "last-" for the holder of a free lock */
	size_t holder;
	int result;
};

static void say(struct walk *walk, const char *key, int is_number, const char *value)
{
	char prefixed[32];

	if (walk->result != 0)
		return;
	snprintf(prefixed, sizeof prefixed, "%s%s", walk->prefix, key);
	struct relock_pair pair = {prefixed, value, is_number, walk->holder};
	walk->result = walk->callback(&pair, walk->argument);
}

static void say_number(struct walk *walk, const char *key, uint64_t number)
{
	char value[24];

	snprintf(value, sizeof value, "%llu", (unsigned long long)number);
	say(walk, key, 1, value);
}

static void say_bytes(struct walk *walk, const char *key, const char *bytes, size_t length)
{
	CLEANUP_FREE char *escaped = bytes ? relock_escape(bytes, length) : NULL;

	if (escaped)
		say(walk, key, 0, escaped);
}

static void say_text(struct walk *walk, const char *key, const char *text)
{
	say_bytes(walk, key, text, text ? strlen(text) : 0);
}

/* ISO 8601 with milliseconds and the local zone. */
static void format_moment(char *buffer, size_t size, int64_t moment)
{
	time_t seconds = moment / RELOCK_SECOND;
	char zone[8] = "";
	struct tm local;

	localtime_r(&seconds, &local);
	size_t length = strftime(buffer, size, "%Y-%m-%dT%H:%M:%S", &local);
	strftime(zone, sizeof zone, "%z", &local);
	/* +0100 becomes +01:00 */
	snprintf(buffer + length, size - length, ".%03d%.3s:%.2s",
		 (int)(moment % RELOCK_SECOND / RELOCK_MILLISECOND), zone, zone + 3);
}

static void say_moment(struct walk *walk, const char *key, int64_t moment)
{
	char value[64];

	if (moment <= 0)
		return;
	format_moment(value, sizeof value, moment);
	say(walk, key, 0, value);
}

static void say_span(struct walk *walk, const char *key, int64_t span)
{
	static const struct {
		const char *name;
		int64_t seconds;
	} units[] = {{"d", 86400}, {"h", 3600}, {"min", 60}};
	int64_t seconds = span / RELOCK_SECOND;
	char value[64];

	if (span < 0)
		return; /* the clock was set back */
	for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
		if (seconds < units[i].seconds)
			continue;
		static const char *const smaller[] = {"h", "min", "s"};
		int64_t unit = i == 2 ? 1 : units[i + 1].seconds;
		snprintf(value, sizeof value, "%lld%s %lld%s",
			 (long long)(seconds / units[i].seconds), units[i].name,
			 (long long)(seconds % units[i].seconds / unit), smaller[i]);
		say(walk, key, 0, value);
		return;
	}
	snprintf(value, sizeof value, "%lld.%03llds", (long long)seconds,
		 (long long)(span % RELOCK_SECOND / RELOCK_MILLISECOND));
	say(walk, key, 0, value);
}

static void say_waiters(struct walk *walk, const struct relock_status *status)
{
	CLEANUP_FREE char *value = NULL;
	size_t length;

	if (status->waiter_count == 0)
		return;
	FILE *stream = open_memstream(&value, &length);
	if (!stream)
		return;
	for (size_t i = 0; i < status->waiter_pid_count; i++)
		fprintf(stream, "%s%d", i ? " " : "", (int)status->waiter_pids[i]);
	if (status->waiter_count > status->waiter_pid_count)
		fprintf(stream, "%s(%zu not visible)", status->waiter_pid_count ? " " : "",
			status->waiter_count - status->waiter_pid_count);
	fclose(stream);
	size_t holder = walk->holder;
	walk->holder = 0; /* they wait for the lock, not for one holder */
	say(walk, "waiters", 0, value);
	walk->holder = holder;
}

/* What a holder without a pid is. */
static void say_presence(struct walk *walk, const struct relock_holder *holder)
{
	char value[96];

	switch (holder->presence) {
	case RELOCK_PRESENT:
		return;
	case RELOCK_OUT_OF_SIGHT:
		say(walk, "process", 0, "out of sight, in another pid namespace");
		return;
	case RELOCK_ENDED:
		snprintf(value, sizeof value,
			 "pid %d, which has ended; its descriptor is still open",
			 (int)holder->opener);
		break;
	case RELOCK_HANDED_ON:
		snprintf(value, sizeof value, "pid %d, which has handed its descriptor on",
			 (int)holder->opener);
		break;
	}
	say(walk, "process", 0, value);
}

/* "4711 (sleep) 4712 (sh)" */
static void say_open_by(struct walk *walk, const struct relock_holder *holder)
{
	CLEANUP_FREE char *value = NULL;
	size_t length;

	if (!holder->open_by)
		return;
	if (holder->open_by_count == 0) {
		say(walk, "open-by", 0, "nobody in sight");
		return;
	}
	FILE *stream = open_memstream(&value, &length);
	if (!stream)
		return;
	for (size_t i = 0; i < holder->open_by_count; i++) {
		const struct relock_kernel_process *process = &holder->open_by[i];
		const char *command = process->command ? process->command : "?";
		CLEANUP_FREE char *escaped = relock_escape(command, strlen(command));
		fprintf(stream, "%s%d (%s)", i ? " " : "", (int)process->pid,
			escaped ? escaped : "?");
	}
	if (fclose(stream) == 0)
		say(walk, "open-by", 0, value);
}

static void say_holder(struct walk *walk, const struct relock_holder *holder,
		       const struct relock_status *status)
{
	if (holder->pid > 0)
		say_number(walk, "pid", (uint64_t)holder->pid);
	if (status) {
		say_presence(walk, holder);
		say_open_by(walk, holder);
	}
	if (holder->pid_namespace)
		say_number(walk, "pid-namespace", holder->pid_namespace);
	if (holder->pid_namespace && holder->namespace_pid > 0)
		say_number(walk, "pid-in-namespace", (uint64_t)holder->namespace_pid);
	say_moment(walk, "started", holder->started);
	say_text(walk, "via", holder->via);
	say_text(walk, "command", holder->command);
	say_text(walk, "user", holder->user);
	say_text(walk, "host", holder->host);
	say_moment(walk, "since", holder->since);
	if (status && holder->since > 0)
		say_span(walk, "held-for", status->now - holder->since);
	if (status && walk->holder <= 1)
		say_moment(walk, "expires", status->expires);
	if (holder->token)
		say_number(walk, "token", holder->token);
	if (status && walk->holder <= 1)
		say_waiters(walk, status);
	say_bytes(walk, "info", holder->info, holder->info_length);
}

static void say_end(struct walk *walk, const struct relock_status *status)
{
	CLEANUP_FREE char *user = NULL;
	char value[256], when[64] = "";

	switch (status->last_end) {
	case RELOCK_END_NONE:
		break;
	case RELOCK_END_RELEASED:
		say_moment(walk, "released", status->last_end_time);
		break;
	case RELOCK_END_DIED:
		say(walk, "died", 0, "ended without giving the lock back");
		break;
	case RELOCK_END_BROKEN:
		format_moment(when, sizeof when, status->last_end_time);
		user = status_user_name(status->broken_by_uid);
		snprintf(value, sizeof value, "pid %d, user %s, %s, at %s",
			 (int)status->broken_by_pid, user ? user : "?",
			 status->broken_by_command ? status->broken_by_command : "?", when);
		say_text(walk, "broken-by", value);
		break;
	}
}

static const char *state_name(enum relock_state state)
{
	static const char *const names[] = {"free", "held", "expired", "stale", "unknown"};

	return names[state];
}

int relock_status_each(const struct relock_status *status,
		       int (*callback)(const struct relock_pair *pair, void *argument),
		       void *argument)
{
	WITHOUT_CANCELLATION;
	struct walk walk = {.callback = callback, .argument = argument, .prefix = ""};

	say_text(&walk, "lock", status->name);
	say(&walk, "state", 0, state_name(status->state));
	if (status->state != RELOCK_FREE)
		say(&walk, "mode", 0, status->mode == RELOCK_SHARED ? "shared" : "exclusive");
	if (status->state != RELOCK_FREE && status->holder_count == 0) {
		say_moment(&walk, "expires", status->expires);
		say_waiters(&walk, status);
	}
	say_text(&walk, "look-at", status->look_at);
	say_text(&walk, "why", status->why);
	for (size_t i = 0; i < status->holder_count; i++) {
		walk.holder = i + 1;
		say_holder(&walk, &status->holders[i], status);
	}
	walk.holder = 0;
	if (status->state == RELOCK_FREE && status->last_end != RELOCK_END_NONE) {
		walk.prefix = "last-";
		say_holder(&walk, &status->last, NULL);
		walk.prefix = "";
		say_end(&walk, status);
	}
	return walk.result;
}

static int write_pair(const struct relock_pair *pair, void *argument)
{
	return fprintf(argument, "%s: %s\n", pair->key, pair->value) < 0 ? -1 : 0;
}

int relock_status_text(const struct relock_status *status, char **ret)
{
	WITHOUT_CANCELLATION;
	char *text = NULL;
	size_t length;

	FILE *stream = open_memstream(&text, &length);
	if (!stream)
		return -ENOMEM;
	int result = relock_status_each(status, write_pair, stream);
	if (fclose(stream) != 0 || result < 0) {
		free(text);
		return -ENOMEM;
	}
	*ret = text;
	return 0;
}
