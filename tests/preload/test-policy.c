/*
 * The language of RELOCK_POLICY by itself: globs, rules, and what is wrong with
 * them.  (What the shim makes of a policy is test-settings.c's matter.)
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "glob.h"
#include "policy-rules.h"

/* In memory that ends where the text ends, for AddressSanitizer to see. */
static char *exactly(const char *text)
{
	size_t length = strlen(text);
	char *copy = malloc(length + !length);

	assert_non_null(copy);
	memcpy(copy, text, length);
	return copy;
}

static bool matches(const char *glob, const char *text)
{
	char *exact_glob = exactly(glob), *exact_text = exactly(text);
	const char *fault = shim_glob_fault(exact_glob, strlen(glob));

	if (fault)
		fail_msg("glob %s %s", glob, fault);
	bool result = shim_glob_matches(exact_glob, strlen(glob), exact_text, strlen(text));
	free(exact_glob);
	free(exact_text);
	return result;
}

static void glob_matches(void **state)
{
	static const struct {
		const char *glob, *yes[4], *no[8];
	} cases[] = {
		{"a", {"a"}, {"", "b", "aa", "A"}},
		{"a?c", {"abc", "a?c"}, {"ac", "a/c", "abbc"}},
		{"*.lock", {".lock", "a.lock", "a.b.lock"}, {"lock", "a.lockx", "d/a.lock"}},
		{"/d/*", {"/d/", "/d/a"}, {"/d", "/d/a/b"}},
		{"/d/**", {"/d/a", "/d/a/b", "/d/"}, {"/d", "/e/d/a"}},
		{"/d/**/x", {"/d/x", "/d/a/x", "/d/a/b/x"}, {"/dx", "/d/ax", "/d/a/bx", "/d/x/"}},
		{"**/x", {"/x", "x", "/a/b/x"}, {"/ax", "ax", "/x/a"}},
		{"/a**z", {"/az", "/abz", "/a/b/z"}, {"/a", "/bz"}},
		/* Not a component of its own: it stands for the '/' only. */
		{"/a**/z", {"/a/z", "/ab/z", "/a/b/z"}, {"/az"}},
		{"/***/z", {"/z", "/a/z"}, {"/az"}},
		{"[abc]", {"a", "c"}, {"d", "", "ab", "[abc]"}},
		{"[a-cx-z]1", {"b1", "z1"}, {"d1", "-1"}},
		{"[!a-c]", {"d", "-"}, {"a", "/", ""}},
		{"[^a]", {"b", "^"}, {"a", "/"}},
		{"[a^!]", {"^", "!"}, {"b"}},
		{"[]]", {"]"}, {"["}},
		{"[!]]", {"["}, {"]"}},
		{"[a-]", {"a", "-"}, {"b"}},
		{"[-a]", {"a", "-"}, {"b"}},
		{"[\\]a]", {"]", "a"}, {"\\"}},
		{"[+-9]", {"+", "9", "."}, {"/"}},
		{"\\*\\[\\\\", {"*[\\"}, {"a[\\"}},
		{"a\\:\\=b", {"a:=b"}, {"a\\:\\=b"}},
		{"a]b", {"a]b"}, {"ab"}},
		/* Bytes, whatever they are. */
		{"?\xbc\xff", {"\xc3\xbc\xff"}, {"\xbc\xff"}},
		{"[\xc0-\xff]?", {"\xc3\xbc"}, {"ab"}},
		{"***", {"", "a", "/a/b"}, {NULL}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		for (const char *const *text = cases[i].yes; *text; text++)
			if (!matches(cases[i].glob, *text))
				fail_msg("%s does not match %s", cases[i].glob, *text);
		for (const char *const *text = cases[i].no; *text; text++)
			if (matches(cases[i].glob, *text))
				fail_msg("%s matches %s", cases[i].glob, *text);
	}
}

/* What glob.h says, in the words of regex(7). */
static void glob_to_regex(const char *glob, char *to)
{
	to = stpcpy(to, "^");
	for (const char *at = glob; *at;) {
		size_t stars = strspn(at, "*");
		bool is_first_of_component = at == glob || at[-1] == '/';
		if (stars > 1 && is_first_of_component && at[stars] == '/') {
			to = stpcpy(to, "(.*/)?");
			at += stars + 1;
		} else if (stars) {
			to = stpcpy(to, stars > 1 ? ".*" : "[^/]*");
			at += stars;
		} else {
			to = *at == '?' ? stpcpy(to, "[^/]") : mempcpy(to, at, 1);
			at++;
		}
	}
	strcpy(to, "$");
}

/* The `number`th text over an alphabet; the empty one is the first. */
static void make_text(unsigned number, const char *alphabet, char *to)
{
	unsigned letters = (unsigned)strlen(alphabet);

	for (; number; number = (number - 1) / letters)
		*to++ = alphabet[(number - 1) % letters];
	*to = '\0';
}

/* All globs of up to five pieces against all texts of up to six bytes: what
 * backtracking gets wrong shows in small examples. */
static void glob_matches_as_a_regular_expression(void **state)
{
	enum { GLOBS = 1 + 4 + 16 + 64 + 256 + 1024, TEXTS = 1 + 2 + 4 + 8 + 16 + 32 + 64 };
	char glob[8], text[8], pattern[64];
	regex_t regex;

	(void)state;
	for (unsigned i = 0; i < GLOBS; i++) {
		make_text(i, "*/a?", glob);
		glob_to_regex(glob, pattern);
		assert_int_equal(regcomp(&regex, pattern, REG_EXTENDED | REG_NOSUB), 0);
		for (unsigned k = 0; k < TEXTS; k++) {
			make_text(k, "a/", text);
			if (shim_glob_matches(glob, strlen(glob), text, strlen(text)) !=
			    (regexec(&regex, text, 0, NULL, 0) == 0))
				fail_msg("'%s' and '%s': not as %s", glob, text, pattern);
		}
		regfree(&regex);
	}
}

/* One that goes back to each star in turn would not live to see the end. */
static void glob_takes_bounded_time(void **state)
{
	char glob[SHIM_GLOB_MAX], text[4096];

	(void)state;
	memset(text, 'a', sizeof text);
	for (size_t i = 0; i < sizeof glob; i++)
		glob[i] = i % 2 ? 'a' : '*';
	glob[sizeof glob - 1] = 'b';
	assert_false(shim_glob_matches(glob, sizeof glob, text, sizeof text));
	for (size_t i = 0; i + 4 <= sizeof glob; i += 4)
		memcpy(glob + i, "**/*", 4);
	for (size_t i = 0; i < sizeof text; i += 3)
		text[i] = '/';
	assert_false(shim_glob_matches(glob, sizeof glob, text, sizeof text));
	/* And the longest one matches. */
	memset(glob, 'a', sizeof glob);
	memset(text, 'a', sizeof text);
	assert_null(shim_glob_fault(glob, sizeof glob));
	assert_true(shim_glob_matches(glob, sizeof glob, text, sizeof glob));
	assert_false(shim_glob_matches(glob, sizeof glob, text, sizeof glob + 1));
}

static void expect_fault(const char *policy, const char *rule, const char *reason)
{
	struct shim_policy_fault fault = {0};

	if (shim_policy_is_valid(policy, &fault))
		fail_msg("'%s' is valid", policy);
	assert_int_equal(fault.length, strlen(rule));
	assert_memory_equal(fault.rule, rule, fault.length);
	if (!strstr(fault.reason, reason))
		fail_msg("'%s' %s", policy, fault.reason);
}

static void policy_faults(void **state)
{
	(void)state;
	expect_fault("*.lock", "*.lock", "has no =");
	expect_fault("a=ofd:b:c=off", "b", "has no =");
	expect_fault("a\\=ofd", "a\\=ofd", "has no =");
	expect_fault("a=odf", "a=odf", "unknown semantics");
	expect_fault("a=", "a=", "unknown semantics");
	expect_fault("a=of", "a=of", "unknown semantics");
	expect_fault("a=ofd ", "a=ofd ", "unknown semantics");
	expect_fault("a=OFD", "a=OFD", "unknown semantics");
	expect_fault("a=of\\d", "a=of\\d", "unknown semantics");
	expect_fault("=ofd", "=ofd", "no glob");
	expect_fault(":", "", "empty");
	expect_fault("a=ofd:", "", "empty");
	expect_fault(":a=ofd", "", "empty");
	expect_fault("a=ofd::b=off", "", "empty");
	/* A colon forgotten. */
	expect_fault("/a=ofd/b=off", "/a=ofd/b=off", "two =");
	expect_fault("[a=ofd", "[a=ofd", "without its ]");
	expect_fault("[]=ofd", "[]=ofd", "without its ]");
	expect_fault("[!]=ofd", "[!]=ofd", "without its ]");
	expect_fault("[a\\]=ofd", "[a\\]=ofd", "without its ]");
	expect_fault("[a-=ofd", "[a-=ofd", "without its ]");
	/* A colon ends a rule, whatever it stands in. */
	expect_fault("[:]=ofd", "[", "has no =");
	expect_fault("[z-a]=ofd", "[z-a]=ofd", "ends before it begins");
	expect_fault("/[a/b]=ofd", "/[a/b]=ofd", "a / in brackets");
	expect_fault("a\\", "a\\", "has no =");
	expect_fault("db/x=ofd", "db/x=ofd", "matches no path");
	expect_fault("?/x=ofd", "?/x=ofd", "matches no path");
	expect_fault("a=ofd:[!a]/x=off", "[!a]/x=off", "matches no path");
}

static void policy_too_long(void **state)
{
	char policy[2 * SHIM_POLICY_MAX];
	struct shim_policy_fault fault;
	size_t length = 0;

	(void)state;
	/* The longest glob, and one byte more. */
	memset(policy, 'a', SHIM_GLOB_MAX);
	strcpy(policy + SHIM_GLOB_MAX, "=ofd");
	assert_true(shim_policy_is_valid(policy, &fault));
	memset(policy, 'a', SHIM_GLOB_MAX + 1);
	strcpy(policy + SHIM_GLOB_MAX + 1, "=ofd");
	expect_fault(policy, policy, "more than 1023 bytes");

	/* The longest policy, and one byte more. */
	while (length + 6 <= SHIM_POLICY_MAX - 8) {
		memcpy(policy + length, "a=off:", 6);
		length += 6;
	}
	memset(policy + length, 'b', SHIM_POLICY_MAX - length);
	strcpy(policy + SHIM_POLICY_MAX - 4, "=ofd");
	assert_true(shim_policy_is_valid(policy, &fault));
	policy[length] = '\\';
	memset(policy + length + 1, 'b', SHIM_POLICY_MAX - length);
	strcpy(policy + SHIM_POLICY_MAX - 3, "=ofd");
	expect_fault(policy, policy + length, "4095 bytes");
}

static const char *choice_for(const char *policy, const char *path)
{
	static const char *const names[] = {
		[SHIM_PROCESS] = "process", [SHIM_OFD] = "ofd", [SHIM_LEGACY] = "off"};
	struct shim_policy_fault fault;
	enum shim_choice choice;

	if (!shim_policy_is_valid(policy, &fault))
		fail_msg("'%s': '%.*s' %s", policy, (int)fault.length, fault.rule, fault.reason);
	char *exact = path ? exactly(path) : NULL;
	bool found = shim_policy_match(policy, exact, path ? strlen(path) : 0, &choice);
	free(exact);
	return found ? names[choice] : "none";
}

static void policy_first_match_wins(void **state)
{
	static const char policy[] = "/var/lib/app/*.lock=ofd:/srv/db/**=process:*=off";

	(void)state;
	assert_string_equal(choice_for(policy, "/var/lib/app/a.lock"), "ofd");
	assert_string_equal(choice_for(policy, "/var/lib/app/b/a.lock"), "off");
	assert_string_equal(choice_for(policy, "/srv/db/a/b"), "process");
	assert_string_equal(choice_for(policy, "/srv/db"), "off");
	assert_string_equal(choice_for(policy, "pipe:[1]"), "off");
	assert_string_equal(choice_for("a*=ofd:*b=off", "/ab"), "ofd");
	assert_string_equal(choice_for("*b=off:a*=ofd", "/ab"), "off");
	assert_string_equal(choice_for("", "/ab"), "none");
	assert_string_equal(choice_for("b=off", "/ab"), "none");
}

static void policy_glob_without_a_slash(void **state)
{
	(void)state;
	assert_string_equal(choice_for("*.db=ofd", "/a/b.c/x.db"), "ofd");
	assert_string_equal(choice_for("x=ofd", "/x/y"), "none");
	assert_string_equal(choice_for("**=ofd", "/x/y"), "ofd");
	assert_string_equal(choice_for("memfd\\:*=ofd", "/memfd:x"), "ofd");
}

static void policy_quoting(void **state)
{
	(void)state;
	assert_string_equal(choice_for("/a\\:b\\=c=ofd", "/a:b=c"), "ofd");
	assert_string_equal(choice_for("[\\:\\=]=ofd:*=off", "/:"), "ofd");
	assert_string_equal(choice_for("[\\:\\=]=ofd:*=off", "/="), "ofd");
	assert_string_equal(choice_for("[\\:\\=]=ofd:*=off", "/\\"), "off");
	assert_string_equal(choice_for("\\/a/\\*=ofd", "/a/*"), "ofd");
	assert_string_equal(choice_for("\\/a/\\*=ofd", "/a/b"), "none");
	assert_string_equal(choice_for("a\\\\=ofd", "/a\\"), "ofd");
}

static void policy_of_an_unknown_path(void **state)
{
	(void)state;
	assert_string_equal(choice_for("*.db=ofd:/**=ofd:?*=ofd:\\*=ofd:*=off", NULL), "off");
	assert_string_equal(choice_for("**=process", NULL), "process");
	assert_string_equal(choice_for("*.db=ofd", NULL), "none");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(glob_matches),
		cmocka_unit_test(glob_matches_as_a_regular_expression),
		cmocka_unit_test(glob_takes_bounded_time),
		cmocka_unit_test(policy_faults),
		cmocka_unit_test(policy_too_long),
		cmocka_unit_test(policy_first_match_wins),
		cmocka_unit_test(policy_glob_without_a_slash),
		cmocka_unit_test(policy_quoting),
		cmocka_unit_test(policy_of_an_unknown_path),
	};

	return cmocka_run_group_tests_name("policy", tests, NULL, NULL);
}
