/*
 * relock probe: what this kernel, this C library and a file system can do.
 *
 * For those who port, pack struct flock in another language (the sizes and
 * offsets, as the seed lockmgr's flock_sizes prints them), or wonder why two
 * programs do not exclude each other (the live tests).
 *
 * Facts are gathered into one struct, and printed from it as text or JSON.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cleanup.h"
#include "command.h"
#include "exit-code.h"
#include "json.h"
#include "message.h"
#include "probe-locks.h"
#include "relock.h"

enum { SETTING_SIZE = 16 };

struct facts {
	struct utsname system;
	char *store, *why; /* NULL: there is no default store, see error */
	char *store_error;
	int pidfd_getfd;                      /* 0 or a negative errno */
	int fuse;                             /* of opening /dev/fuse */
	char ptrace_scope[SETTING_SIZE];      /* empty: no Yama */
	char protected_regular[SETTING_SIZE]; /* empty: an older kernel */
	char *folder;                         /* where locks were tried */
	char file_system[32];
	int trials_error;
	struct lock_trials trials;
};

struct member {
	const char *name;
	size_t offset, size;
	char python; /* the letter of Python's struct module, where it is sure */
};

#define MEMBER(name)                                                                               \
	{                                                                                          \
#name, offsetof(struct flock, name), sizeof(((struct flock *)0)->name), 0          \
	}

static const struct member members[] = {
	MEMBER(l_type), MEMBER(l_whence), MEMBER(l_start), MEMBER(l_len), MEMBER(l_pid),
};

enum { MEMBER_COUNT = sizeof members / sizeof members[0] };

/* The letters of Python's struct module, with the padding spelled out, as
 * native sizes and "=" (no alignment of its own) have it. */
static void python_format(char *text)
{
	size_t offset = 0;

	*text++ = '=';
	for (size_t i = 0; i < MEMBER_COUNT; i++) {
		for (; offset < members[i].offset; offset++)
			*text++ = 'x';
		*text++ = members[i].size == 2 ? 'h' : members[i].size == 4 ? 'i' : 'q';
		offset += members[i].size;
	}
	for (; offset < sizeof(struct flock); offset++)
		*text++ = 'x';
	*text = '\0';
}

enum { PYTHON_FORMAT_SIZE = sizeof(struct flock) + 2 };

static void read_setting(const char *path, char setting[static SETTING_SIZE])
{
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, setting, SETTING_SIZE - 1);

	setting[length < 0 ? 0 : length] = '\0';
	setting[strcspn(setting, "\n")] = '\0';
}

/* On oneself, which needs no rights, but the call and a sandbox's leave. */
static int try_pidfd_getfd(void)
{
	CLEANUP_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);

	if (pidfd < 0)
		return -errno;

	CLEANUP_CLOSE int copy = (int)syscall(SYS_pidfd_getfd, pidfd, pidfd, 0);

	return copy < 0 ? -errno : 0;
}

static int try_fuse(void)
{
	CLEANUP_CLOSE int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : 0;
}

static void name_file_system(const char *folder, char name[static 32])
{
	static const struct {
		unsigned long magic; /* statfs(2) */
		const char *name;
	} known[] = {
		{0x01021994, "tmpfs"},    {0xef53, "ext4"},          {0x58465342, "xfs"},
		{0x9123683e, "btrfs"},    {0x794c7630, "overlayfs"}, {0x6969, "nfs"},
		{0xff534d42, "cifs"},     {0xfe534d42, "smb2"},      {0x65735546, "fuse"},
		{0x01021997, "9p"},       {0x2fc12fc1, "zfs"},       {0xf2f52010, "f2fs"},
		{0xca451a4e, "bcachefs"}, {0x00c36400, "ceph"},      {0x858458f6, "ramfs"},
	};
	struct statfs file_system;

	if (statfs(folder, &file_system) < 0) {
		snprintf(name, 32, "unknown");
		return;
	}
	for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
		if (known[i].magic == (unsigned long)(unsigned)file_system.f_type) {
			snprintf(name, 32, "%s", known[i].name);
			return;
		}
	snprintf(name, 32, "type 0x%lx", (unsigned long)file_system.f_type);
}

/* A folder itself; of anything else, its folder, for nobody's file shall be
 * touched. */
static char *folder_of(const char *path)
{
	struct stat file;
	char *copy = need_text(strdup(path));

	if (stat(path, &file) == 0 && S_ISDIR(file.st_mode))
		return copy;

	char *folder = need_text(strdup(dirname(copy)));

	free(copy);
	return folder;
}

static void find_store(const struct invocation *invocation, struct facts *facts)
{
	if (invocation->store) {
		facts->store = printable(invocation->store);
		facts->why = need_text(strdup("--store was given"));
	} else if (relock_store_default(&facts->store, &facts->why) < 0) {
		facts->store = facts->why = NULL;
		facts->store_error = need_text(strdup(relock_error_message()));
	}
}

static void gather(const struct invocation *invocation, const char *path, struct facts *facts)
{
	uname(&facts->system);
	find_store(invocation, facts);
	facts->pidfd_getfd = try_pidfd_getfd();
	facts->fuse = try_fuse();
	read_setting("/proc/sys/kernel/yama/ptrace_scope", facts->ptrace_scope);
	read_setting("/proc/sys/fs/protected_regular", facts->protected_regular);

	/* Of a store, what follows its scheme, where that is a folder. */
	const char *rest = facts->store ? strchr(facts->store, ':') : NULL;

	if (path)
		facts->folder = folder_of(path);
	else
		facts->folder = need_text(
			strdup(rest && rest[1] == '/' && rest[2] != '/' ? rest + 1 : "/tmp"));
	name_file_system(facts->folder, facts->file_system);
	facts->trials_error = probe_locks(facts->folder, &facts->trials);
}

static void facts_cleanup(struct facts *facts)
{
	free(facts->store);
	free(facts->why);
	free(facts->store_error);
	free(facts->folder);
}

/* "granted", "refused", or the name of an errno. */
static const char *answer_text(int error)
{
	const char *name = strerrorname_np(-error);

	if (error == 0)
		return "granted";
	if (error == -EAGAIN)
		return "refused";
	return name ? name : "failed";
}

/* The remark is for those who do not know the numbers by heart. */
static const char *ptrace_scope_text(const char *setting)
{
	switch (*setting) {
	case '\0':
		return "no Yama: the same user may break a lock by force";
	case '0':
		return "the same user may break a lock by force";
	case '1':
		return "only a parent or root may break a lock by force";
	case '2':
		return "only root may break a lock by force";
	default:
		return "nobody may break a lock by force";
	}
}

static void print_text_trials(const struct facts *facts)
{
	CLEANUP_FREE char *folder = printable(facts->folder);

	printf("\nlocks tried in %s (%s)\n", folder, facts->file_system);
	if (facts->trials_error < 0) {
		printf("  no file can be made there: %s\n", strerror(-facts->trials_error));
		return;
	}
	printf("  %-12s asked for by another process              by a second open of\n",
	       "held by");
	printf("  %-12s ", "");
	for (enum lock_kind kind = 0; kind < LOCK_KIND_COUNT; kind++)
		printf("%-12s", lock_kind_name(kind));
	printf("  the same process\n");
	for (enum lock_kind held = 0; held < LOCK_KIND_COUNT; held++) {
		printf("  %-12s ", lock_kind_name(held));
		for (enum lock_kind asked = 0; asked < LOCK_KIND_COUNT; asked++)
			printf("%-12s", answer_text(facts->trials.other_process[held][asked]));
		printf("  %s\n", answer_text(facts->trials.second_open[held]));
	}
}

static void print_ability(const char *name, int error, const char *use)
{
	printf("  %-18s %s (%s)\n", name, error == 0 ? "yes" : answer_text(error), use);
}

static void print_text(const struct facts *facts)
{
	char python[PYTHON_FORMAT_SIZE];

	printf("system\n"
	       "  %-18s %s %s\n"
	       "  %-18s %s\n"
	       "  %-18s %s\n",
	       "kernel", facts->system.sysname, facts->system.release, "architecture",
	       facts->system.machine, "relock", relock_version());
	if (facts->store)
		printf("  %-18s %s (%s)\n", "store", facts->store, facts->why);
	else
		printf("  %-18s none: %s\n", "store", facts->store_error);

	printf("\nabilities\n");
	print_ability("pidfd_getfd", facts->pidfd_getfd, "to break locks: unget --force");
	print_ability("/dev/fuse", facts->fuse, "to mount locks: relock mount");
	printf("  %-18s %s (%s)\n", "yama.ptrace_scope",
	       *facts->ptrace_scope ? facts->ptrace_scope : "-",
	       ptrace_scope_text(facts->ptrace_scope));
	printf("  %-18s %s (%s)\n", "protected_regular",
	       *facts->protected_regular ? facts->protected_regular : "-",
	       "not 0: no O_CREAT on others' files in sticky folders");

	python_format(python);
	printf("\nstruct flock, %zu bytes\n", sizeof(struct flock));
	for (size_t i = 0; i < MEMBER_COUNT; i++)
		printf("  %-18s %zu bytes at %zu\n", members[i].name, members[i].size,
		       members[i].offset);
	printf("  %-18s %s\n", "Python's struct", python);
	print_text_trials(facts);
}

static void add_ability(struct json_object *object, const char *key, int error)
{
	json_add_bool(object, key, error == 0);
}

static void add_setting(struct json_object *object, const char *key, const char *setting)
{
	if (*setting)
		json_add_number(object, key, strtoul(setting, NULL, 10));
	else
		json_add_null(object, key);
}

static void add_trials(struct json_object *json, const struct facts *facts)
{
	struct json_object *trials = json_add_object(json, "locks");
	CLEANUP_FREE char *folder = printable(facts->folder);

	json_add_text(trials, "folder", folder);
	json_add_text(trials, "file-system", facts->file_system);
	if (facts->trials_error < 0) {
		json_add_text(trials, "error", strerror(-facts->trials_error));
		return;
	}

	struct json_object *others = json_add_object(trials, "another-process");

	for (enum lock_kind held = 0; held < LOCK_KIND_COUNT; held++) {
		struct json_object *row = json_add_object(others, lock_kind_name(held));

		for (enum lock_kind asked = 0; asked < LOCK_KIND_COUNT; asked++)
			json_add_text(row, lock_kind_name(asked),
				      answer_text(facts->trials.other_process[held][asked]));
	}

	struct json_object *second = json_add_object(trials, "second-open");

	for (enum lock_kind kind = 0; kind < LOCK_KIND_COUNT; kind++)
		json_add_text(second, lock_kind_name(kind),
			      answer_text(facts->trials.second_open[kind]));
}

static void add_struct_flock(struct json_object *json)
{
	struct json_object *flock = json_add_object(json, "struct-flock");
	char python[PYTHON_FORMAT_SIZE];

	json_add_number(flock, "size", sizeof(struct flock));
	for (size_t i = 0; i < MEMBER_COUNT; i++) {
		struct json_object *member = json_add_object(flock, members[i].name);

		json_add_number(member, "offset", members[i].offset);
		json_add_number(member, "size", members[i].size);
	}
	python_format(python);
	json_add_text(flock, "python", python);
}

static int print_json(const struct facts *facts)
{
	CLEANUP_JSON struct json_object *json = NULL;

	if (!json_load())
		return EX_UNAVAILABLE;
	json = json_new();

	struct json_object *system = json_add_object(json, "system");

	json_add_text(system, "kernel", facts->system.release);
	json_add_text(system, "architecture", facts->system.machine);
	json_add_text(system, "relock", relock_version());

	struct json_object *store = json_add_object(json, "store");

	if (facts->store) {
		json_add_text(store, "url", facts->store);
		json_add_text(store, "why", facts->why);
	} else {
		json_add_null(store, "url");
		json_add_text(store, "error", facts->store_error);
	}

	struct json_object *abilities = json_add_object(json, "abilities");

	add_ability(abilities, "pidfd_getfd", facts->pidfd_getfd);
	add_ability(abilities, "fuse", facts->fuse);
	add_setting(abilities, "yama.ptrace_scope", facts->ptrace_scope);
	add_setting(abilities, "protected_regular", facts->protected_regular);

	add_struct_flock(json);
	add_trials(json, facts);
	json_print(json);
	return 0;
}

static const struct option long_options[] = {
	COMMON_OPTIONS,
	{"json", no_argument, NULL, 'J'},
	{NULL, 0, NULL, 0},
};

static int probe_main(struct invocation *invocation, int argc, char **argv)
{
	CLEANUP(facts_cleanup) struct facts facts = {.store = NULL};
	bool as_json = false;
	int option, code = 0;

	while ((option = getopt_long(argc, argv, "Jh", long_options, NULL)) != -1)
		switch (option) {
		case 'J':
			as_json = true;
			break;
		default:
			if (!common_option(invocation, &command_probe, option, &code))
				return code;
		}
	if (argc - optind > 1)
		return usage_error(&command_probe, "only one file at a time");
	gather(invocation, argv[optind], &facts);
	if (as_json)
		return print_json(&facts);
	print_text(&facts);
	return 0;
}

const struct command command_probe = {
	.name = "probe",
	.summary = "show what this kernel and file system can do",
	.help = "relock probe [OPTION]... [FILE]\n"
		"\n"
		"Shows the default store and why, what this system allows, the layout of\n"
		"struct flock, and who excludes whom among F_SETLK, F_OFD_SETLK and flock:\n"
		"tried on a new file beside FILE, else in the store.\n"
		"\n"
		"  -J, --json       as JSON\n"
		"      --store URL  instead of the default store\n"
		"  -h, --help       this text\n",
	.run = probe_main,
};
