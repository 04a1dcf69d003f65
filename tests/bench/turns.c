/*
 * Two programs that take turns at the same work.
 *
 *	bench-turns [--one-processor] [--text FILE] ROUNDS TURNS COMMAND... --- COMMAND...
 *
 * A round starts both anew, since where a process happens to lie in memory is
 * worth a percent or two for all its life.  In each turn both do a few
 * milliseconds of work, first the one, then the other, next time the other way
 * round: what else the machine does hits both, and a ratio of two neighbours
 * is steadier than a ratio of two medians.
 *
 * For each round it prints "first NUMBER" and "second NUMBER", medians of what
 * the turns cost, and "ratio NUMBER", the median of what a turn of the first
 * cost in turns of the second.
 *
 * A program does a turn when it reads an empty line, and answers with a line
 * that says what it cost.  With --text a turn is the text of that file, whatever
 * the program makes of it, and costs the microseconds of processor time that it
 * uses until it answers with a line.  With --one-processor both share one, as what wakes up
 *elsewhere finds other caches there.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <sched.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench.h"

extern char **environ;

/* What makes the caches warm is no turn that counts. */
enum { WARM_UP = 2 };

struct text {
	char *bytes; /* NULL: the program times itself */
	size_t size;
};

struct contestant {
	pid_t pid;
	clockid_t clock; /* its processor time */
	int in;
	FILE *out;
	double *costs;
};

static struct text read_text(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat status;

	if (fd < 0 || fstat(fd, &status) < 0)
		give_up(path, strerror(errno));
	struct text text = {.bytes = malloc((size_t)status.st_size),
			    .size = (size_t)status.st_size};
	if (!text.bytes || read(fd, text.bytes, text.size) != status.st_size)
		give_up(path, strerror(errno));
	close(fd);
	return text;
}

static void start(struct contestant *ret, char **command)
{
	int in[2], out[2];
	posix_spawn_file_actions_t actions;

	if (pipe2(in, O_CLOEXEC) < 0 || pipe2(out, O_CLOEXEC) < 0)
		give_up("pipe", strerror(errno));
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
	int error = posix_spawnp(&ret->pid, command[0], &actions, NULL, command, environ);
	posix_spawn_file_actions_destroy(&actions);
	if (error != 0)
		give_up(command[0], strerror(error));
	error = clock_getcpuclockid(ret->pid, &ret->clock);
	if (error != 0)
		give_up(command[0], strerror(error));
	close(in[0]);
	close(out[1]);
	ret->in = in[1];
	ret->out = fdopen(out[0], "r");
	if (!ret->out)
		give_up("fdopen", strerror(errno));
}

static void end(struct contestant *contestant)
{
	int status;

	close(contestant->in);
	fclose(contestant->out);
	while (waitpid(contestant->pid, &status, 0) < 0)
		if (errno != EINTR)
			give_up("waitpid", strerror(errno));
	if (status != 0)
		give_up("a program", "failed");
}

static double take_turn(struct contestant *contestant, const struct text *text)
{
	const char *bytes = text->bytes ? text->bytes : "\n";
	size_t size = text->bytes ? text->size : 1;
	char line[64];
	int64_t start = nanoseconds(contestant->clock);

	for (size_t written = 0; written < size;) {
		ssize_t more = write(contestant->in, bytes + written, size - written);
		if (more < 0)
			give_up("a program", strerror(errno));
		written += (size_t)more;
	}
	if (!fgets(line, sizeof line, contestant->out))
		give_up("a program", "ended before its turn");
	return text->bytes ? (double)(nanoseconds(contestant->clock) - start) / 1000
			   : strtod(line, NULL);
}

static int compare(const void *one, const void *other)
{
	const double *a = one, *b = other;

	return (*a > *b) - (*a < *b);
}

static double median(double *numbers, long count)
{
	qsort(numbers, (size_t)count, sizeof *numbers, compare);
	return count % 2 ? numbers[count / 2] : (numbers[count / 2 - 1] + numbers[count / 2]) / 2;
}

static void run_round(struct contestant *both, char ***commands, const struct text *text,
		      long turns, double *ratios)
{
	for (int i = 0; i < 2; i++)
		start(&both[i], commands[i]);
	for (long turn = -WARM_UP; turn < turns; turn++)
		for (int i = 0; i < 2; i++) {
			struct contestant *next = &both[(turn + i) & 1];
			double cost = take_turn(next, text);
			if (turn >= 0)
				next->costs[turn] = cost;
		}
	for (int i = 0; i < 2; i++)
		end(&both[i]);
	for (long turn = 0; turn < turns; turn++)
		ratios[turn] = both[0].costs[turn] / both[1].costs[turn];
	printf("first %.2f\n", median(both[0].costs, turns));
	printf("second %.2f\n", median(both[1].costs, turns));
	printf("ratio %.4f\n", median(ratios, turns));
}

/* The one that it happens to run on, so that a busy one can be left between
 * two rounds. */
static void stay_on_one_processor(const cpu_set_t *all)
{
	cpu_set_t one;

	sched_setaffinity(0, sizeof *all, all);
	CPU_ZERO(&one);
	CPU_SET((size_t)sched_getcpu(), &one);
	if (sched_setaffinity(0, sizeof one, &one) < 0)
		give_up("sched_setaffinity", strerror(errno));
}

int main(int argc, char **argv)
{
	static const char usage[] = "bench-turns [--one-processor] [--text FILE] ROUNDS TURNS "
				    "COMMAND... --- COMMAND...";
	static const struct option names[] = {
		{"one-processor", no_argument, NULL, 'o'},
		{"text", required_argument, NULL, 't'},
		{0},
	};
	struct contestant both[2] = {0};
	struct text text = {0};
	bool one_processor = false;
	cpu_set_t all;
	int option;

	while ((option = getopt_long(argc, argv, "+", names, NULL)) != -1) {
		if (option == 'o')
			one_processor = true;
		else if (option == 't')
			text = read_text(optarg);
		else
			give_up("usage", usage);
	}
	if (argc - optind < 5)
		give_up("usage", usage);
	long rounds = count_of(argv[optind]), turns = count_of(argv[optind + 1]);
	char **commands[2] = {argv + optind + 2, argv + optind + 2};
	while (*commands[1] && strcmp(*commands[1], "---") != 0)
		commands[1]++;
	if (!*commands[1] || !commands[1][1])
		give_up("usage", usage);
	*commands[1]++ = NULL;

	double *ratios = calloc((size_t)turns, sizeof *ratios);
	for (int i = 0; i < 2; i++)
		both[i].costs = calloc((size_t)turns, sizeof *both[i].costs);
	if (!ratios || !both[0].costs || !both[1].costs)
		give_up("turns", strerror(ENOMEM));
	sched_getaffinity(0, sizeof all, &all);
	for (long round = 0; round < rounds; round++) {
		if (one_processor)
			stay_on_one_processor(&all);
		run_round(both, commands, &text, turns, ratios);
	}
	free(ratios);
	free(both[0].costs);
	free(both[1].costs);
	free(text.bytes);
	return 0;
}
