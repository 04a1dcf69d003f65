/*
 * The fuzz targets without a fuzzer: over the corpus, and over so many
 * mutations of it, always the same.  A target that finds something aborts.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "target.h"

enum { INPUT_MAX = 16384, INPUTS_MAX = 64 };

struct input {
	size_t size;
	uint8_t *bytes;
};

struct fuzzing {
	void (*target)(const uint8_t *bytes, size_t size);
	const char *corpus; /* folder in RELOCK_TEST_CORPUS */
	unsigned mutations;
	size_t usual_size;
};

static uint64_t random_state;

/* splitmix64 */
static uint64_t random_next(void)
{
	uint64_t z = random_state += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static size_t random_below(size_t limit)
{
	return limit ? (size_t)(random_next() % limit) : 0;
}

static struct input read_input(int folder, const char *name)
{
	struct input input = {.bytes = malloc(INPUT_MAX)};
	int fd = openat(folder, name, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0);
	assert_non_null(input.bytes);
	ssize_t length = read(fd, input.bytes, INPUT_MAX);
	assert_true(length >= 0);
	input.size = (size_t)length;
	close(fd);
	return input;
}

static int by_name(const struct dirent **left, const struct dirent **right)
{
	return strcmp((*left)->d_name, (*right)->d_name);
}

static size_t read_corpus(const char *name, struct input inputs[INPUTS_MAX])
{
	const char *root = getenv("RELOCK_TEST_CORPUS");
	struct dirent **entries;
	char path[512];
	size_t count = 0;

	assert_non_null(root);
	snprintf(path, sizeof path, "%s/%s", root, name);
	int folder = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_true(folder >= 0);
	/* Sorted, so that the mutations are the same everywhere. */
	int found = scandirat(folder, ".", &entries, NULL, by_name);
	assert_true(found >= 0);
	for (int i = 0; i < found; i++) {
		if (entries[i]->d_name[0] != '.' && count < INPUTS_MAX)
			inputs[count++] = read_input(folder, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	close(folder);
	assert_true(count > 0);
	return count;
}

static void mutate_once(struct input *input, const struct input *other)
{
	static const uint8_t interesting[] = {0,    1,    '\n', ' ',  '-',  ':',
					      '\\', 0x7f, 0x80, 0xc0, 0xfe, 0xff};
	size_t at = random_below(input->size);

	switch (random_next() % 7) {
	case 0: /* a bit */
		if (input->size)
			input->bytes[at] ^= (uint8_t)(1 << random_next() % 8);
		break;
	case 1:
		if (input->size)
			input->bytes[at] = (uint8_t)random_next();
		break;
	case 2:
		if (input->size)
			input->bytes[at] = interesting[random_below(sizeof interesting)];
		break;
	case 3: /* cut */
		input->size = at;
		break;
	case 4: /* grow */
		for (size_t more = random_below(600); more && input->size < INPUT_MAX; more--)
			input->bytes[input->size++] = (uint8_t)random_next();
		break;
	case 5: /* another's end */
		if (other->size > at) {
			memcpy(input->bytes + at, other->bytes + at, other->size - at);
			input->size = other->size;
		}
		break;
	default: /* all of it said twice */
		if (input->size && input->size * 2 <= INPUT_MAX) {
			memcpy(input->bytes + input->size, input->bytes, input->size);
			input->size *= 2;
		}
		break;
	}
}

static void try_mutation(const struct fuzzing *fuzzing, const struct input *inputs, size_t count)
{
	static uint8_t buffer[INPUT_MAX];
	const struct input *from = &inputs[random_below(count)];
	struct input input = {from->size, buffer};

	memcpy(buffer, from->bytes, from->size);
	/* Records are longer than what one writes into a corpus by hand. */
	while (random_next() % 2 && input.size < fuzzing->usual_size)
		buffer[input.size++] = random_next() % 4 ? 0 : (uint8_t)random_next();
	while (random_next() % 8 == 0 && input.size < fuzzing->usual_size) {
		size_t size = fuzzing->usual_size - random_below(fuzzing->usual_size - input.size);
		memset(buffer + input.size, 0, size - input.size);
		input.size = size;
	}
	for (unsigned rounds = 1 + (unsigned)random_below(6); rounds; rounds--)
		mutate_once(&input, &inputs[random_below(count)]);
	fuzzing->target(input.bytes, input.size);
}

static void survives(void **state)
{
	const struct fuzzing *fuzzing = *state;
	struct input inputs[INPUTS_MAX];
	size_t count = read_corpus(fuzzing->corpus, inputs);

	random_state = 1;
	fuzzing->target((const uint8_t *)"", 0);
	for (size_t i = 0; i < count; i++)
		fuzzing->target(inputs[i].bytes, inputs[i].size);
	for (unsigned i = 0; i < fuzzing->mutations; i++)
		try_mutation(fuzzing, inputs, count);
	for (size_t i = 0; i < count; i++)
		free(inputs[i].bytes);
}

int main(void)
{
	static const struct fuzzing lock_line = {fuzz_lock_line, "lock-line", 20000, 80};
	static const struct fuzzing escape = {fuzz_escape, "escape", 20000, 80};
	static const struct fuzzing slot = {fuzz_slot, "slot", 20000, 2 * 4608};
	static const struct fuzzing lock_file = {fuzz_lock_file, "slot", 2000, 2 * 4608};
	static const struct fuzzing requests = {fuzz_operations, "operations", 1000, 80};
	static const struct fuzzing claim = {fuzz_claim, "claim", 20000, 120};
	static const struct fuzzing nfslock = {fuzz_nfslock, "nfslock", 20000, 80};
	static const struct fuzzing policy = {fuzz_policy, "policy", 20000, 80};
	const struct CMUnitTest tests[] = {
		{"lock lines", survives, NULL, NULL, (void *)&lock_line},
		{"escaping", survives, NULL, NULL, (void *)&escape},
		{"slots", survives, NULL, NULL, (void *)&slot},
		{"lock files", survives, NULL, NULL, (void *)&lock_file},
		{"requests", survives, NULL, NULL, (void *)&requests},
		{"claims", survives, NULL, NULL, (void *)&claim},
		{"files of Core_unix", survives, NULL, NULL, (void *)&nfslock},
		{"policies", survives, NULL, NULL, (void *)&policy},
	};

	return cmocka_run_group_tests_name("fuzz", tests, NULL, NULL);
}
