#include "ask-mounts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cleanup.h"
#include "courier.h"
#include "message.h"
#include "mount-table.h"

/* A daemon answers in well under a millisecond, unless it looks through /proc for
 * heirs, to which it gives half a second. */
#define PATIENCE (2 * RELOCK_SECOND)

enum {
	PAGES_MOST = 256, /* 131,072 waiters */
	TRIES_MOST = 5,   /* to read pages of one moment */
};

struct questions {
	const struct mounted *mount;
	const char *store;
	const char *const *names;
	size_t count;
};

/* What the child says before the pages. */
struct heading {
	size_t name, page_count;
};

/* In the child */

static bool is_same_folder(const char *left, const char *right)
{
	struct stat a, b;

	return strcmp(left, right) == 0 || (stat(left, &a) == 0 && stat(right, &b) == 0 &&
					    a.st_dev == b.st_dev && a.st_ino == b.st_ino);
}

/* Two URLs of one store, in whatever way its folder is named. */
static bool is_same_store(const char *left, const char *right)
{
	size_t scheme = strcspn(left, ":") + 1;

	return strncmp(left, right, scheme) == 0 && is_same_folder(left + scheme, right + scheme);
}

/* Nothing in it leads out of it. */
static bool make_sane(struct mount_look *page)
{
	size_t heirs = 0;

	if (page->holder_count > MOUNT_LOOK_HOLDERS || page->waiter_count > MOUNT_LOOK_WAITERS)
		return false;
	for (uint32_t i = 0; i < page->holder_count; i++) {
		struct mount_look_holder *holder = &page->holders[i];

		if (holder->heir_count > MOUNT_LOOK_HEIRS || holder->presence > RELOCK_HANDED_ON ||
		    holder->mode > RELOCK_SHARED)
			return false;
		heirs += holder->heir_count;
		holder->command[sizeof holder->command - 1] = '\0';
	}
	for (size_t i = 0; i < MOUNT_LOOK_HEIRS; i++)
		page->heirs[i].command[sizeof page->heirs[i].command - 1] = '\0';
	return heirs <= MOUNT_LOOK_HEIRS;
}

static bool ask_page(int mount, const char *name, size_t skip, struct mount_look *page)
{
	memset(page, 0, sizeof *page);
	snprintf(page->name, sizeof page->name, "%s", name);
	page->skip = (uint32_t)skip;
	return ioctl(mount, MOUNT_LOOK, page) == 0 && make_sane(page);
}

/* How many there are; 0: it knows nothing of that lock. */
static size_t ask_pages(int mount, const char *name, struct mount_look *pages)
{
	size_t count = 0, told = 0;

	for (int tries = 0; count < PAGES_MOST;) {
		struct mount_look *page = &pages[count];

		if (!ask_page(mount, name, told, page))
			return count;
		if (page->changes != pages[0].changes && ++tries < TRIES_MOST) {
			count = told = 0;
			continue;
		}
		count++;
		told += page->waiter_count;
		if (page->waiter_count == 0 || told >= page->queue_length)
			break;
	}
	return count;
}

static void ask(int out, void *argument)
{
	const struct questions *questions = argument;
	struct mount_look *pages = calloc(PAGES_MOST, sizeof *pages);

	if (!pages || !is_same_store(questions->mount->source, questions->store))
		return;

	int mount = open(questions->mount->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; mount >= 0 && i < questions->count; i++) {
		struct heading heading = {i, ask_pages(mount, questions->names[i], pages)};

		if (heading.page_count == 0)
			continue;
		courier_tell(out, &heading, sizeof heading);
		courier_tell(out, pages, heading.page_count * sizeof *pages);
	}
}

/* In the command */

static bool is_of_our_pids(const struct mount_look *look)
{
	struct stat status;

	return stat("/proc/self/ns/pid", &status) == 0 && status.st_ino == look->pid_namespace;
}

/* Who mounted it is the kernel's word.  What a process of theirs holds or waits for
 * is theirs to hide. */
static bool is_owners(const struct mounted *mount, pid_t pid)
{
	struct stat status;
	char path[32];

	snprintf(path, sizeof path, "/proc/%d", (int)pid);
	return stat(path, &status) == 0 && status.st_uid == mount->owner;
}

/* Daemons that have answered. */
struct daemon {
	uint64_t pid_namespace;
	int32_t keeper;
	bool in_sight;
};

struct seen_daemons {
	size_t count;
	struct daemon daemons[64];
};

static struct daemon daemon_of(const struct mounted *mount, const struct mount_look *look)
{
	return (struct daemon){
		.pid_namespace = look->pid_namespace,
		.keeper = look->keeper,
		.in_sight = is_of_our_pids(look) && is_owners(mount, look->server) &&
			    is_owners(mount, look->keeper),
	};
}

static bool is_seen(const struct seen_daemons *seen, const struct daemon *daemon)
{
	for (size_t i = 0; i < seen->count; i++)
		if (seen->daemons[i].keeper == daemon->keeper &&
		    seen->daemons[i].pid_namespace == daemon->pid_namespace &&
		    seen->daemons[i].in_sight == daemon->in_sight)
			return true;
	return false;
}

static char **silent_folders;
static size_t silent_count;

static bool is_silent(const char *folder)
{
	for (size_t i = 0; i < silent_count; i++)
		if (strcmp(silent_folders[i], folder) == 0)
			return true;
	return false;
}

static void note_silent(const char *folder)
{
	CLEANUP_FREE char *text = printable(folder);
	char **larger = reallocarray(silent_folders, silent_count + 1, sizeof *larger);

	if (!larger)
		out_of_memory();
	silent_folders = larger;
	silent_folders[silent_count++] = need_text(strdup(folder));
	complain("%s: the mount does not answer: who waits there, and who has inherited a lock, "
		 "is not shown; see `relock mount --status %s`",
		 text, text);
}

/* 0 at the end, -ETIMEDOUT. */
static int hear(struct courier *courier, const struct questions *questions,
		const struct seen_daemons *seen, mount_told *told, void *argument,
		struct daemon *daemon)
{
	CLEANUP_FREE struct mount_look *pages = calloc(PAGES_MOST, sizeof *pages);
	struct heading heading;
	int error;

	if (!pages)
		out_of_memory();
	while ((error = courier_hear(courier, &heading, sizeof heading, PATIENCE)) == 0) {
		error = courier_hear(courier, pages, heading.page_count * sizeof *pages, PATIENCE);
		if (error < 0)
			break;
		*daemon = daemon_of(questions->mount, &pages[0]);
		if (!is_seen(seen, daemon))
			told(heading.name, pages, heading.page_count, questions->mount->folder,
			     daemon->in_sight, argument);
	}
	return error == -ETIMEDOUT ? error : 0;
}

static void ask_mount(const struct questions *questions, struct seen_daemons *seen,
		      mount_told *told, void *argument)
{
	struct courier courier;
	struct daemon daemon = {0};

	if (is_silent(questions->mount->folder) ||
	    courier_send(&courier, ask, (void *)questions) < 0)
		return;

	int error = hear(&courier, questions, seen, told, argument, &daemon);

	courier_end(&courier);
	if (error < 0)
		note_silent(questions->mount->folder);
	if (daemon.keeper != 0 && seen->count < sizeof seen->daemons / sizeof seen->daemons[0])
		seen->daemons[seen->count++] = daemon;
}

void ask_mounts(const char *store, const char *const names[], size_t count, mount_told *told,
		void *argument)
{
	struct seen_daemons seen = {0};
	struct mounted *mounts = NULL;
	size_t mount_count = count > 0 ? mount_table_list(&mounts) : 0;

	for (size_t i = 0; i < mount_count; i++) {
		const struct questions questions = {&mounts[i], store, names, count};

		ask_mount(&questions, &seen, told, argument);
	}
	mount_table_free_list(mounts, mount_count);
}
