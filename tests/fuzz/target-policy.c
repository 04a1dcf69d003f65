/*
 * An input is a policy, a newline, and a path.  Properties: what is wrong with
 * a policy is one of its rules, and those before it are right; what a valid one
 * says of the path is what a matcher says that is as simple as it is slow.
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "policy-rules.h"
#include "target.h"

/* The slow one tries everything, and may give up. */
enum { STEPS_MAX = 20000 };

struct match {
	const char *glob, *glob_end, *text_end;
	unsigned steps;
};

/* One of the set behind a '['; moves *glob behind its ']'. */
static bool is_in_set(const char **glob, unsigned char byte)
{
	const char *at = *glob;
	bool is_negated = *at == '!' || *at == '^', found = false;

	at += is_negated;
	do {
		at += *at == '\\';
		unsigned char low = (unsigned char)*at++, high = low;
		if (at[0] == '-' && at[1] != ']') {
			at++;
			at += *at == '\\';
			high = (unsigned char)*at++;
		}
		found |= low <= byte && byte <= high;
	} while (*at != ']');
	*glob = at + 1;
	return found != is_negated && byte != '/';
}

static bool matches(struct match *match, const char *glob, const char *text);

static bool matches_behind_stars(struct match *match, const char *glob, const char *text)
{
	const char *stars = glob;

	while (glob < match->glob_end && *glob == '*')
		glob++;
	bool crosses = glob - stars > 1;
	if (crosses && (stars == match->glob || stars[-1] == '/') && glob < match->glob_end &&
	    *glob == '/' && matches(match, glob + 1, text))
		return true;
	for (;; text++) {
		if (matches(match, glob, text))
			return true;
		if (text == match->text_end || (!crosses && *text == '/'))
			return false;
	}
}

static bool matches(struct match *match, const char *glob, const char *text)
{
	for (;; text++) {
		if (match->steps++ > STEPS_MAX)
			return false;
		if (glob == match->glob_end)
			return text == match->text_end;
		if (*glob == '*')
			return matches_behind_stars(match, glob, text);
		if (text == match->text_end)
			return false;
		if (*glob == '?') {
			glob++;
			if (*text == '/')
				return false;
		} else if (*glob == '[') {
			glob++;
			if (!is_in_set(&glob, (unsigned char)*text))
				return false;
		} else {
			glob += *glob == '\\';
			if (*glob++ != *text)
				return false;
		}
	}
}

/* The first of these bytes that no backslash quotes, or the end. */
static const char *find_unquoted(const char *at, const char *bytes)
{
	for (; *at && !strchr(bytes, *at); at++)
		if (*at == '\\' && at[1])
			at++;
	return at;
}

/* The semantics of the first rule that matches, or NULL.  False: given up. */
static bool find_slowly(const char *policy, const char *path, const char *path_end,
			const char **ret_semantics)
{
	*ret_semantics = NULL;
	for (const char *rule = policy; *rule;) {
		const char *equals = find_unquoted(rule, "=");
		bool is_whole = memchr(rule, '/', (size_t)(equals - rule));
		const char *slash = memrchr(path, '/', (size_t)(path_end - path));
		struct match match = {.glob = rule, .glob_end = equals, .text_end = path_end};
		if (matches(&match, rule, !is_whole && slash ? slash + 1 : path)) {
			*ret_semantics = equals + 1;
			return true;
		}
		if (match.steps > STEPS_MAX)
			return false;
		rule = find_unquoted(equals, ":");
		rule += *rule == ':';
	}
	return true;
}

static void check_match(const char *policy, const char *path, size_t length)
{
	static const char *const names[] = {
		[SHIM_PROCESS] = "process", [SHIM_OFD] = "ofd", [SHIM_LEGACY] = "off"};
	const char *expected;
	enum shim_choice choice;

	bool found = shim_policy_match(policy, path, length, &choice);
	if (!find_slowly(policy, path, path + length, &expected))
		return;
	if (found != !!expected)
		abort();
	if (found && strncmp(expected, names[choice], strlen(names[choice])) != 0)
		abort();
}

static void check_fault(char *policy, const struct shim_policy_fault *fault)
{
	struct shim_policy_fault other;
	size_t at = (size_t)(fault->rule - policy), length = strlen(policy);

	if (at > length || fault->length > length - at || !*fault->reason)
		abort();
	if (at + fault->length < length && policy[at + fault->length] != ':')
		abort();
	if (at > 0) {
		policy[at - 1] = '\0';
		if (!shim_policy_is_valid(policy, &other))
			abort();
	}
}

/* Few mutations have semantics that exist: the beginning of it may be a glob. */
static void make_rule(char *policy)
{
	strcpy(policy + (find_unquoted(policy, ":=") - policy), "=ofd");
}

void fuzz_policy(const uint8_t *bytes, size_t size)
{
	const uint8_t *newline = size ? memchr(bytes, '\n', size) : NULL;
	size_t policy_size = newline ? (size_t)(newline - bytes) : size;
	size_t path_size = newline ? size - policy_size - 1 : 0;
	char *policy = malloc(policy_size + sizeof "=ofd"), *path = malloc(path_size + !path_size);
	struct shim_policy_fault fault = {0};

	if (!policy || !path)
		abort();
	if (policy_size)
		memcpy(policy, bytes, policy_size);
	policy[policy_size] = '\0';
	if (path_size)
		memcpy(path, newline + 1, path_size);
	if (!shim_policy_is_valid(policy, &fault)) {
		check_fault(policy, &fault);
		make_rule(policy);
	}
	if (shim_policy_is_valid(policy, &fault)) {
		enum shim_choice choice;
		check_match(policy, path, path_size);
		shim_policy_match(policy, NULL, 0, &choice);
	}
	free(policy);
	free(path);
}
