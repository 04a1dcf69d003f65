/*
 * The language of RELOCK_POLICY: GLOB=SEMANTICS rules between colons, of which
 * the first that matches counts.
 *
 *	*.lock=ofd:/srv/db.**=process:*=off
 *
 * A glob (glob.h) without any '/' is matched against the last component of a
 * path, one with a '/' against all of it.  In a glob a backslash quotes ':'
 * and '=', too, even between brackets.  Semantics are those of choice.h.
 *
 * Nothing but text here, and no system call: the command checks a policy by
 * the same code, before a program gets to see it.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "choice.h"

enum { SHIM_POLICY_MAX = 4095 };

struct shim_policy_fault {
	const char *rule; /* in the policy, `length` bytes of it */
	size_t length;
	const char *reason; /* the end of a sentence: "has no =" */
};

/* An empty policy has no rules, and that is no fault. */
bool shim_policy_is_valid(const char *policy, struct shim_policy_fault *ret_fault);

/* The first rule of a valid policy that matches; false: none does.  `path`
 * does not end in NUL.  NULL: it is not known, and then only a glob of nothing
 * but stars matches. */
bool shim_policy_match(const char *policy, const char *path, size_t length, enum shim_choice *ret);
