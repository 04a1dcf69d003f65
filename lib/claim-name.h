/*
 * The names of claim files, which say whose they are.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct relock_on_behalf;

/* Who made a claim.  With `is_known`, the rest beyond host and pid is. */
struct claim_owner {
	char host[NAME_MAX + 1];
	pid_t pid;
	bool is_known; /* it was a relock */
	uint64_t machine;
	uint64_t boot;
	uint64_t pid_namespace;
	uint64_t start_time;
	uint64_t number; /* random, of each claim file its own */
	uint32_t turn;   /* the file has another name for each hold */
};

/* This process, or the one that keeps its descriptors; the number is drawn anew. */
void claim_owner_draw(struct claim_owner *ret, const struct relock_on_behalf *on_behalf);

/* NAME|HOST|PID|..., after `prefix`.  -ENAMETOOLONG where that is no file name. */
int claim_name_write(char buffer[NAME_MAX + 1], const char *prefix, const char *lock_name,
		     const struct claim_owner *owner);

/* The last digits of a name of claim_name_write(): the turn. */
enum { CLAIM_TURN_DIGITS = 8 };
/* The name of the next turn. */
void claim_name_turn(char *name);

/* The other way round, without a prefix.  Any text may come in. */
bool claim_name_read(const char *name, const char *lock_name, struct claim_owner *ret);

/* What a lock file says: the path of its claim file.  The last component of that,
 * and its parts; false for what is no such path. */
bool claim_content_read(const char *content, size_t length, const char *lock_name,
			char ret_name[NAME_MAX + 1], struct claim_owner *ret);

enum claim_life {
	CLAIM_UNSEEN,  /* nothing can be known from here */
	CLAIM_SEEN,    /* a process of that pid runs here; if is_known, it is the owner */
	CLAIM_UNFOUND, /* there is none on this host; not proven: is_known is not set */
	CLAIM_GONE,    /* proven gone */
};

enum claim_life claim_owner_life(const struct claim_owner *owner);

/* It is this process. */
bool claim_owner_is_self(const struct claim_owner *owner);

/* It made its claim on this boot of this machine. */
bool claim_owner_is_of_this_boot(const struct claim_owner *owner);
