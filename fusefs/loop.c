#include "loop.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "callers.h"
#include "errand.h"
#include "grant.h"
#include "invalidate.h"
#include "recover.h"
#include "say.h"
#include "sight.h"
#include "wire.h"

enum {
	/* Requests in a row, before the other descriptors are looked at. */
	BURST = 64,
	/* A name that is gone stays known to the kernel for a moment: it may be
	 * used again. */
	IDLE_SECONDS = 1,
	IDLE_MOST = 1000,
	/* Names and handles at once, of which the memory is worth giving back. */
	MANY = 256,
	/* Locks named in a message. */
	NAMED_MOST = 10,
	/* A second signal after this time is a first one. */
	TOLD_SECONDS = 60,
};

struct loop {
	struct server *server;
	int signals;
	struct fuse_buf buffer;
	size_t most; /* names and handles at once, since memory was last given back */
	bool ending, is_orphan;
	int64_t told; /* CLOCK_MONOTONIC; 0: never */
};

static int64_t now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &time);
	return time.tv_sec * RELOCK_SECOND + time.tv_nsec;
}

/* After a second in which nobody has used it, no answer with it is on the way. */
static bool is_forgotten_already(const struct server *server, const struct entry *entry,
				 int64_t latest)
{
	return entry->is_restored && entry->idle_since <= latest &&
	       wire_probe(fuse_session_fd(server->session), entry_id(entry)) == -ENOENT;
}

/* Ends names that have been idle.  Those that the kernel knows it is made to
 * forget; the entry goes with the FORGET that follows. */
static void forget_idle_names(struct server *server)
{
	struct mount *mount = &server->mount;
	int64_t latest = now() - IDLE_SECONDS * RELOCK_SECOND;
	struct entry *entry;

	while ((entry = TAILQ_FIRST(&mount->idle)) &&
	       (mount->idle_count > IDLE_MOST || entry->idle_since <= latest)) {
		entry_leave_idle(mount, entry);
		if (is_forgotten_already(server, entry, latest))
			entry_forget(mount, entry, entry->lookups);
		else if (entry->lookups > 0)
			invalidator_add(server->invalidator,
					entry_is_history(entry) ? HISTORY_ID : ROOT_ID,
					entry_lock_name(entry), entry_id(entry));
		/* No FORGET may come that counts all. */
		if (entry->lookups == 0 || entry->is_miscounted)
			entry_forget(mount, entry, UINT64_MAX);
	}
}

/* Of what is parked libfuse knows nothing. */
static bool is_for_parked(struct server *server, const struct fuse_buf *buffer)
{
	struct wire_request request;

	if (!wire_parse(buffer->mem, buffer->size, &request))
		return false;
	server->request = request.unique;
	return request.interrupted != 0 && open_interrupt(server, request.interrupted);
}

/* Returns -EAGAIN when there is no more, 0 if there may be. */
static int serve_burst(struct loop *loop)
{
	struct fuse_session *session = loop->server->session;

	for (int i = 0; i < BURST; i++) {
		int result = fuse_session_receive_buf(session, &loop->buffer);
		if (result == -EINTR)
			continue;
		if (result == -EAGAIN)
			recover_is_idle(loop->server);
		if (result <= 0)
			return result; /* 0: the session is over */
		loop->server->requests++;
		/* The length of this request; libfuse leaves that of the buffer. */
		struct fuse_buf request = loop->buffer;
		request.size = (size_t)result;
		if (recover_request(loop->server, &request) &&
		    !is_for_parked(loop->server, &request))
			fuse_session_process_buf(session, &request);
		recover_request_done(loop->server);
	}
	return 0;
}

static void say_who_holds(const struct handle *handle)
{
	const struct process *process = &handle->held->holder;
	char *name = relock_escape(handle->entry->name, strlen(handle->entry->name));
	char *command = relock_escape(process->command, strlen(process->command));

	if (process_has_ended(process))
		say("%s is held by a process that has inherited it from pid %d (%s, user id %u), "
		    "which is gone, %u waiting",
		    name ? name : "?", (int)process->pid, command ? command : "?",
		    (unsigned)process->uid, handle->entry->waiter_count);
	else if (process->pid != 0)
		say("%s is held by pid %d (%s, user id %u), %u waiting", name ? name : "?",
		    (int)process->pid, command ? command : "?", (unsigned)process->uid,
		    handle->entry->waiter_count);
	else
		say("%s is held by a process out of sight (user id %u), %u waiting",
		    name ? name : "?", (unsigned)process->uid, handle->entry->waiter_count);
	free(name);
	free(command);
}

static void say_what_is_held(const struct mount *mount)
{
	const struct table_node *node = NULL;
	size_t said = 0;

	while ((node = table_next(&mount->handles, node)) && said < NAMED_MOST) {
		const struct handle *handle = TABLE_OWNER(node, struct handle, by_id);
		if (handle->hold == HOLDS) {
			say_who_holds(handle);
			said++;
		}
	}
	if (mount->held_count > said)
		say("and %zu more", mount->held_count - said);
}

static void end(struct loop *loop)
{
	grant_end(&loop->server->mount);
	loop->ending = true;
	invalidator_stop(loop->server->invalidator);
}

/* The supervisor has ended.  First the thread that may wait in the kernel for an
 * answer of this one: execve(2) waits for all threads. */
static void leave_to_successor(struct loop *loop)
{
	if (!loop->server->mount.ledger || loop->is_orphan)
		return;
	loop->is_orphan = true;
	invalidator_stop(loop->server->invalidator);
}

static void take_signal(struct loop *loop)
{
	const struct mount *mount = &loop->server->mount;
	struct signalfd_siginfo signal;

	if (read(loop->signals, &signal, sizeof signal) != sizeof signal || loop->ending)
		return;
	if (signal.ssi_signo == SIGUSR2) {
		leave_to_successor(loop);
		return;
	}
	/* Who signals all processes of the name means one signal. */
	if (mount->ledger && signal.ssi_pid != (uint32_t)mount->keeper_pid) {
		say("%s: signal %u is not for the server (pid %d) but for its supervisor, pid %d",
		    mount->path, signal.ssi_signo, (int)getpid(), (int)mount->keeper_pid);
		return;
	}
	/* A lock that was closed before the signal was sent is not held. */
	while (serve_burst(loop) == 0 && !fuse_session_exited(loop->server->session))
		continue;
	bool was_told = loop->told != 0 && now() - loop->told < TOLD_SECONDS * RELOCK_SECOND;
	if ((mount->held_count > 0 || mount->waiting_count > 0) && !was_told) {
		say("%s stays mounted: %zu locks held, %zu waiters; send the signal again to "
		    "unmount it all the same",
		    mount->path, mount->held_count, mount->waiting_count);
		say_what_is_held(mount);
		loop->told = now();
		return;
	}
	end(loop);
}

static void take_wake(struct loop *loop)
{
	struct server *server = loop->server;
	uint64_t ignored;

	(void)!read(server->wake, &ignored, sizeof ignored);
	grant_waits_done(&server->mount);
	errands_finish(server->looks);
	errands_finish(server->breaks);
	if ((loop->ending || loop->is_orphan) && invalidator_has_stopped(server->invalidator))
		fuse_session_exit(server->session);
}

static size_t count_things(const struct mount *mount)
{
	return mount->entries_by_id.count + mount->handles.count;
}

/* A second in which nobody has called.  What was freed goes back to the system:
 * after many waiters or locks the allocator has more of it than it will need. */
static void rest(struct loop *loop)
{
	size_t count = count_things(&loop->server->mount);

	callers_forget(loop->server->callers);
	sights_forget(loop->server->sights);
	if (loop->most >= MANY && count < loop->most / 2) {
		(void)malloc_trim(0);
		loop->most = count;
	}
}

static int wait_for_work(struct loop *loop)
{
	struct server *server = loop->server;
	struct pollfd fds[] = {
		{.fd = fuse_session_fd(server->session), .events = POLLIN},
		{.fd = server->wake, .events = POLLIN},
		{.fd = loop->signals, .events = POLLIN},
	};
	size_t things = count_things(&server->mount);
	if (loop->most < things)
		loop->most = things;
	bool has_idle = !TAILQ_EMPTY(&server->mount.idle) || callers_any(server->callers) ||
			sights_any(server->sights);
	int count = poll(fds, 3, has_idle ? IDLE_SECONDS * 1000 : -1);

	if (count < 0 && errno != EINTR)
		return -errno;
	if (count == 0)
		rest(loop);
	if (fds[2].revents)
		take_signal(loop);
	if (fds[1].revents)
		take_wake(loop);
	return 0;
}

int loop_run(struct server *server, int signals)
{
	struct loop loop = {.server = server, .signals = signals};
	int fd = fuse_session_fd(server->session);
	int result = 0;

	/* A request that poll() announced may have been withdrawn since. */
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) < 0)
		return -errno;
	while (!fuse_session_exited(server->session)) {
		result = serve_burst(&loop);
		if (result < 0 && result != -EAGAIN)
			break;
		result = wait_for_work(&loop);
		if (result < 0)
			break;
		forget_idle_names(server);
	}
	free(loop.buffer.mem);
	return result == 0 && loop.is_orphan && !loop.ending ? -EOWNERDEAD : result;
}
