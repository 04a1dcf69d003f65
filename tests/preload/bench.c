/* What the works have in common, and the turns; see bench.h. */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *bench_folder;

void bench_give_up(const char *what)
{
	fprintf(stderr, "preload-bench: %s: %s\n", what, strerror(errno));
	exit(1);
}

int bench_open(const char *name, unsigned number)
{
	char path[PATH_MAX];

	snprintf(path, sizeof path, "%s/%s-%u", bench_folder, name, number);
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0)
		bench_give_up(path);
	return fd;
}

void bench_lock(int fd)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, F_SETLK, &lock) < 0)
		bench_give_up("F_SETLK");
}

/* The two programs of a comparison are there at the same time. */
void bench_hold(unsigned files)
{
	char name[32];

	snprintf(name, sizeof name, "held-by-%d", (int)getpid());
	for (unsigned i = 0; i < files; i++)
		bench_lock(bench_open(name, i));
}

static const struct bench_work *find_work(const char *name)
{
	static const struct bench_work *const groups[] = {bench_locks, bench_descriptors,
							  bench_processes};

	for (size_t i = 0; i < sizeof groups / sizeof *groups; i++)
		for (const struct bench_work *work = groups[i]; work->name; work++)
			if (strcmp(work->name, name) == 0)
				return work;
	fprintf(stderr, "preload-bench: no work %s\n", name);
	exit(64);
}

int main(int argument_count, char **arguments)
{
	if (argument_count != 3) {
		fprintf(stderr, "usage: preload-bench WORK FOLDER\n");
		return 64;
	}
	bench_folder = arguments[2];
	const struct bench_work *work = find_work(arguments[1]);
	work->prepare();
	while (getchar() == '\n') {
		printf("%.1f\n", work->turn());
		fflush(stdout);
	}
	return 0;
}
