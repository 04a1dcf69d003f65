/*
 * The oracle as a program, for hunting.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "oracle.h"
#include "scratch.h"

static void __attribute__((noreturn)) usage(FILE *to, int status)
{
	fputs("usage: oracle --store URL | --fresh SCHEME [OPTIONS]\n"
	      "\n"
	      "Takes and gives back locks in random ways, by many processes that are killed at\n"
	      "random, and fails if ever two are inside that should not be.\n"
	      "\n"
	      "  --store URL         where the locks are; its folder must exist\n"
	      "  --fresh SCHEME      in a folder that is made for this, and removed afterwards\n"
	      "  --driver NAME       how they are taken (default: the first of the list)\n"
	      "  --mix NAME[=URL]    how the others take them, and where they are for them; may\n"
	      "                      be given again: the processes are of each in turn\n"
	      "  --preload LIBRARY   what every second process starts with, as LD_PRELOAD\n"
	      "  --seed N            default: a random one, which is printed\n"
	      "  --grants N          how long it runs (default: 100000)\n"
	      "  --processes N       6        --threads N        2 in each\n"
	      "  --locks N           3\n"
	      "  --kill-every N      200 grants, 0: never\n"
	      "  --exit-every N      400 steps, on average; 0: never\n"
	      "  --fork-every N      400 steps, on average; 0: never\n"
	      "  --break-every N     0 steps, on average: never\n"
	      "  --signal-every N    0 grants: never\n"
	      "  --stop-every N      0 grants: never\n"
	      "  --crash-every N     0 grants: never; kills a server of the locks\n"
	      "  --patience SECONDS  20, without any movement\n"
	      "\n"
	      "Drivers:",
	      to);
	for (size_t i = 0; oracle_drivers[i]; i++)
		fprintf(to, " %s", oracle_drivers[i]->name);
	fputs("\nExit status: 0 nothing found, 1 found something, 2 used wrongly\n", to);
	exit(status);
}

static const struct oracle_driver *driver_of(const char *name)
{
	const struct oracle_driver *driver = oracle_driver_find(name);

	if (driver)
		return driver;
	fprintf(stderr, "oracle: %s: no such driver\n", name);
	usage(stderr, 2);
}

/* NAME or NAME=URL */
static void add_party(struct oracle_options *options, char *text)
{
	struct oracle_party *party = options->others, *end = party + OTHERS_MAX;
	char *equals = strchr(text, '=');

	while (party < end && party->driver)
		party++;
	if (party == end) {
		fprintf(stderr, "oracle: no more than %d others\n", OTHERS_MAX);
		usage(stderr, 2);
	}
	if (equals) {
		*equals = '\0';
		party->url = equals + 1;
	}
	party->driver = driver_of(text);
}

static uint64_t number_of(const char *text, uint64_t max)
{
	char *end;

	errno = 0;
	uint64_t number = strtoull(text, &end, 10);
	if (errno == 0 && *text >= '0' && *text <= '9' && *end == '\0' && number <= max)
		return number;
	fprintf(stderr, "oracle: %s: not a number from 0 to %" PRIu64 "\n", text, max);
	usage(stderr, 2);
}

int main(int argc, char **argv)
{
	static const struct option names[] = {
		{"store", required_argument, NULL, 's'},
		{"fresh", required_argument, NULL, 'F'},
		{"driver", required_argument, NULL, 'd'},
		{"mix", required_argument, NULL, 'm'},
		{"preload", required_argument, NULL, 'P'},
		{"seed", required_argument, NULL, 'S'},
		{"grants", required_argument, NULL, 'g'},
		{"processes", required_argument, NULL, 'p'},
		{"threads", required_argument, NULL, 't'},
		{"locks", required_argument, NULL, 'l'},
		{"kill-every", required_argument, NULL, 'k'},
		{"exit-every", required_argument, NULL, 'e'},
		{"fork-every", required_argument, NULL, 'f'},
		{"break-every", required_argument, NULL, 'b'},
		{"signal-every", required_argument, NULL, 'i'},
		{"stop-every", required_argument, NULL, 'z'},
		{"crash-every", required_argument, NULL, 'c'},
		{"patience", required_argument, NULL, 'w'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	struct oracle_options options = ORACLE_OPTIONS_INIT;
	char *fresh = NULL;
	int option;

	int recruited = recruit_main(argc, argv);
	if (recruited >= 0)
		return recruited;
	options.grants = 100000;
	if (getrandom(&options.seed, sizeof options.seed, 0) != sizeof options.seed)
		options.seed = 1;
	while ((option = getopt_long(argc, argv, "h", names, NULL)) != -1) {
		switch (option) {
		case 's':
			options.url = optarg;
			break;
		case 'F':
			fresh = optarg;
			break;
		case 'd':
			options.driver = driver_of(optarg);
			break;
		case 'm':
			add_party(&options, optarg);
			break;
		case 'P':
			options.preload = optarg;
			break;
		case 'S':
			options.seed = number_of(optarg, UINT64_MAX);
			break;
		case 'g':
			options.grants = number_of(optarg, UINT64_MAX / 2);
			break;
		case 'p':
			options.processes = (unsigned)number_of(optarg, 1000);
			break;
		case 't':
			options.threads = (unsigned)number_of(optarg, 1000);
			break;
		case 'l':
			options.locks = (unsigned)number_of(optarg, 1000);
			break;
		case 'k':
			options.kill_every = (unsigned)number_of(optarg, UINT32_MAX);
			break;
		case 'e':
			options.exit_every = (unsigned)number_of(optarg, UINT32_MAX);
			break;
		case 'f':
			options.fork_every = (unsigned)number_of(optarg, UINT32_MAX);
			break;
		case 'b':
			options.break_every = (unsigned)number_of(optarg, UINT32_MAX);
			break;
		case 'i':
			options.signal_every = (unsigned)number_of(optarg, UINT32_MAX);
			break;
		case 'z':
			options.stop_every = (unsigned)number_of(optarg, UINT32_MAX);
			break;
		case 'c':
			options.crash_every = (unsigned)number_of(optarg, UINT32_MAX);
			break;
		case 'w':
			options.patience = (int)number_of(optarg, 86400);
			break;
		case 'h':
			usage(stdout, 0);
		default:
			usage(stderr, 2);
		}
	}
	if (!options.url == !fresh || optind < argc)
		usage(stderr, 2);
	if (fresh) {
		options.url = fresh = scratch_store_make(fresh);
		if (!fresh) {
			fprintf(stderr, "oracle: no folder for this run: %s\n", strerror(errno));
			return 2;
		}
	}
	enum failure_kind failure = oracle(&options);
	if (fresh)
		scratch_store_remove(fresh);
	return failure == FAILURE_NONE ? 0 : 1;
}
