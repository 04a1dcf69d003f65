/*
 * A file system that locks nothing: what relockfs is measured beside.
 *
 *	bench-null-fs [--calls FILE] MOUNTPOINT
 *
 * It gets the requests that relockfs gets and gives the answers that relockfs
 * gives, by the same loop and with the same mount options, but for reasons of
 * three lines: a name exists while it is open for writing or has been locked,
 * flock(2) succeeds, a text is always the same.  Opens of a name that exists
 * are parked, and answered in the order they came, one for each RELEASE; that
 * is what hand-over is measured beside.  It serves until it is unmounted.
 *
 * With --calls it makes, for each flock(2), the system calls on that file that a
 * recorded hold takes (lib/lock-file.c counts them), and the one that says who asks
 * (fusefs/callers.h), and nothing else: how near relockfs could come.
 *
 * Only one open of a name at a time is ever answered, so the node of a name is
 * its handle, too.  Nodes are never freed.
 */
#define FUSE_USE_VERSION 312

#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse_lowlevel.h>
#include <libgen.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

/* As long as the text of a held lock. */
static const char text[256] = "lock: none\n";

struct parked {
	STAILQ_ENTRY(parked) next;
	fuse_req_t request;
	struct fuse_file_info info;
};

struct node {
	SLIST_ENTRY(node) next;
	bool exists;
	unsigned lookers; /* descriptors that keep the name without holding it */
	STAILQ_HEAD(queue, parked) queue;
	char name[];
};

static SLIST_HEAD(list, node) nodes = SLIST_HEAD_INITIALIZER(nodes);

static struct node *node_of(fuse_ino_t id)
{
	return (struct node *)(uintptr_t)id; // NOLINT: the number was made of it
}

static struct node *node_named(const char *name)
{
	struct node *node;

	SLIST_FOREACH(node, &nodes, next)
	if (strcmp(node->name, name) == 0)
		return node;
	node = calloc(1, sizeof *node + strlen(name) + 1);
	if (!node)
		give_up(name, "no memory");
	STAILQ_INIT(&node->queue);
	strcpy(node->name, name);
	SLIST_INSERT_HEAD(&nodes, node, next);
	return node;
}

static struct fuse_entry_param entry_of(const struct node *node)
{
	return (struct fuse_entry_param){
		.ino = (uintptr_t)node,
		.generation = 1,
		.attr = {.st_ino = (uintptr_t)node,
			 .st_mode = S_IFREG | 0644,
			 .st_nlink = 1,
			 .st_blksize = 4096},
	};
}

static void init(void *argument, struct fuse_conn_info *connection)
{
	connection->max_background = 65535;
	connection->congestion_threshold = 65535;
	connection->want &= ~(unsigned)(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE |
					FUSE_CAP_SPLICE_MOVE | FUSE_CAP_WRITEBACK_CACHE);
	connection->want |= connection->capable & (unsigned)FUSE_CAP_ATOMIC_O_TRUNC;
}

static void lookup(fuse_req_t request, fuse_ino_t parent, const char *name)
{
	const struct node *node = node_named(name);
	struct fuse_entry_param answer = entry_of(node);

	if (node->exists || node->lookers)
		fuse_reply_entry(request, &answer);
	else
		fuse_reply_err(request, ENOENT);
}

static void forget(fuse_req_t request, fuse_ino_t id, uint64_t count)
{
	fuse_reply_none(request);
}

static void getattr(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info)
{
	struct stat root = {.st_ino = id, .st_mode = S_IFDIR | 0777, .st_nlink = 2};
	struct stat file = {
		.st_ino = id, .st_mode = S_IFREG | 0644, .st_nlink = 1, .st_size = sizeof text};

	fuse_reply_attr(request, id == FUSE_ROOT_ID ? &root : &file, 0);
}

static void describe(struct fuse_file_info *info)
{
	info->direct_io = 1;
	info->keep_cache = 0;
	/* Says at RELEASE whether the name goes with it. */
	info->fh = (info->flags & O_ACCMODE) != O_RDONLY;
}

static void create(fuse_req_t request, fuse_ino_t parent, const char *name, mode_t mode,
		   struct fuse_file_info *info)
{
	struct node *node = node_named(name);
	struct fuse_entry_param answer = entry_of(node);

	describe(info);
	if (info->fh)
		node->exists = true;
	else
		node->lookers++;
	fuse_reply_create(request, &answer, info);
}

static void open_node(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info)
{
	struct node *node = node_of(id);

	describe(info);
	if (!info->fh || !node->exists) {
		node->exists = node->exists || info->fh;
		node->lookers += !info->fh;
		fuse_reply_open(request, info);
		return;
	}
	struct parked *parked = malloc(sizeof *parked);
	if (!parked)
		give_up(node->name, "no memory");
	parked->request = request;
	parked->info = *info;
	STAILQ_INSERT_TAIL(&node->queue, parked, next);
}

static void release(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info)
{
	struct node *node = node_of(id);
	struct parked *next = info->fh ? STAILQ_FIRST(&node->queue) : NULL;

	if (next) {
		STAILQ_REMOVE_HEAD(&node->queue, next);
		fuse_reply_open(next->request, &next->info);
		free(next);
	} else if (info->fh) {
		node->exists = false;
	} else {
		node->lookers--;
	}
	fuse_reply_err(request, 0);
}

static void read_text(fuse_req_t request, fuse_ino_t id, size_t size, off_t offset,
		      struct fuse_file_info *info)
{
	if ((size_t)offset >= sizeof text)
		fuse_reply_buf(request, NULL, 0);
	else
		fuse_reply_buf(request, text + offset,
			       sizeof text - (size_t)offset < size ? sizeof text - (size_t)offset
								   : size);
}

/* What a hold is made with; fds are -1 without --calls. */
static int folder = -1, file = -1, caller = -1;

enum { RECORD_SIZE = 512, TOKEN_SIZE = 16, END_SIZE = 64, END_OFFSET = 448 };

static void expect(bool holds)
{
	if (!holds)
		give_up("a call of a hold", strerror(errno));
}

static void prepare(const char *path)
{
	static const char record[RECORD_SIZE];
	char *copy = strdup(path);

	file = open(path, O_RDWR | O_CREAT | O_NOATIME | O_CLOEXEC, 0666);
	folder = copy ? open(dirname(copy), O_PATH | O_DIRECTORY | O_CLOEXEC) : -1;
	expect(file >= 0 && folder >= 0 && pwrite(file, record, RECORD_SIZE, 0) == RECORD_SIZE);
	free(copy);
}

static void set_lock(short type)
{
	struct flock lock = {.l_type = type, .l_whence = SEEK_SET};

	expect(fcntl(file, F_OFD_SETLK, &lock) == 0);
}

static void hold(pid_t thread)
{
	static const char record[RECORD_SIZE];
	struct stat status;
	char token[TOKEN_SIZE], name[64];

	if (caller < 0) {
		snprintf(name, sizeof name, "/proc/%d/comm", (int)thread);
		caller = open(name, O_RDONLY | O_CLOEXEC);
	}
	expect(pread(caller, name, sizeof name, 0) > 0);
	set_lock(F_WRLCK);
	expect(fstat(folder, &status) == 0 && pread(file, token, TOKEN_SIZE, 0) == TOKEN_SIZE &&
	       pwrite(file, record, RECORD_SIZE, 0) == RECORD_SIZE);
}

static void end_hold(void)
{
	static const char end[END_SIZE];

	expect(pwrite(file, end, END_SIZE, END_OFFSET) == END_SIZE);
	set_lock(F_UNLCK);
	expect(fcntl(file, F_GETFL) >= 0);
}

static void lock(fuse_req_t request, fuse_ino_t id, struct fuse_file_info *info, int operation)
{
	if (file >= 0 && operation & LOCK_UN)
		end_hold();
	else if (file >= 0)
		hold(fuse_req_ctx(request)->pid);
	fuse_reply_err(request, 0);
}

static const struct fuse_lowlevel_ops operations = {
	.init = init,
	.lookup = lookup,
	.forget = forget,
	.getattr = getattr,
	.open = open_node,
	.create = create,
	.release = release,
	.read = read_text,
	.flock = lock,
};

/* As fusefs/loop.c. */
static void serve(struct fuse_session *session)
{
	struct pollfd device = {.fd = fuse_session_fd(session), .events = POLLIN};
	struct fuse_buf buffer = {0};

	fcntl(device.fd, F_SETFL, fcntl(device.fd, F_GETFL) | O_NONBLOCK);
	while (!fuse_session_exited(session)) {
		int result = fuse_session_receive_buf(session, &buffer);
		if (result > 0)
			fuse_session_process_buf(session, &buffer);
		else if (result == -EAGAIN)
			poll(&device, 1, -1);
		else if (result != -EINTR)
			break;
	}
	free(buffer.mem);
}

int main(int argc, char **argv)
{
	char *words[] = {argv[0], "-o", "allow_other,fsname=null,subtype=relockfs-null", NULL};
	struct fuse_args arguments = FUSE_ARGS_INIT(3, words);

	if (argc == 4 && strcmp(argv[1], "--calls") == 0)
		prepare(argv[2]);
	else if (argc != 2)
		give_up("usage", "bench-null-fs [--calls FILE] MOUNTPOINT");
	const char *mountpoint = argv[argc - 1];
	struct fuse_session *session =
		fuse_session_new(&arguments, &operations, sizeof operations, NULL);
	if (!session || fuse_session_mount(session, mountpoint) < 0)
		give_up(mountpoint, "not mounted");
	serve(session);
	fuse_session_unmount(session);
	fuse_session_destroy(session);
	fuse_opt_free_args(&arguments);
	return 0;
}
