#define FUSE_USE_VERSION 312

#include "invalidate.h"

#include <errno.h>
#include <fuse3/fuse_lowlevel.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "wire.h"

struct name {
	STAILQ_ENTRY(name) next;
	uint64_t parent, inode;
	size_t length;
	char text[];
};

struct invalidator {
	struct fuse_session *session;
	int stopped_event;
	pthread_t thread;
	bool cannot_prune;     /* the thread's */
	pthread_mutex_t mutex; /* guards the rest */
	pthread_cond_t work;
	STAILQ_HEAD(name_list, name) names;
	bool stop, has_stopped;
};

static struct name *next_name(struct invalidator *invalidator)
{
	struct name *name = NULL;

	pthread_mutex_lock(&invalidator->mutex);
	while (!invalidator->stop && STAILQ_EMPTY(&invalidator->names))
		pthread_cond_wait(&invalidator->work, &invalidator->mutex);
	if (!invalidator->stop) {
		name = STAILQ_FIRST(&invalidator->names);
		STAILQ_REMOVE_HEAD(&invalidator->names, next);
	}
	pthread_mutex_unlock(&invalidator->mutex);
	return name;
}

/* Not there (-ENOENT), or the mount is gone: as wished. */
static void forget(struct invalidator *invalidator, const struct name *name)
{
	int result = -EINVAL;

	if (!invalidator->cannot_prune)
		result = wire_prune(fuse_session_fd(invalidator->session), name->inode);
	if (result != -EINVAL)
		return;
	invalidator->cannot_prune = true;
	(void)fuse_lowlevel_notify_inval_entry(invalidator->session, name->parent, name->text,
					       name->length);
}

static void *invalidator_main(void *argument)
{
	struct invalidator *invalidator = argument;
	struct name *name;

	while ((name = next_name(invalidator))) {
		forget(invalidator, name);
		free(name);
	}
	pthread_mutex_lock(&invalidator->mutex);
	invalidator->has_stopped = true;
	pthread_mutex_unlock(&invalidator->mutex);
	(void)!write(invalidator->stopped_event, &(uint64_t){1}, sizeof(uint64_t));
	return NULL;
}

int invalidator_start(struct invalidator **ret, struct fuse_session *session, int stopped_event)
{
	struct invalidator *invalidator = calloc(1, sizeof *invalidator);
	sigset_t all, before;

	if (!invalidator)
		return -ENOMEM;
	invalidator->session = session;
	invalidator->stopped_event = stopped_event;
	pthread_mutex_init(&invalidator->mutex, NULL);
	pthread_cond_init(&invalidator->work, NULL);
	STAILQ_INIT(&invalidator->names);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	int result = pthread_create(&invalidator->thread, NULL, invalidator_main, invalidator);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (result != 0) {
		pthread_cond_destroy(&invalidator->work);
		pthread_mutex_destroy(&invalidator->mutex);
		free(invalidator);
		return -result;
	}
	*ret = invalidator;
	return 0;
}

void invalidator_add(struct invalidator *invalidator, uint64_t parent, const char *text,
		     uint64_t inode)
{
	size_t length = strlen(text);
	struct name *name = malloc(sizeof *name + length + 1);

	if (!name)
		return;
	name->parent = parent;
	name->inode = inode;
	name->length = length;
	memcpy(name->text, text, length + 1);
	pthread_mutex_lock(&invalidator->mutex);
	STAILQ_INSERT_TAIL(&invalidator->names, name, next);
	pthread_cond_signal(&invalidator->work);
	pthread_mutex_unlock(&invalidator->mutex);
}

void invalidator_stop(struct invalidator *invalidator)
{
	pthread_mutex_lock(&invalidator->mutex);
	invalidator->stop = true;
	pthread_cond_signal(&invalidator->work);
	pthread_mutex_unlock(&invalidator->mutex);
}

bool invalidator_has_stopped(struct invalidator *invalidator)
{
	pthread_mutex_lock(&invalidator->mutex);
	bool has_stopped = invalidator->has_stopped;
	pthread_mutex_unlock(&invalidator->mutex);
	return has_stopped;
}

void invalidator_free(struct invalidator *invalidator)
{
	if (!invalidator)
		return;
	invalidator_stop(invalidator);
	pthread_join(invalidator->thread, NULL);
	while (!STAILQ_EMPTY(&invalidator->names)) {
		struct name *name = STAILQ_FIRST(&invalidator->names);
		STAILQ_REMOVE_HEAD(&invalidator->names, next);
		free(name);
	}
	pthread_cond_destroy(&invalidator->work);
	pthread_mutex_destroy(&invalidator->mutex);
	free(invalidator);
}
