/*
 * Property: what a lock file of claim files says is one component of a path, begins
 * with the lock's name, and, if it is relock's, is what its parts are written as.
 */
#include <stdlib.h>
#include <string.h>

#include "claim-name.h"
#include "target.h"

static void check_known(const char *name, const struct claim_owner *owner)
{
	char written[NAME_MAX + 1];
	struct claim_owner again;

	/* Numbers may have had zeros before them, and an odd separator. */
	if (claim_name_write(written, "", "demo", owner) < 0)
		return;
	if (!claim_name_read(written, "demo", &again) || !again.is_known ||
	    again.pid != owner->pid || again.boot != owner->boot ||
	    again.machine != owner->machine || again.pid_namespace != owner->pid_namespace ||
	    again.start_time != owner->start_time || again.number != owner->number ||
	    again.turn != owner->turn)
		abort();
}

void fuzz_claim(const uint8_t *bytes, size_t size)
{
	/* Exactly that long, so that a sanitizer sees a read beyond its end. */
	char *content = malloc(size + !size), name[NAME_MAX + 1];
	struct claim_owner owner;

	if (size)
		memcpy(content, bytes, size);
	if (claim_content_read(content, size, "demo", name, &owner)) {
		if (strchr(name, '/') || strncmp(name, "demo", 4) != 0 || owner.pid <= 0 ||
		    strlen(owner.host) >= sizeof owner.host)
			abort();
		if (owner.is_known && !strchr(owner.host, '|'))
			check_known(name, &owner);
	}
	free(content);
}
