/*
 * Rows 10 and 11: execve and its family, with the program that comes after it.
 * The argument names the function, or what else is different.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "subject.h"

extern char **environ;

/* argv of the program that comes next: a case, with a descriptor's number. */
struct image {
	char *path;
	char *arguments[6];
	char number[16];
};

static void prepare(struct image *image, const char *path, const char *next, int fd)
{
	*image = (struct image){.path = (char *)path};
	snprintf(image->number, sizeof image->number, "%d", fd);
	char *arguments[] = {"subject", (char *)next, (char *)subject_file, (char *)subject_entry,
			     image->number};
	memcpy(image->arguments, arguments, sizeof arguments);
}

typedef int executing(struct image *image);

#define EACH(arguments)                                                                            \
	(arguments)[0], (arguments)[1], (arguments)[2], (arguments)[3], (arguments)[4]

static int by_execv(struct image *image)
{
	return execv(image->path, image->arguments);
}

static int by_execve(struct image *image)
{
	return execve(image->path, image->arguments, environ);
}

static int by_execl(struct image *image)
{
	return execl(image->path, EACH(image->arguments), (char *)NULL);
}

static int by_execle(struct image *image)
{
	return execle(image->path, EACH(image->arguments), (char *)NULL, environ);
}

/* The last part of the path, with PATH the rest of it. */
static const char *name_in_path(const struct image *image)
{
	static char folder[4096];

	snprintf(folder, sizeof folder, "%s", image->path);
	char *slash = strrchr(folder, '/');
	*slash = '\0';
	setenv("PATH", folder, 1);
	return slash + 1;
}

static int by_execvp(struct image *image)
{
	return execvp(name_in_path(image), image->arguments);
}

static int by_execvpe(struct image *image)
{
	return execvpe(name_in_path(image), image->arguments, environ);
}

static int by_execlp(struct image *image)
{
	return execlp(name_in_path(image), EACH(image->arguments), (char *)NULL);
}

static int by_fexecve(struct image *image)
{
	int program = open(image->path, O_PATH | O_CLOEXEC);

	return fexecve(program, image->arguments, environ);
}

static int by_execveat(struct image *image)
{
	return execveat(AT_FDCWD, image->path, image->arguments, environ, 0);
}

static int by_execve_syscall(struct image *image)
{
	return (int)syscall(SYS_execve, image->path, image->arguments, environ);
}

static int by_execveat_syscall(struct image *image)
{
	return (int)syscall(SYS_execveat, AT_FDCWD, image->path, image->arguments, environ, 0);
}

static int by_shell(struct image *image)
{
	return execl("/bin/sh", "sh", "-c", "exec \"$0\" \"$@\"", image->path, image->arguments[1],
		     image->arguments[2], image->arguments[3], image->arguments[4], (char *)NULL);
}

static void *execute_in_thread(void *image)
{
	by_execv(image);
	return NULL;
}

static int by_thread(struct image *image)
{
	pthread_t thread;

	pthread_create(&thread, NULL, execute_in_thread, image);
	pthread_join(thread, NULL);
	return -1;
}

static executing *find_executor(void)
{
	static const struct {
		const char *name;
		executing *function;
	} executors[] = {
		{"execv", by_execv},
		{"execve", by_execve},
		{"execl", by_execl},
		{"execle", by_execle},
		{"execvp", by_execvp},
		{"execvpe", by_execvpe},
		{"execlp", by_execlp},
		{"fexecve", by_fexecve},
		{"execveat", by_execveat},
		{"SYS_execve", by_execve_syscall},
		{"SYS_execveat", by_execveat_syscall},
		{"shell", by_shell},
		{"thread", by_thread},
	};

	for (size_t i = 0; i < sizeof executors / sizeof *executors; i++)
		if (strcmp(executors[i].name, subject_argument) == 0)
			return executors[i].function;
	give_up("no such function of the exec family");
}

static const char *own_path(void)
{
	static char path[4096];
	ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);

	if (length < 0)
		give_up("/proc/self/exe");
	path[length] = '\0';
	return path;
}

static void become(executing *by, const char *next, int fd)
{
	struct image image;

	prepare(&image, own_path(), next, fd);
	by(&image);
	give_up("exec");
}

static int locked_open(void)
{
	int fd = open_file(O_RDWR);

	if (set_lock(fd, F_WRLCK, 0, 10) < 0)
		give_up("no lock to begin with");
	return fd;
}

static void say_whether_own(int fd)
{
	struct flock question = {.l_type = F_WRLCK, .l_len = 10};

	record_lock(fd, F_GETLK, &question);
	say(question.l_type == F_UNLCK ? "own" : "other's");
}

static void exec(void)
{
	become(find_executor(), "image", locked_open());
}

/* It knows the lock as its own, can change it, and keeps and loses it as one
 * that it has made. */
static void image(void)
{
	int fd = atoi(subject_argument);

	say_map();
	say_whether_own(fd);
	say_result(set_lock(fd, F_UNLCK, 0, 5));
	say_map();
	close(open_file(O_RDONLY));
	say_map();
	close(fd);
	say_map();
}

static void exec_twice(void)
{
	become(by_execv, "image_that_executes", locked_open());
}

static void image_that_executes(void)
{
	become(by_execv, "image", atoi(subject_argument));
}

/* Failure: everything as before */

/* Descriptors of the file that a new program would get, besides `fd`. */
static int count_inheritable(int fd)
{
	struct stat wanted, seen;
	int count = 0;

	if (fstat(fd, &wanted) < 0)
		give_up("fstat");
	for (int number = 0; number < 1024; number++)
		if (number != fd && fstat(number, &seen) == 0 && seen.st_ino == wanted.st_ino &&
		    seen.st_dev == wanted.st_dev && !(fcntl(number, F_GETFD) & FD_CLOEXEC))
			count++;
	return count;
}

static int count_environment(void)
{
	int count = 0;

	while (environ[count])
		count++;
	return count;
}

static void say_failure(executing *by, const char *path)
{
	struct image image;
	int fd = locked_open();

	setenv("PATH", "/", 1);
	int before = count_environment();
	prepare(&image, path, "image", fd);
	say_result(by(&image));
	say_number(count_inheritable(fd));
	say(count_environment() == before ? "environment" : "?");
	say_whether_own(fd);
	close(open_file(O_RDONLY));
	say(outside_view(0, 10));
	close(fd);
	say(outside_view(0, 10));
}

static void exec_failing(void)
{
	say_failure(find_executor(), "/no/such/program");
}

/* What may not be executed, what is being written to, what is no program, and
 * no path at all. */
static void exec_refused(void)
{
	char path[] = "/tmp/relock-subject-XXXXXX";
	int program = mkstemp(path);

	say_failure(by_execv, subject_file);
	fchmod(program, 0755);
	say_failure(by_execv, path);
	close(program);
	say_failure(by_execv, path);
	unlink(path);
	say_failure(by_execve, NULL);
}

/* Row 11 */

static void exec_cloexec(void)
{
	bool at_open = strcmp(subject_argument, "O_CLOEXEC") == 0;
	int fd = open_file(at_open ? O_RDWR | O_CLOEXEC : O_RDWR);

	set_lock(fd, F_WRLCK, 0, 10);
	if (strcmp(subject_argument, "F_SETFD") == 0)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	else if (strcmp(subject_argument, "FIOCLEX") == 0)
		ioctl(fd, FIOCLEX);
	else if (strcmp(subject_argument, "CLOSE_RANGE_CLOEXEC") == 0)
		close_range((unsigned)fd, ~0U, CLOSE_RANGE_CLOEXEC);
	become(by_execv, "image_of_what_is_left", fd);
}

static void image_of_what_is_left(void)
{
	say_map();
	say_number(fcntl(atoi(subject_argument), F_GETFD));
	say_result(set_lock(open_file(O_RDWR), F_WRLCK, 20, 10));
}

/* It was close-on-exec and is not any more. */
static void exec_cloexec_undone(void)
{
	int fd = open_file(O_RDWR | O_CLOEXEC);

	set_lock(fd, F_WRLCK, 0, 10);
	fcntl(fd, F_SETFD, 0);
	become(by_execv, "image", fd);
}

/* One descriptor of the open goes, one stays. */
static void exec_one_duplicate(void)
{
	int fd = locked_open(), duplicate = fcntl(fd, F_DUPFD, 0);

	fcntl(fd, F_SETFD, FD_CLOEXEC);
	become(by_execv, "image", duplicate);
}

/* One open goes with its bytes, one stays with its own. */
static void exec_one_open(void)
{
	int a = open_file(O_RDWR | O_CLOEXEC), b = open_file(O_RDWR);

	set_lock(a, F_WRLCK, 0, 10);
	set_lock(b, F_WRLCK, 5, 5);
	become(by_execv, "image_of_one_open", b);
}

static void image_of_one_open(void)
{
	int fd = atoi(subject_argument);

	say_map();
	say_result(set_lock(fd, F_WRLCK, 0, 2));
	say_map();
	close(fd);
	say_map();
}

/* Two opens that stay, each with its bytes. */
static void exec_two_opens(void)
{
	int a = open_file(O_RDWR), b = open_file(O_RDWR);

	set_lock(a, F_WRLCK, 0, 10);
	set_lock(b, F_WRLCK, 5, 5);
	become(by_execv, "image_of_two_opens", a);
}

static void image_of_two_opens(void)
{
	int a = atoi(subject_argument);

	say_map();
	close(a + 1);
	say_map();
	close(a);
	say_map();
}

/* What stays was opened to read, and gives the next program no more. */
static void exec_with_less_access(void)
{
	int reading = open_file(O_RDONLY), writing = open_file(O_RDWR | O_CLOEXEC);

	set_lock(reading, F_RDLCK, 0, 5);
	set_lock(writing, F_WRLCK, 5, 5);
	become(by_execv, "image_with_less_access", reading);
}

static void image_with_less_access(void)
{
	struct stat wanted, seen;
	int fd = atoi(subject_argument), writable = 0;

	fstat(fd, &wanted);
	for (int number = 0; number < 1024; number++)
		writable += fstat(number, &seen) == 0 && seen.st_ino == wanted.st_ino &&
			    seen.st_dev == wanted.st_dev &&
			    (fcntl(number, F_GETFL) & O_ACCMODE) != O_RDONLY;
	say_number(writable);
	say_map();
	say_result(set_lock(fd, F_WRLCK, 0, 1));
	say_result(set_lock(fd, F_UNLCK, 0, 1));
	say_map();
}

/* Outside the shim: no function of it is there any more, the lock is. */
static void exec_unpreloaded(void)
{
	static char *nothing[] = {NULL};
	struct image image;

	prepare(&image, own_path(), "image_outside", locked_open());
	execve(image.path, image.arguments, nothing);
	give_up("exec");
}

static void exec_static(void)
{
	char path[4200];
	struct image image;

	snprintf(path, sizeof path, "%s", own_path());
	strcpy(strrchr(path, '/'), "/preload-outsider");
	prepare(&image, path, "image_outside", locked_open());
	execv(image.path, image.arguments);
	give_up(path);
}

static void image_outside(void)
{
	int fd = atoi(subject_argument);

	say(outside_view(0, 10));
	close(fd);
	say(outside_view(0, 10));
}

static void say_as_child(void *argument)
{
	int fd = *(int *)argument;

	say_whether_own(fd);
	say_result(set_lock(fd, F_WRLCK, 0, 10));
}

/* The children of the next program, forked and executed, own nothing of what
 * was handed over. */
static void exec_then_child(void)
{
	become(by_execv, "image_with_child", locked_open());
}

static void image_with_child(void)
{
	int fd = atoi(subject_argument);
	pid_t pid = start_child(say_as_child, &fd);

	waitpid(pid, NULL, 0);
	pid = fork();
	if (pid == 0)
		become(by_execv, "image_of_child", fd);
	waitpid(pid, NULL, 0);
	say_whether_own(fd);
	say(outside_view(0, 10));
}

static void image_of_child(void)
{
	int fd = atoi(subject_argument);

	say_as_child(&fd);
}

/* What the shim tells its successor is not for the program to see. */
static void exec_and_environment(void)
{
	become(by_execv, "image_environment", locked_open());
}

static void image_environment(void)
{
	for (char **entry = environ; *entry; entry++)
		if (strncmp(*entry, "RELOCK_", 7) == 0 &&
		    strncmp(*entry, "RELOCK_TEST_", 12) != 0 &&
		    strncmp(*entry, "RELOCK_SEMANTICS=", 17) != 0)
			say(*entry);
	say_number(count_inheritable(atoi(subject_argument)));
}

const struct subject_case subject_exec[] = {
	{"exec", exec},
	{"image", image},
	{"exec_twice", exec_twice},
	{"image_that_executes", image_that_executes},
	{"exec_failing", exec_failing},
	{"exec_refused", exec_refused},
	{"exec_cloexec", exec_cloexec},
	{"image_of_what_is_left", image_of_what_is_left},
	{"exec_cloexec_undone", exec_cloexec_undone},
	{"exec_one_duplicate", exec_one_duplicate},
	{"exec_one_open", exec_one_open},
	{"image_of_one_open", image_of_one_open},
	{"exec_two_opens", exec_two_opens},
	{"image_of_two_opens", image_of_two_opens},
	{"exec_with_less_access", exec_with_less_access},
	{"image_with_less_access", image_with_less_access},
	{"exec_unpreloaded", exec_unpreloaded},
	{"exec_static", exec_static},
	{"image_outside", image_outside},
	{"exec_then_child", exec_then_child},
	{"image_with_child", image_with_child},
	{"image_of_child", image_of_child},
	{"exec_and_environment", exec_and_environment},
	{"image_environment", image_environment},
	{0},
};
