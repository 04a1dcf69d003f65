/*
 * See policy-rules.h.  A policy is checked once and read anew for each file;
 * nothing is kept but its text.
 *
 * What cannot have been meant is refused, since a rule that never matches
 * would look as if it did: a second '=', which is a colon forgotten, or a glob
 * like db/x, while every path begins with '/'.
 */
#include "policy-rules.h"

#include <string.h>

#include "glob.h"

struct rule {
	const char *text;
	size_t length;
	size_t glob_length; /* `length`, if there is no '=' */
	bool has_second_equals;
	const char *next; /* the next rule; NULL: this was the last */
};

static struct rule read_rule(const char *text)
{
	struct rule rule = {.text = text};
	size_t at = 0, equals = 0, glob_length = 0;

	for (; text[at] && text[at] != ':'; at++) {
		if (text[at] == '\\' && text[at + 1])
			at++;
		else if (text[at] == '=' && equals++ == 0)
			glob_length = at;
	}
	rule.length = at;
	rule.glob_length = equals ? glob_length : at;
	rule.has_second_equals = equals > 1;
	rule.next = text[at] ? text + at + 1 : NULL;
	return rule;
}

static bool read_choice(const struct rule *rule, enum shim_choice *ret)
{
	return rule->glob_length < rule->length &&
	       shim_choice_from_name(rule->text + rule->glob_length + 1,
				     rule->length - rule->glob_length - 1, ret);
}

static bool is_for_whole_paths(const struct rule *rule)
{
	return memchr(rule->text, '/', rule->glob_length);
}

/* A path begins with '/', which only '/' itself and stars match. */
static bool can_match_a_path(const struct rule *rule)
{
	return !is_for_whole_paths(rule) || strchr("/*", rule->text[0]) ||
	       strncmp(rule->text, "\\/", 2) == 0;
}

static const char *rule_fault(const struct rule *rule)
{
	enum shim_choice choice;

	if (rule->length == 0)
		return "is empty";
	if (rule->glob_length == rule->length)
		return "has no =";
	if (rule->glob_length == 0)
		return "has no glob before its =";
	if (rule->has_second_equals)
		return "has two =; one that belongs to the glob needs a backslash before it";
	if (!read_choice(rule, &choice))
		return "names unknown semantics (there are process, ofd and off)";
	const char *fault = shim_glob_fault(rule->text, rule->glob_length);
	if (fault)
		return fault;
	return can_match_a_path(rule) ? NULL
				      : "matches no path: a glob with a / begins with / or with **";
}

bool shim_policy_is_valid(const char *policy, struct shim_policy_fault *ret_fault)
{
	for (const char *next = *policy ? policy : NULL; next;) {
		struct rule rule = read_rule(next);
		const char *reason = rule_fault(&rule);
		if (!reason && (size_t)(rule.text - policy) + rule.length > SHIM_POLICY_MAX)
			reason = "ends beyond the 4095 bytes that a policy may have";
		if (reason) {
			*ret_fault = (struct shim_policy_fault){rule.text, rule.length, reason};
			return false;
		}
		next = rule.next;
	}
	return true;
}

static bool is_nothing_but_stars(const struct rule *rule)
{
	return strspn(rule->text, "*") == rule->glob_length;
}

static bool rule_matches(const struct rule *rule, const char *path, size_t length)
{
	if (!path)
		return is_nothing_but_stars(rule);
	if (!is_for_whole_paths(rule)) {
		const char *slash = memrchr(path, '/', length);
		if (slash) {
			length -= (size_t)(slash + 1 - path);
			path = slash + 1;
		}
	}
	return shim_glob_matches(rule->text, rule->glob_length, path, length);
}

bool shim_policy_match(const char *policy, const char *path, size_t length, enum shim_choice *ret)
{
	for (const char *next = *policy ? policy : NULL; next;) {
		struct rule rule = read_rule(next);
		if (rule_matches(&rule, path, length))
			return read_choice(&rule, ret);
		next = rule.next;
	}
	return false;
}
