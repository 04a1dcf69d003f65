/*
 * The text of a lock file, which Core_unix makes of the record
 *
 *	{ host : string; pid : Pid.t; message : string; start_time : Time_float.t option }
 *
 * (github.com/janestreet/core_unix, lock_file_blocking/src/nfs_lock.ml).  Its
 * first version, create, writes it for people, on as many lines as it takes; the
 * second, create_v2, on one and without needless blanks:
 *
 *	((host vm1)(pid 815)(message"nightly backup")(start_time(2026-11-28 09:30:00.120000Z)))
 *
 * Its reader refuses a field that it does not know, so there is no room for any
 * of ours.  The start time is a date and a time of day in UTC, two atoms; files
 * edited by hand may have another zone, or one atom.
 */
#include "nfslock-info.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "relock.h"
#include "sexp.h"

static void cleanup_tree(struct sexp_tree *tree)
{
	sexp_free(tree);
}

static void cleanup_info(struct nfslock_info *info)
{
	nfslock_info_free(info);
}

void nfslock_info_free(struct nfslock_info *info)
{
	free(info->host);
	free(info->message);
	*info = (struct nfslock_info){0};
}

/* Reading */

/* A number of so many digits at most; -1 if there is none. */
static long number_at(const char **at, size_t max_digits)
{
	long number = -1;

	for (size_t i = 0; i < max_digits && **at >= '0' && **at <= '9'; i++)
		number = (number < 0 ? 0 : number * 10) + *(*at)++ - '0';
	return number;
}

static bool skip(const char **at, char byte)
{
	if (**at != byte)
		return false;
	++*at;
	return true;
}

/* Nanoseconds: of ".12" it is 120,000,000. */
static long fraction_at(const char **at)
{
	long fraction = 0, unit = RELOCK_SECOND / 10;

	for (; **at >= '0' && **at <= '9'; ++*at, unit /= 10)
		fraction += unit * (**at - '0');
	return fraction;
}

/* "Z", "+01:00", "-05", or nothing, which is UTC, too.  Seconds east. */
static bool zone_at(const char **at, long *ret)
{
	long sign = **at == '-' ? -1 : 1;

	*ret = 0;
	if (skip(at, 'Z') || **at == '\0')
		return true;
	if (!skip(at, '+') && !skip(at, '-'))
		return false;
	long hours = number_at(at, 2);
	(void)skip(at, ':');
	long minutes = **at ? number_at(at, 2) : 0;
	if (hours < 0 || hours > 24 || minutes < 0 || minutes > 59)
		return false;
	*ret = sign * (hours * 3600 + minutes * 60);
	return true;
}

/* "2026-11-28 09:30:00.120000Z"; 0 if it is no such time. */
static int64_t moment_of(const char *text)
{
	struct tm tm = {0};
	long zone = 0, fraction = 0;
	const char *at = text;

	long year = number_at(&at, 4);
	bool ok = skip(&at, '-');
	long month = number_at(&at, 2);
	ok = ok && skip(&at, '-');
	long day = number_at(&at, 2);
	ok = ok && (skip(&at, ' ') || skip(&at, 'T'));
	long hour = number_at(&at, 2);
	ok = ok && skip(&at, ':');
	long minute = number_at(&at, 2);
	long second = 0;
	if (ok && skip(&at, ':')) {
		second = number_at(&at, 2);
		if (skip(&at, '.'))
			fraction = fraction_at(&at);
	}
	if (!ok || year < 1970 || year > 2200 || month < 1 || month > 12 || day < 1 || day > 31 ||
	    hour < 0 || hour > 24 || minute < 0 || minute > 59 || second < 0 || second > 60)
		return 0;
	while (skip(&at, ' '))
		;
	if (!zone_at(&at, &zone) || *at != '\0')
		return 0;
	tm.tm_year = (int)year - 1900;
	tm.tm_mon = (int)month - 1;
	tm.tm_mday = (int)day;
	tm.tm_hour = (int)hour;
	tm.tm_min = (int)minute;
	tm.tm_sec = (int)second;
	return ((int64_t)timegm(&tm) - zone) * RELOCK_SECOND + fraction;
}

/* An atom, or a list of up to three, with blanks between them. */
static int64_t moment_in(const struct sexp_tree *tree, size_t index)
{
	const struct sexp *value = &tree->nodes[index];
	char text[96] = "";

	if (!value->is_list)
		return value->length < sizeof text ? moment_of(value->bytes) : 0;
	for (size_t i = index + 1; i < value->next; i = tree->nodes[i].next) {
		const struct sexp *part = &tree->nodes[i];
		size_t used = strlen(text);
		if (part->is_list || used + part->length + 2 > sizeof text)
			return 0;
		snprintf(text + used, sizeof text - used, "%s%s", used ? " " : "", part->bytes);
	}
	return moment_of(text);
}

/* OCaml's sexps of integers may have underscores between the digits. */
static pid_t pid_of(const struct sexp *atom)
{
	int64_t pid = 0;

	if (atom->length == 0 || *atom->bytes == '_')
		return 0;
	for (size_t i = 0; i < atom->length; i++) {
		if (atom->bytes[i] == '_')
			continue;
		if (atom->bytes[i] < '0' || atom->bytes[i] > '9')
			return 0;
		pid = pid * 10 + atom->bytes[i] - '0';
		if (pid > INT_MAX)
			return 0;
	}
	return (pid_t)pid;
}

static int copy_text(const struct sexp *atom, char **to, size_t *to_length)
{
	*to = malloc(atom->length + 1);
	if (!*to)
		return -ENOMEM;
	memcpy(*to, atom->bytes, atom->length + 1);
	*to_length = atom->length;
	return 0;
}

/* One "(KEY VALUE)". A key that is not known is not looked at, and one that
 * comes twice makes the text worthless. */
static int take_field(const struct sexp_tree *tree, size_t index, struct nfslock_info *info)
{
	const struct sexp *field = &tree->nodes[index], *key = field + 1, *value = field + 2;
	size_t length = 0;

	if (!field->is_list || key->next != index + 2 || key->is_list || value->next != field->next)
		return -EBADMSG;
	if (strcmp(key->bytes, "start_time") == 0) {
		if (info->started != 0)
			return -EBADMSG;
		info->started = moment_in(tree, index + 2);
		return 0;
	}
	if (value->is_list)
		return strcmp(key->bytes, "host") == 0 || strcmp(key->bytes, "pid") == 0 ||
				       strcmp(key->bytes, "message") == 0
			       ? -EBADMSG
			       : 0;
	if (strcmp(key->bytes, "host") == 0) {
		if (info->host || value->length == 0 || strlen(value->bytes) != value->length)
			return -EBADMSG;
		return copy_text(value, &info->host, &length);
	}
	if (strcmp(key->bytes, "message") == 0)
		return info->message ? -EBADMSG
				     : copy_text(value, &info->message, &info->message_length);
	if (strcmp(key->bytes, "pid") == 0) {
		if (info->pid != 0)
			return -EBADMSG;
		info->pid = pid_of(value);
		return info->pid > 0 ? 0 : -EBADMSG;
	}
	return 0;
}

int nfslock_info_read(const char *text, size_t length, struct nfslock_info *ret)
{
	__attribute__((cleanup(cleanup_tree))) struct sexp_tree tree = {0};
	__attribute__((cleanup(cleanup_info))) struct nfslock_info info = {0};

	int result = sexp_read(text, length, &tree);
	if (result < 0)
		return result;
	if (!tree.nodes[0].is_list)
		return -EBADMSG;
	for (size_t i = 1; i < tree.count; i = tree.nodes[i].next) {
		/* A field has a list, a key and a value. */
		if (tree.nodes[i].next < i + 3)
			return -EBADMSG;
		result = take_field(&tree, i, &info);
		if (result < 0)
			return result;
	}
	if (!info.host || !info.message || info.pid == 0)
		return -EBADMSG;
	*ret = info;
	info = (struct nfslock_info){0};
	return 0;
}

/* Writing */

static char *write_start(char *to, int64_t started)
{
	time_t seconds = started / RELOCK_SECOND;
	char day[40];
	struct tm tm;

	if (started <= 0 || !gmtime_r(&seconds, &tm) ||
	    strftime(day, sizeof day, "%Y-%m-%d %H:%M:%S", &tm) == 0)
		return to;
	return to +
	       sprintf(to, "(start_time(%s.%06dZ))", day, (int)(started % RELOCK_SECOND / 1000));
}

/* A quote needs no blank before it. */
static char *write_field(char *to, const char *key, const char *bytes, size_t length)
{
	to = stpcpy(stpcpy(to, "("), key);
	char *end = sexp_write_atom(to + 1, bytes, length);
	if (to[1] == '"')
		end = (char *)memmove(to, to + 1, (size_t)(end - to)) + (end - to - 1);
	else
		*to = ' ';
	return stpcpy(end, ")");
}

char *nfslock_info_write(const struct nfslock_info *info)
{
	enum { FRAME = 160 }; /* the names of the fields, the pid, and the time */
	size_t host_length = strlen(info->host);
	char *text =
		malloc(FRAME + SEXP_ATOM_ROOM(host_length) + SEXP_ATOM_ROOM(info->message_length));

	if (!text)
		return NULL;
	char *to = write_field(stpcpy(text, "("), "host", info->host, host_length);
	to += sprintf(to, "(pid %d)", (int)info->pid);
	to = write_field(to, "message", info->message_length ? info->message : "",
			 info->message_length);
	stpcpy(write_start(to, info->started), ")");
	return text;
}
