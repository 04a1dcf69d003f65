/*
 * An input is a sequence of requests to a mount, as the kernel could send them
 * on behalf of programs: a byte says which (steps[], below), the next ones its
 * arguments; bytes that are missing are 0.  Properties:
 *
 *  - each request is answered once, or waits for its turn or for an errand;
 *  - no answer is one that the kernel makes something else of: ENOSYS, or an
 *    error of 512 and more; open(2) never gets a second ESTALE;
 *  - who is told that it holds the lock does; two hold it only if both share;
 *    a holder outside the mount counts;
 *  - nobody waits for a lock that is free;
 *  - an interrupted request is answered EINTR at once;
 *  - when all is closed and forgotten, nothing is left: no name, no handle, no
 *    lock in the store.
 *
 * What only a broken kernel could send is not: a RELEASE while a request of that
 * file is under way, or one FORGET too many.  Numbers that lead nowhere are.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ask-mount.h"
#include "callers.h"
#include "fake-fuse.h"
#include "grant.h"
#include "mount-look.h"
#include "promise.h"
#include "relock.h"
#include "sight.h"
#include "state.h"
#include "target.h"

enum { FILES_MAX = 64, NODES_MAX = 64, STEPS_MAX = 200, OUTSIDE_COUNT = 3 };

/* The input. */
static const uint8_t *at, *end;

/* What outlives an input. */
static struct {
	char folder[32], mountpoint[48];
	int files; /* of the store */
	relock_store *store;
	struct callers *callers;
	struct sights *sights;
	bool has_more_files; /* than those of names[] */
} world;

/* What the kernel knows. */
static struct kernel {
	struct server server;
	struct {
		uint64_t number;
		bool is_folder;
	} files[FILES_MAX];
	size_t file_count;
	struct {
		fuse_ino_t number;
		uint64_t lookups;
	} nodes[NODES_MAX];
	size_t node_count;
	relock_lock *outside[OUTSIDE_COUNT]; /* of the names "a", "b", "c" */
} kernel;

static const char *const names[] = {"a", "b", "c", "a", ".history", ""};

/* Reading the input */

static uint8_t next_byte(void)
{
	return at < end ? *at++ : 0;
}

static uint32_t next_number(void)
{
	uint32_t number = next_byte();

	number |= (uint32_t)next_byte() << 8;
	return number << (next_byte() % 17);
}

static bool next_coin(void)
{
	/* At the end of an input, errands are done. */
	return at >= end || next_byte() % 8 != 0;
}

static const char *next_name(void)
{
	static char name[300];
	uint8_t which = next_byte() % 8;

	if (which < sizeof names / sizeof *names)
		return names[which];
	world.has_more_files = true;
	size_t length = which == 6 ? 250 + next_byte() % 10 : next_byte() % 32;
	for (size_t i = 0; i < length; i++)
		name[i] = which == 6 ? 'n' : (char)next_byte();
	name[length] = '\0';
	return name;
}

/* The kernel invents no numbers; what nobody has is tried all the same, but not
 * the number of an open that it has not been told of. */
static uint64_t invented_file(void)
{
	uint64_t number = next_byte();

	for (size_t i = 0; i < kernel.file_count; i++)
		if (kernel.files[i].number == number)
			return number;
	return handle_of_id(&kernel.server.mount, number) ? 0 : number;
}

static uint64_t next_file(void)
{
	uint8_t which = next_byte();

	return which < 240 && kernel.file_count ? kernel.files[which % kernel.file_count].number
						: invented_file();
}

static fuse_ino_t next_node(void)
{
	uint8_t which = next_byte();

	return which < 240 && kernel.node_count ? kernel.nodes[which % kernel.node_count].number
						: next_byte();
}

/* Flags of open(2), and, of the request itself, whether a signal came first or
 * nobody takes the answer. */
static int next_flags(void)
{
	uint8_t bits = next_byte();

	return (bits & 3) | (bits & 4 ? O_EXCL : 0) | (bits & 8 ? O_NONBLOCK : 0) |
	       (bits & 16 ? O_TRUNC : 0) | (bits & 32 ? O_CREAT : 0);
}

static fuse_req_t next_request(enum request_kind kind)
{
	const pid_t threads[] = {getpid(), 0, 1, 4194304};
	const uid_t users[] = {0, 0, 1000, 65534};
	fuse_req_t request = fake_request(&kernel.server, kind);
	uint8_t who = next_byte();

	request->context.pid = threads[who % 4];
	request->context.uid = request->context.gid = users[who / 4 % 4];
	request->interrupted = (who & 0x70) == 0x10;
	request->gone = (who & 0x70) == 0x20;
	return request;
}

/* What the kernel makes of answers */

static void add_lookup(fuse_ino_t number)
{
	size_t i = 0;

	while (i < kernel.node_count && kernel.nodes[i].number != number)
		i++;
	EXPECT(i < NODES_MAX);
	if (i == kernel.node_count) {
		kernel.nodes[i].number = number;
		kernel.nodes[i].lookups = 0;
		kernel.node_count++;
	}
	kernel.nodes[i].lookups++;
}

static void add_file(uint64_t number, bool is_folder)
{
	for (size_t i = 0; i < kernel.file_count; i++)
		EXPECT(kernel.files[i].number != number);
	EXPECT(kernel.file_count < FILES_MAX);
	kernel.files[kernel.file_count].number = number;
	kernel.files[kernel.file_count].is_folder = is_folder;
	kernel.file_count++;
}

static void take_answer(fuse_req_t request)
{
	if (request->error)
		return;
	if (request->kind == REQUEST_LOOKUP || request->kind == REQUEST_CREATE)
		add_lookup(request->node);
	if (request->kind == REQUEST_CREATE || request->kind == REQUEST_OPEN)
		add_file(request->new_file, false);
	if (request->kind == REQUEST_OPENDIR)
		add_file(request->new_file, true);
}

static void take_answers(void)
{
	fuse_req_t request;

	while ((request = TAILQ_FIRST(&fake.answered))) {
		TAILQ_REMOVE(&fake.answered, request, in_list);
		take_answer(request);
		free(request);
	}
}

static bool has_room(void)
{
	return kernel.file_count + fake.waiting_count < FILES_MAX &&
	       kernel.node_count + fake.waiting_count < NODES_MAX;
}

/* The properties that hold between two requests */

static void check_entry(const struct mount *mount, const struct entry *entry, size_t *held,
			size_t *waiting)
{
	const struct handle *holder;
	const struct waiter *waiter;
	bool shared = true;
	size_t count = 0, waiters = 0;

	TAILQ_FOREACH(holder, &entry->holders, in_holders)
	{
		EXPECT(holder->entry == entry && holder->hold == HOLDS && holder->held->lock);
		shared = shared && holder->mode == RELOCK_SHARED;
		count++;
	}
	EXPECT(count <= 1 || shared);
	TAILQ_FOREACH(waiter, &entry->queue, in_queue)
	{
		EXPECT(waiter->queued && waiter->handle->entry == entry);
		waiters++;
	}
	EXPECT(waiters == entry->waiter_count);
	EXPECT(!entry->in_hand);
	EXPECT(waiters == 0 || count > 0 || entry->wait);
	/* Those who share do not wait for each other. */
	waiter = TAILQ_FIRST(&entry->queue);
	EXPECT(!waiter || entry->wait || !shared || waiter->mode == RELOCK_EXCLUSIVE);
	EXPECT(entry->lookups || entry->idle || entry->pins || !LIST_EMPTY(&entry->handles));
	*held += count;
	*waiting += waiters;
}

/* A hold outside the mount that is not broken. */
static void check_outside(const struct mount *mount, relock_lock *lock)
{
	const struct entry *entry = entry_find(mount, relock_lock_name(lock));
	const struct handle *holder = entry ? TAILQ_FIRST(&entry->holders) : NULL;
	uint64_t token;

	if (holder && relock_check(lock) == 0) {
		EXPECT(holder->mode == RELOCK_SHARED);
		EXPECT(relock_token(lock, &token) == -ENODATA); /* shared as well */
	}
}

static void check(void)
{
	const struct mount *mount = &kernel.server.mount;
	size_t held = 0, waiting = 0;

	for (const struct table_node *node = NULL;
	     (node = table_next(&mount->entries_by_id, node));)
		check_entry(mount, TABLE_OWNER(node, const struct entry, by_id), &held, &waiting);
	EXPECT(held == mount->held_count && waiting == mount->waiting_count);
	EXPECT(fake.waiting_count == waiting + fake.errand_count);
	for (size_t i = 0; i < OUTSIDE_COUNT; i++)
		check_outside(mount, kernel.outside[i]);
}

/* The requests */

static void send_lookup(void)
{
	fuse_req_t request = next_request(REQUEST_LOOKUP);

	operations.lookup(request, next_byte() == 255 ? 2 : ROOT_ID, next_name());
}

static void send_create(void)
{
	fuse_req_t request = next_request(REQUEST_CREATE);
	struct fuse_file_info info = {.flags = next_flags()};

	request->flags = info.flags;
	operations.create(request, next_byte() == 255 ? 2 : ROOT_ID, next_name(), 0644, &info);
}

static void send_open(void)
{
	fuse_req_t request = next_request(REQUEST_OPEN);
	struct fuse_file_info info = {.flags = next_flags()};

	request->flags = info.flags;
	operations.open(request, next_node(), &info);
}

/* One of the requests of an open(2): its error, or -1 if it waits. */
static int send_as(const struct fuse_req *model, enum request_kind kind, const char *name,
		   fuse_ino_t *node)
{
	fuse_req_t request = fake_request(&kernel.server, kind);
	struct fuse_file_info info = {.flags = model->flags};

	request->context = model->context;
	request->flags = model->flags;
	if (kind == REQUEST_LOOKUP)
		operations.lookup(request, ROOT_ID, name);
	else if (kind == REQUEST_CREATE)
		operations.create(request, ROOT_ID, name, 0644, &info);
	else
		operations.open(request, *node, &info);
	if (!request->answered)
		return -1;
	if (kind == REQUEST_LOOKUP)
		*node = request->node;
	int error = request->error;
	take_answers();
	return error;
}

/* open(2), as do_filp_open() has it: upon ESTALE it starts anew, once. */
static void open_by_name(void)
{
	const pid_t thread = next_byte() % 2 ? getpid() : 1;
	struct fuse_req model = {.flags = next_flags(), .context.pid = thread};
	char name[300];
	int error = ESTALE;

	snprintf(name, sizeof name, "%s", next_name());
	for (int attempt = 0; error == ESTALE; attempt++) {
		fuse_ino_t node = 0;
		EXPECT(attempt < 2);
		error = send_as(&model, REQUEST_LOOKUP, name, &node);
		/* In between, somebody else may be faster. */
		if (next_byte() % 4 == 1 && kernel.file_count) {
			uint64_t file = kernel.files[0].number;
			struct fuse_file_info info = {.fh = file};
			if (!kernel.files[0].is_folder && fake.waiting_count == 0) {
				operations.flock(fake_request(&kernel.server, REQUEST_OTHER), 0,
						 &info, LOCK_EX | LOCK_NB);
				take_answers();
			}
		}
		if (error == 0)
			error = send_as(&model, REQUEST_OPEN, name, &node);
		else if (error == ENOENT && model.flags & O_CREAT)
			error = send_as(&model, REQUEST_CREATE, name, &node);
	}
}

static void send_flock(void)
{
	const int modes[] = {LOCK_EX, LOCK_SH, LOCK_UN};
	fuse_req_t request = next_request(REQUEST_FLOCK);
	struct fuse_file_info info = {.fh = next_file()};
	uint8_t how = next_byte();

	request->file = info.fh;
	request->operation = modes[how % 3] | (how & 64 ? LOCK_NB : 0);
	operations.flock(request, next_node(), &info, request->operation);
}

static void send_write(void)
{
	static char bytes[8192];
	fuse_req_t request = next_request(REQUEST_OTHER);
	struct fuse_file_info info = {.fh = next_file()};
	size_t size = next_number() % sizeof bytes;

	memset(bytes, 'i', sizeof bytes);
	for (size_t i = 0; i < 8; i++)
		bytes[i] = (char)next_byte();
	operations.write(request, next_node(), bytes, size, (off_t)next_number(), &info);
}

static void send_read(void)
{
	fuse_req_t request = next_request(REQUEST_OTHER);
	struct fuse_file_info info = {.fh = next_file()};
	size_t size = next_number();

	operations.read(request, next_node(), size, (off_t)next_number(), &info);
}

static void send_getattr(void)
{
	operations.getattr(next_request(REQUEST_OTHER), next_node(), NULL);
}

static void send_setattr(void)
{
	fuse_req_t request = next_request(REQUEST_OTHER);
	struct fuse_file_info info = {.fh = next_file()};
	struct stat attributes = {.st_size = next_byte() % 4};
	int to_set = next_byte();

	operations.setattr(request, next_node(), &attributes, to_set,
			   next_byte() % 2 ? &info : NULL);
}

static void send_getxattr(void)
{
	static const char *const keys[] = {"pid", "info", "waiters", "token", "mode", "", "x"};
	fuse_req_t request = next_request(REQUEST_OTHER);
	uint8_t which = next_byte();
	size_t size = next_number();
	char name[320];

	snprintf(name, sizeof name, "user.relock.%s",
		 which < 128 ? keys[which % (sizeof keys / sizeof *keys)] : next_name());
	operations.getxattr(request, next_node(), which == 255 ? next_name() : name, size);
}

static void send_listxattr(void)
{
	fuse_req_t request = next_request(REQUEST_OTHER);
	size_t size = next_number();

	operations.listxattr(request, next_node(), size);
}

/* What is refused, whatever it says. */
static void send_refused(void)
{
	fuse_req_t request = next_request(REQUEST_OTHER);
	struct fuse_file_info info = {.fh = next_file()};
	fuse_ino_t node = next_node();

	switch (next_byte() % 9) {
	case 0:
		operations.setxattr(request, node, next_name(), "value", 5, 0);
		break;
	case 1:
		operations.removexattr(request, node, next_name());
		break;
	case 2:
		operations.mknod(request, node, next_name(), S_IFREG, 0);
		break;
	case 3:
		operations.mkdir(request, node, next_name(), 0755);
		break;
	case 4:
		operations.rmdir(request, node, next_name());
		break;
	case 5:
		operations.symlink(request, "target", node, next_name());
		break;
	case 6:
		operations.link(request, node, ROOT_ID, next_name());
		break;
	case 7:
		operations.rename(request, node, "a", ROOT_ID, next_name(), 0);
		break;
	default:
		operations.fallocate(request, node, 0, 0, 4096, &info);
		break;
	}
	EXPECT(request->answered && request->error != 0);
}

static void send_unlink(void)
{
	fuse_req_t request = next_request(REQUEST_OTHER);

	uint8_t way = next_byte();
	const char *name = next_name();
	struct mount_break what = {0};
	struct mount_look look = {.skip = way};

	/* The library and the command ask by ioctl(2). */
	snprintf(what.name, sizeof what.name, "%s", name);
	what.by_pid = way;
	what.by_uid = way;
	snprintf(look.name, sizeof look.name, "%s", name);
	if (way % 4 == 1)
		operations.ioctl(request, ROOT_ID, MOUNT_LOOK, NULL, NULL, 0, &look, sizeof look,
				 sizeof look);
	else if (way % 4 == 2)
		operations.ioctl(request, ROOT_ID, MOUNT_BREAK, NULL, NULL, 0, &what, sizeof what,
				 0);
	else
		operations.unlink(request, way == 255 ? 2 : ROOT_ID, name);
}

static void send_opendir(void)
{
	struct fuse_file_info info = {0};

	operations.opendir(next_request(REQUEST_OPENDIR), ROOT_ID, &info);
}

static void send_readdir(void)
{
	fuse_req_t request = next_request(REQUEST_OTHER);
	struct fuse_file_info info = {.fh = next_file()};
	size_t size = next_number() % 70000;

	operations.readdir(request, ROOT_ID, size, next_byte(), &info);
}

static void send_forget(void)
{
	fuse_req_t request = next_request(REQUEST_OTHER);
	uint8_t which = next_byte();

	request->gone = false;
	if (which >= 240 || !kernel.node_count) {
		operations.forget(request, 3 + next_byte() + (1ULL << 40), next_byte());
		return;
	}
	size_t i = which % kernel.node_count;
	struct fuse_forget_data one = {kernel.nodes[i].number,
				       1 + next_byte() % kernel.nodes[i].lookups};
	kernel.nodes[i].lookups -= one.nlookup;
	if (kernel.nodes[i].lookups == 0)
		kernel.nodes[i] = kernel.nodes[--kernel.node_count];
	if (which & 1)
		operations.forget_multi(request, 1, &one);
	else
		operations.forget(request, one.ino, one.nlookup);
}

static void interrupt(fuse_req_t request)
{
	bool waits = request->parked;

	fake_interrupt(request);
	EXPECT(!waits ||
	       (request->answered && (request->error == EINTR || request->error == ENOENT)));
}

static void send_interrupt(void)
{
	size_t skip = fake.waiting_count ? next_byte() % fake.waiting_count : 0;
	fuse_req_t request = TAILQ_FIRST(&fake.waiting);

	while (request && skip--)
		request = TAILQ_NEXT(request, in_list);
	if (request)
		interrupt(request);
}

static void send_poll(void)
{
	fuse_req_t request = next_request(REQUEST_OTHER);
	struct fuse_file_info info = {.fh = next_file()};

	operations.poll(request, next_node(), &info, next_byte() % 4 ? fake_pollhandle() : NULL);
}

/* The kernel does not close a file that a system call still uses. */
static bool is_in_use(uint64_t file)
{
	const struct fuse_req *waiting;

	TAILQ_FOREACH(waiting, &fake.waiting, in_list)
	if (waiting->kind == REQUEST_FLOCK && waiting->file == file)
		return true;
	return false;
}

static void release(fuse_req_t request, uint64_t file)
{
	struct fuse_file_info info = {.fh = file};
	bool is_folder = false;

	for (size_t i = 0; i < kernel.file_count; i++)
		if (kernel.files[i].number == file) {
			is_folder = kernel.files[i].is_folder;
			kernel.files[i] = kernel.files[--kernel.file_count];
			break;
		}
	request->gone = false;
	if (is_folder)
		operations.releasedir(request, ROOT_ID, &info);
	else
		operations.release(request, 0, &info);
	EXPECT(request->answered && request->error == 0);
	EXPECT(!handle_of_id(&kernel.server.mount, file));
}

static void send_release(void)
{
	uint64_t file = next_file();

	if (!is_in_use(file))
		release(next_request(REQUEST_RELEASE), file);
}

static void send_fsync(void)
{
	fuse_req_t request = next_request(REQUEST_OTHER);
	struct fuse_file_info info = {.fh = next_file()};

	operations.fsync(request, next_node(), 0, &info);
}

static void send_record_lock(void)
{
	fuse_req_t request = next_request(REQUEST_OTHER);
	struct fuse_file_info info = {.fh = next_file()};
	struct flock lock = {.l_type = (short)(next_byte() % 3)};

	if (next_byte() % 2)
		operations.getlk(request, next_node(), &info, &lock);
	else
		operations.setlk(request, next_node(), &info, &lock, next_byte() % 2);
}

static void do_errands(void)
{
	for (uint8_t count = next_byte() % 4; fake_errand() && count; count--)
		continue;
}

/* Somebody without the mount. */
static void act_outside(void)
{
	relock_lock *lock = kernel.outside[next_byte() % OUTSIDE_COUNT];
	struct relock_request request = RELOCK_REQUEST_INIT;
	uint8_t how = next_byte();

	request.timeout = 0;
	request.mode = how & 1 ? RELOCK_SHARED : RELOCK_EXCLUSIVE;
	if (how & 2)
		(void)relock_release(lock);
	else
		(void)relock_acquire(lock, &request);
}

/* As fusefs/loop.c, after a while. */
static void end_idle_names(void)
{
	struct mount *mount = &kernel.server.mount;
	struct entry *entry;

	while ((entry = TAILQ_FIRST(&mount->idle))) {
		entry_leave_idle(mount, entry);
		if (entry->lookups == 0)
			entry_settle(mount, entry);
	}
}

/* In this order they are numbered; to be added to at the end. */
static void (*const steps[])(void) = {
	send_lookup,    send_create,  send_open,    open_by_name,  send_flock,     send_write,
	send_read,      send_getattr, send_setattr, send_getxattr, send_listxattr, send_refused,
	send_unlink,    send_opendir, send_readdir, send_forget,   send_poll,      send_release,
	send_interrupt, send_fsync,   do_errands,   act_outside,   end_idle_names, send_record_lock,
};

/* From the first request to the last */

static void remove_files(void)
{
	DIR *folder = opendir(world.folder);

	EXPECT(folder);
	for (const struct dirent *file; (file = readdir(folder));)
		if (file->d_type == DT_REG)
			unlinkat(world.files, file->d_name, 0);
	closedir(folder);
}

static void end_world(void)
{
	callers_free(world.callers);
	sights_free(world.sights);
	relock_store_close(world.store);
	remove_files();
	close(world.files);
	rmdir(world.mountpoint);
	rmdir(world.folder);
}

static void begin_world(void)
{
	char url[64];

	if (world.store)
		return;
	strcpy(world.folder, "/tmp/relock-fuzz-XXXXXX");
	EXPECT(mkdtemp(world.folder));
	snprintf(world.mountpoint, sizeof world.mountpoint, "%s/.mount", world.folder);
	EXPECT(mkdir(world.mountpoint, 0700) == 0);
	snprintf(url, sizeof url, "ofd:%s", world.folder);
	world.files = open(world.folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
	world.callers = callers_new();
	world.sights = sights_new();
	EXPECT(world.files >= 0 && world.callers && world.sights);
	EXPECT(relock_store_open(&world.store, url) == 0);
	atexit(end_world);
}

static void begin(void)
{
	kernel = (struct kernel){0};
	fake.coin = next_coin;
	mount_init(&kernel.server.mount, world.store, world.mountpoint, NULL, &open_answers);
	EXPECT(state_begin(&kernel.server.mount) == 0);
	kernel.server.callers = world.callers;
	kernel.server.sights = world.sights;
	kernel.server.promises = promises_new(NULL);
	EXPECT(kernel.server.promises);
	for (size_t i = 0; i < OUTSIDE_COUNT; i++)
		EXPECT(relock_lock_open(&kernel.outside[i], world.store, names[i]) == 0);
}

/* Nobody has the lock in the store: then anybody can. */
static void check_all_free(void)
{
	struct relock_request request = RELOCK_REQUEST_INIT;

	request.timeout = 0;
	for (size_t i = 0; i < OUTSIDE_COUNT; i++) {
		(void)relock_release(kernel.outside[i]);
		EXPECT(relock_acquire(kernel.outside[i], &request) == 0);
		relock_lock_close(kernel.outside[i]);
	}
}

/* All programs end. */
static void close_all(void)
{
	while (fake_errand())
		continue;
	while (!TAILQ_EMPTY(&fake.waiting))
		interrupt(TAILQ_FIRST(&fake.waiting));
	take_answers();
	EXPECT(fake.waiting_count == 0);
	while (kernel.file_count)
		release(fake_request(&kernel.server, REQUEST_RELEASE), kernel.files[0].number);
	while (kernel.node_count) {
		kernel.node_count--;
		operations.forget(fake_request(&kernel.server, REQUEST_OTHER),
				  kernel.nodes[kernel.node_count].number,
				  kernel.nodes[kernel.node_count].lookups);
	}
	take_answers();
	end_idle_names();
	EXPECT(kernel.server.mount.entries_by_id.count == 0);
	EXPECT(kernel.server.mount.entries_by_name.count == 0);
	EXPECT(kernel.server.mount.handles.count == 0);
	EXPECT(kernel.server.listings.count == 0);
	EXPECT(fake.poll_count == 0);
}

/* The mount ends, and nobody closes anything. */
static void end_mount(void)
{
	grant_end(&kernel.server.mount);
	while (fake_errand())
		continue;
	take_answers();
	EXPECT(fake.waiting_count == 0 && kernel.server.mount.held_count == 0);
	for (const struct table_node *node = NULL;
	     (node = table_next(&kernel.server.mount.handles, node));) {
		struct handle *handle = TABLE_OWNER(node, struct handle, by_id);
		if (handle->poller)
			fuse_pollhandle_destroy(handle->poller->poll);
	}
}

void fuzz_operations(const uint8_t *bytes, size_t size)
{
	begin_world();
	begin();
	at = bytes;
	end = bytes + size;
	bool by_force = next_byte() & 1;
	for (int count = 0; at < end && count < STEPS_MAX && has_room(); count++) {
		steps[next_byte() % (sizeof steps / sizeof *steps)]();
		take_answers();
		while (fake_waits(&kernel.server.mount))
			take_answers();
		check();
	}
	at = end;
	if (by_force)
		end_mount();
	else
		close_all();
	EXPECT(kernel.server.parked.count == 0);
	table_free(&kernel.server.parked);
	list_end(&kernel.server);
	mount_end(&kernel.server.mount);
	check_all_free();
	promises_free(kernel.server.promises);
	/* A folder that grows makes each listing slower. */
	if (world.has_more_files)
		remove_files();
	world.has_more_files = false;
}
