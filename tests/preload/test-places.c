/*
 * Where a file is and what it is: file systems of all kinds, devices, files
 * that have gone, that only root may open, that cannot be named any more.  And
 * the process itself: access modes, no memory, many locks.
 *
 * Where the file cannot be opened again, `process` does as `ofd` does.
 *
 * The mounts are in a namespace of the test's own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "rows.h"

/* Two opens lock; a third is closed; one of the two; the other. */
#define LOST            "ok write ok free ok free free free free"
#define BY_PROCESS      "ok write ok write ok free free write free"
#define BY_OPEN         "ok write EAGAIN write ok free write write free"
#define READ_LOST       "ok read ok free ok free free free free"
#define READ_BY_PROCESS "ok read ok read ok free free read free"
#define READ_BY_OPEN    "ok read ok read ok free read read free"

static char place[128], file_there[PATH_MAX];

static const char *path_there(const char *name)
{
	snprintf(file_there, sizeof file_there, "%s/%s", place, name);
	return file_there;
}

static void create(const char *path)
{
	int fd = open(path, O_CREAT | O_RDWR | O_CLOEXEC, 0666);

	if (fd < 0)
		fail_msg("%s: %s", path, strerror(errno));
	close(fd);
}

/* A tmpfs, for the others to be on: an overlay cannot be on every file system. */
static int mount_place(void **state)
{
	(void)state;
	if (geteuid() != 0)
		return 0;
	snprintf(place, sizeof place, "%s/place", test_folder);
	if (mkdir(place, 0755) < 0 || mount("relock-test", place, "tmpfs", 0, NULL) < 0)
		return -1;
	create(path_there("file"));
	return 0;
}

static int unmount_place(void **state)
{
	(void)state;
	if (geteuid() != 0)
		return 0;
	return umount2(place, MNT_DETACH) < 0 ? -1 : rmdir(place);
}

static void needs_root(void)
{
	if (geteuid() != 0) {
		print_message("needs root\n");
		skip();
	}
}

static void on_tmpfs(void **state)
{
	(void)state;
	needs_root();
	check_columns("life", NULL, path_there("file"), "fcntl",
		      &(struct columns){LOST, BY_PROCESS, BY_OPEN});
}

static void on_read_only_mount(void **state)
{
	(void)state;
	needs_root();
	assert_int_equal(mount(NULL, place, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	check_columns("life_of_reader", NULL, path_there("file"), "fcntl",
		      &(struct columns){READ_LOST, READ_BY_PROCESS, READ_BY_OPEN});
}

static void mount_overlay(void)
{
	static const char *const folders[] = {"lower", "upper", "work", "merged"};
	char options[512];

	for (size_t i = 0; i < sizeof folders / sizeof *folders; i++)
		assert_int_equal(mkdir(path_there(folders[i]), 0755), 0);
	create(path_there("lower/file"));
	snprintf(options, sizeof options, "lowerdir=%s/lower,upperdir=%s/upper,workdir=%s/work",
		 place, place, place);
	if (mount("relock-test", path_there("merged"), "overlay", 0, options) < 0)
		fail_msg("no overlay: %s", strerror(errno));
}

/* A reader's locks copy nothing up; a writer's open has done it before. */
static void on_overlay(void **state)
{
	(void)state;
	needs_root();
	mount_overlay();
	check_columns("life_of_reader", NULL, path_there("merged/file"), "fcntl",
		      &(struct columns){READ_LOST, READ_BY_PROCESS, READ_BY_OPEN});
	assert_int_equal(access(path_there("upper/file"), F_OK), -1);
	check_columns("life", NULL, path_there("merged/file"), "fcntl",
		      &(struct columns){LOST, BY_PROCESS, BY_OPEN});
	assert_int_equal(access(path_there("upper/file"), F_OK), 0);
	assert_int_equal(umount2(path_there("merged"), MNT_DETACH), 0);
}

/* One that begins with the reader, before anything was copied up. */
static void on_overlay_from_read_to_write(void **state)
{
	static const struct columns each[] = {
		{.native = "ok ok wwwwwwwwww- ok rrrrrrrrrr- ----------- -----------"},
		{.process = "ok ok wwwwwwwwww- ok rrrrrrrrrr- rrrrrrrrrr- -----------"},
		{.ofd = "ok EAGAIN rrrrrrrrrr- ok rrrrrrrrrr- rrrrrrrrrr- -----------"},
	};

	(void)state;
	needs_root();
	for (size_t i = 0; i < sizeof each / sizeof *each; i++) {
		mount_overlay();
		check_columns("upgrade_of_reader", NULL, path_there("merged/file"), "fcntl",
			      &each[i]);
		assert_int_equal(umount2(path_there("merged"), MNT_DETACH), 0);
		unmount_place(state);
		mount_place(state);
	}
}

static void of_other_kinds(void **state)
{
	(void)state;
	needs_root();
	assert_int_equal(mknod(path_there("null"), S_IFCHR | 0666, makedev(1, 3)), 0);
	check_columns("life", NULL, file_there, "fcntl", &(struct columns){LOST, BY_OPEN, BY_OPEN});
	assert_int_equal(mkfifo(path_there("fifo"), 0666), 0);
	check_columns("life", NULL, file_there, "fcntl", &(struct columns){LOST, BY_OPEN, BY_OPEN});
}

static int unshare_mounts(void **state)
{
	if (geteuid() == 0 &&
	    (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0))
		return -1;
	return make_folder(state);
}

/* clang-format off */
static const struct CMUnitTest tests[] = {
	cmocka_unit_test_setup_teardown(on_tmpfs, mount_place, unmount_place),
	cmocka_unit_test_setup_teardown(on_read_only_mount, mount_place, unmount_place),
	cmocka_unit_test_setup_teardown(on_overlay, mount_place, unmount_place),
	cmocka_unit_test_setup_teardown(on_overlay_from_read_to_write, mount_place, unmount_place),
	cmocka_unit_test_setup_teardown(of_other_kinds, mount_place, unmount_place),
	SAME("01", "other_kinds", FCNTL, "ok ok ok ok ok ok ok ok ok ok ok ok"),
	ROW("04", "life", ANY, LOST, BY_PROCESS, BY_OPEN),
	ROW("04", "life_of_reader", ANY_FCNTL, READ_LOST, READ_BY_PROCESS, READ_BY_OPEN),
	ROW("04", "life_deleted", FCNTL, LOST, BY_PROCESS, BY_OPEN),
	ROW("04", "life_in_memory", FCNTL, LOST, BY_PROCESS, BY_OPEN),
	ROW("04", "life_without_proc", FCNTL, LOST, BY_OPEN, BY_OPEN),
	ROW("04", "life_without_proc_any_more", FCNTL, LOST, BY_PROCESS, BY_OPEN),
	ROW("04", "life_without_privileges", FCNTL, LOST, BY_OPEN, BY_OPEN),
	ROW("04", "life_without_privileges_any_more", FCNTL, LOST, BY_PROCESS, BY_OPEN),
	ROW("04", "life_with_less_privileges", FCNTL, "ok ok read write free free free free",
	    "ok ok read write read read free free", "ok ok read write read read free free"),
	/* What cannot be written down is left as the program made it. */
	ROW("04", "no_memory", FCNTL, LOST, LOST, BY_OPEN),
	ROW("07", "access_modes", FCNTL,
	    "ok rrrr------- EBADF EBADF ok rrrrww----- ok ok rrrrwwwwww- ok ok rwrrwwwwww- "
	    "ok free ----------- ----------- ok rrrrrrrrrrr -----------",
	    "ok rrrr------- EBADF EBADF ok rrrrww----- ok ok rrrrwwwwww- ok ok rwrrwwwwww- "
	    "ok free --rrww--ww- --rr----ww- ok rrrrrrrrrrr -----------",
	    "ok rrrr------- EBADF EBADF ok rrrrww----- ok ok rrrrwwwwww- EAGAIN ok rrrrwwwwww- "
	    "ok held rrrrww--ww- rrrr----ww- EAGAIN rrrr----ww- -----------"),
	ROW("07", "upgrade_of_reader", FCNTL,
	    "ok ok wwwwwwwwww- ok rrrrrrrrrr- ----------- -----------",
	    "ok ok wwwwwwwwww- ok rrrrrrrrrr- rrrrrrrrrr- -----------",
	    "ok EAGAIN rrrrrrrrrr- ok rrrrrrrrrr- rrrrrrrrrr- -----------"),
	ROW("07", "downgrade_of_writer", FCNTL,
	    "ok ok wwwwwrrrrr- EBADF ok free ----------- -----------",
	    "ok ok wwwwwrrrrr- EBADF ok free wwwww------ -----------",
	    "ok EAGAIN wwwwwwwwww- EBADF ok held wwwwwwwwww- -----------"),
	SAME("01", "many_files", FCNTL, "0 200 0 100"),
	ROW("05", "many_ranges", FCNTL, "0 500 ok 400 0 0", "0 500 ok 400 200 0",
	    "0 500 ok 450 250 0"),
	SAME("01", "errno_is_kept", ANY, "kept"),
};
/* clang-format on */

int main(void)
{
	return cmocka_run_group_tests_name("places", tests, unshare_mounts, remove_folder);
}
