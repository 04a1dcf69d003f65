#include "user.h"

#include <pthread.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A few users share a machine; where it is more, the names asked for longest
 * ago make room. */
enum { MOST = 256 };

static struct {
	uid_t uid;
	char *name;
} known[MOST];
static size_t known_count, next_slot;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* guards the above */

static const char *find(uid_t uid)
{
	for (size_t i = 0; i < known_count; i++)
		if (known[i].uid == uid)
			return known[i].name;
	return NULL;
}

static char *ask(uid_t uid)
{
	char buffer[4096], *name;
	struct passwd entry, *found = NULL;

	if (uid == 0)
		return strdup("root");
	if (getpwuid_r(uid, &entry, buffer, sizeof buffer, &found) == 0 && found)
		return strdup(found->pw_name);
	return asprintf(&name, "%u", (unsigned)uid) < 0 ? NULL : name;
}

void user_resolve(uid_t uid)
{
	char *name = ask(uid);

	if (!name)
		return;
	pthread_mutex_lock(&mutex);
	if (find(uid)) {
		free(name);
	} else {
		free(known[next_slot].name);
		known[next_slot].uid = uid;
		known[next_slot].name = name;
		next_slot = (next_slot + 1) % MOST;
		if (known_count < MOST)
			known_count++;
	}
	pthread_mutex_unlock(&mutex);
}

char *user_name(uid_t uid)
{
	pthread_mutex_lock(&mutex);
	const char *name = find(uid);
	char *copy = name ? strdup(name) : NULL;
	pthread_mutex_unlock(&mutex);
	return copy;
}

bool user_is_known(uid_t uid)
{
	pthread_mutex_lock(&mutex);
	bool is_known = find(uid) != NULL;
	pthread_mutex_unlock(&mutex);
	return is_known;
}
