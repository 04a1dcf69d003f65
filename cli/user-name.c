/*
 * getpwuid(3) reads files and may ask the network, and a table asks for the
 * same few users again and again: the last answer is kept.  The command has
 * one thread.
 */
#include "user-name.h"

#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "message.h"

char *user_name(uid_t uid)
{
	static uid_t last_uid = (uid_t)-1;
	static char *last_name;
	char *number = NULL;

	if (uid == (uid_t)-1)
		return need_text(strdup("-"));
	if (!last_name || uid != last_uid) {
		const struct passwd *user = getpwuid(uid);

		free(last_name);
		last_name = user ? printable(user->pw_name) : NULL;
		last_uid = uid;
	}
	if (last_name)
		return need_text(strdup(last_name));
	return asprintf(&number, "%u", uid) < 0 ? need_text(NULL) : number;
}
