/*
 * The differential tester: plays random plans natively and under the shim, and
 * holds each step against what the contract says of it.
 *
 *	preload-differential --mode native|shim|mixed [OPTIONS]
 *
 * A plan is some hundred lock calls and calls that make, duplicate and close
 * descriptors, by several processes with several threads each, on a few files
 * (differential-plan.h).  Players carry it out (differential-player.c), one
 * step at a time, so that there is one right answer to each, which the model
 * knows (differential-model.h).  A difference is printed with its seed and
 * shrunk to the few steps that make it.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "differential-shrink.h"

enum { SHRINKING_SECONDS = 60 };

struct options {
	struct settings settings;
	uint64_t seed;
	int64_t seconds;
	const char *only;
	const char *player, *shim, *semantics;
};

static const char *const mode_names[] = {"native", "shim", "mixed"};
enum { MODES = sizeof mode_names / sizeof *mode_names };

static void __attribute__((noreturn)) usage(FILE *to, int status)
{
	fputs("usage: preload-differential [OPTIONS]\n"
	      "\n"
	      "  --mode MODE        native, shim, or mixed: some programs under the shim and\n"
	      "                     some not (default: shim)\n"
	      "  --seconds N        plan after plan for so long (default: one plan)\n"
	      "  --seed N           of the first plan; else RELOCK_TEST_SEED, else a random\n"
	      "                     one, which is printed\n"
	      "  --steps N          of each plan, 1 to 1000 (default: 200)\n"
	      "  --only LIST        only these steps of the plan: 3,17,20-24\n"
	      "  --verbose          prints each step\n"
	      "  --semantics NAME   RELOCK_SEMANTICS of the shim (default: process)\n"
	      "  --wrong-model      expects what the other kind of locks does: to see that\n"
	      "                     a difference is found\n"
	      "  --shim PATH        default: RELOCK_TEST_SHIM\n"
	      "  --player PATH      default: RELOCK_TEST_PLAYER\n"
	      "\n"
	      "Exit status: 0 no difference, 1 a difference, 2 used wrongly\n",
	      to);
	exit(status);
}

static uint64_t number_of(const char *text, uint64_t max)
{
	char *end;

	errno = 0;
	uint64_t number = strtoull(text, &end, 0);
	if (errno == 0 && *text >= '0' && *text <= '9' && *end == '\0' && number <= max)
		return number;
	fprintf(stderr, "preload-differential: %s: not a number up to %" PRIu64 "\n", text, max);
	usage(stderr, 2);
}

static enum mode mode_of(const char *name)
{
	for (int i = 0; i < MODES; i++)
		if (strcmp(name, mode_names[i]) == 0)
			return (enum mode)i;
	fprintf(stderr, "preload-differential: %s: no such mode\n", name);
	usage(stderr, 2);
}

static uint64_t any_seed(void)
{
	const char *given = getenv("RELOCK_TEST_SEED");
	uint32_t seed;

	if (given && *given)
		return number_of(given, UINT64_MAX);
	return getrandom(&seed, sizeof seed, 0) == sizeof seed ? seed : (uint64_t)time(NULL);
}

static void parse(int argc, char **argv, struct options *ret)
{
	static const struct option names[] = {
		{"mode", required_argument, NULL, 'm'},
		{"seconds", required_argument, NULL, 't'},
		{"seed", required_argument, NULL, 'S'},
		{"steps", required_argument, NULL, 'n'},
		{"only", required_argument, NULL, 'o'},
		{"verbose", no_argument, NULL, 'v'},
		{"semantics", required_argument, NULL, 's'},
		{"wrong-model", no_argument, NULL, 'w'},
		{"shim", required_argument, NULL, 'L'},
		{"player", required_argument, NULL, 'P'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int option;

	*ret = (struct options){
		.settings = {.mode = MODE_SHIM, .steps = 200},
		.semantics = "process",
		.shim = getenv("RELOCK_TEST_SHIM"),
		.player = getenv("RELOCK_TEST_PLAYER"),
	};
	ret->seed = any_seed();
	while ((option = getopt_long(argc, argv, "h", names, NULL)) != -1) {
		switch (option) {
		case 'm':
			ret->settings.mode = mode_of(optarg);
			break;
		case 't':
			ret->seconds = (int64_t)number_of(optarg, 1000000);
			break;
		case 'S':
			ret->seed = number_of(optarg, UINT64_MAX);
			break;
		case 'n':
			ret->settings.steps = (size_t)number_of(optarg, STEPS_MAX);
			break;
		case 'o':
			ret->only = optarg;
			break;
		case 'v':
			ret->settings.is_verbose = true;
			break;
		case 's':
			ret->semantics = optarg;
			break;
		case 'w':
			ret->settings.has_wrong_model = true;
			break;
		case 'L':
			ret->shim = optarg;
			break;
		case 'P':
			ret->player = optarg;
			break;
		case 'h':
			usage(stdout, 0);
		default:
			usage(stderr, 2);
		}
	}
	if (optind < argc || !ret->player || !ret->shim)
		usage(stderr, 2);
}

/* --only */

static void leave_out_all_but(struct plan *plan, const char *list)
{
	char *end;

	for (size_t i = 0; i < plan->count; i++)
		plan->is_left_out[i] = true;
	for (; *list; list = end) {
		size_t first = strtoul(list, &end, 10), last = first;
		if (*end == '-')
			last = strtoul(end + 1, &end, 10);
		if (end == list || (*end && *end != ',') || last >= plan->count || first > last) {
			fprintf(stderr, "preload-differential: not a list of steps: %s\n", list);
			usage(stderr, 2);
		}
		for (size_t i = first; i <= last; i++)
			plan->is_left_out[i] = false;
		if (*end == ',')
			end++;
	}
}

static void print_only(const struct plan *plan)
{
	const char *separator = " --only ";

	for (size_t i = 0; i < plan->count; i++) {
		size_t last = i;
		if (plan->is_left_out[i])
			continue;
		while (last + 1 < plan->count && !plan->is_left_out[last + 1])
			last++;
		printf(last > i ? "%s%zu-%zu" : "%s%zu", separator, i, last);
		separator = ",";
		i = last;
	}
}

/* Differences */

static void print_regimes(const struct options *options, const struct plan *plan)
{
	for (unsigned i = 0; i < plan->beginners; i++)
		printf("     %c begins%s\n", actor_name((int)i),
		       options->settings.mode == MODE_MIXED
			       ? plan->under_shim[i] ? " under the shim" : " natively"
			       : "");
}

static void print_difference(const struct options *options, const struct plan *plan,
			     const struct difference *difference)
{
	char text[STEP_TEXT_SIZE];

	printf("\nDIFFERENCE, mode %s, seed %" PRIu64 ", step %zu:\n\n",
	       mode_names[options->settings.mode], plan->seed, difference->step);
	print_regimes(options, plan);
	for (size_t i = 0; i < plan->count; i++) {
		if (plan->is_left_out[i])
			continue;
		step_print(&plan->steps[i], text);
		printf("%4zu %s%s\n", i, text,
		       plan->steps[i].kind == STEP_SPAWN && options->settings.mode == MODE_MIXED
			       ? plan->steps[i].under_shim ? " under the shim" : " natively"
			       : "");
	}
	/* What matters most comes last, where a log that is cut still has it. */
	printf("\n%s\n%s\n%s\n\nto see it again:\n  preload-differential --mode %s --seed %" PRIu64
	       " --steps %zu",
	       difference->players, difference->files, difference->text,
	       mode_names[options->settings.mode], plan->seed, options->settings.steps);
	if (strcmp(options->semantics, "process") != 0)
		printf(" --semantics %s", options->semantics);
	if (options->settings.has_wrong_model)
		printf(" --wrong-model");
	print_only(plan);
	printf("\n");
}

/* Plans */

/* False at a difference. */
static bool play(struct cast *cast, const struct options *options, uint64_t seed, size_t *steps)
{
	static struct plan plan, tried;
	struct difference difference;

	plan_make(seed, options->settings.steps, &plan);
	if (options->only)
		leave_out_all_but(&plan, options->only);
	tried = plan;
	*steps += run_plan(cast, &options->settings, &tried, &difference);
	if (!difference.is_found)
		return true;
	printf("seed %" PRIu64 ", step %zu:\n%s\n%s\nlooking for a shorter way to it\n", seed,
	       difference.step, difference.text, difference.players);
	fflush(stdout);
	shrink(cast, &options->settings, &tried, &difference, SHRINKING_SECONDS);
	print_difference(options, &tried, &difference);
	return false;
}

int main(int argc, char **argv)
{
	struct options options;
	struct cast cast;
	size_t plans = 0, steps = 0;
	bool is_equal = true;

	parse(argc, argv, &options);
	printf("mode %s, seed %" PRIu64 "\n", mode_names[options.settings.mode], options.seed);
	fflush(stdout);
	if (!cast_make(&cast, options.player, options.shim, options.semantics))
		return 2;
	time_t end = time(NULL) + options.seconds;
	do
		is_equal = play(&cast, &options, options.seed + plans++, &steps);
	while (is_equal && options.seconds && time(NULL) < end);
	cast_remove(&cast);
	printf("%zu plans, %zu steps\n", plans, steps);
	return is_equal ? 0 : 1;
}
