/*
 * ELF headers, whole and damaged: `relock exec` reads files that anybody may
 * have made.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "elf-file.h"

static const char interpreter[] = "/lib/ld-test.so.1";

/* A program of one header, PT_INTERP. */
struct program {
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	char interpreter[sizeof interpreter];
};

static struct program whole_program(void)
{
	struct program program = {
		.header =
			{
				.e_type = ET_DYN,
				.e_machine = EM_X86_64,
				.e_phoff = offsetof(struct program, segment),
				.e_phentsize = sizeof(Elf64_Phdr),
				.e_phnum = 1,
			},
		.segment =
			{
				.p_type = PT_INTERP,
				.p_offset = offsetof(struct program, interpreter),
				.p_filesz = sizeof interpreter,
			},
	};
	const uint16_t one = 1;

	memcpy(program.header.e_ident, ELFMAG, SELFMAG);
	program.header.e_ident[EI_CLASS] = ELFCLASS64;
	program.header.e_ident[EI_DATA] = *(const char *)&one ? ELFDATA2LSB : ELFDATA2MSB;
	memcpy(program.interpreter, interpreter, sizeof interpreter);
	return program;
}

static int read_bytes(const void *bytes, size_t size, struct elf_file *ret)
{
	int fd = memfd_create("program", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, size), size);

	int result = elf_file_read(fd, ret);

	close(fd);
	return result;
}

static int read_program(const struct program *program, struct elf_file *ret)
{
	return read_bytes(program, sizeof *program, ret);
}

static void elf_tells_architecture_and_interpreter(void **state)
{
	struct program program = whole_program();
	struct elf_file file;
	char text[ELF_ARCHITECTURE_SIZE];

	assert_int_equal(read_program(&program, &file), 0);
	assert_int_equal(file.machine, EM_X86_64);
	assert_string_equal(file.interpreter, interpreter);
	assert_string_equal(elf_architecture(&file, text), "64-bit x86-64");
	file.machine = 0x1234;
	assert_string_equal(elf_architecture(&file, text), "64-bit machine 4660");
}

static void elf_without_interpreter_is_static(void **state)
{
	struct program program = whole_program();
	struct elf_file file;

	program.segment.p_type = PT_LOAD;
	assert_int_equal(read_program(&program, &file), 0);
	assert_string_equal(file.interpreter, "");
	program.header.e_phnum = 0;
	assert_int_equal(read_program(&program, &file), 0);
	assert_string_equal(file.interpreter, "");
}

static void elf_of_another_byte_order_is_not_looked_into(void **state)
{
	struct program program = whole_program();
	struct elf_file file;

	program.header.e_ident[EI_DATA] ^= 3;
	assert_int_equal(read_program(&program, &file), 0);
	assert_string_equal(file.interpreter, "");
}

static void elf_cut_off_anywhere_is_refused(void **state)
{
	struct program program = whole_program();
	struct elf_file file;

	for (size_t size = 0; size < offsetof(struct program, interpreter) + sizeof interpreter;
	     size++)
		assert_int_equal(read_bytes(&program, size, &file), -ENOEXEC);
}

static void elf_with_wild_numbers_is_refused(void **state)
{
	static const uint64_t offsets[] = {UINT64_MAX,    UINT64_MAX - 16,         INT64_MAX,
					   INT64_MAX - 8, (uint64_t)INT64_MAX + 1, 1 << 20};
	static const uint64_t sizes[] = {0, 1, sizeof interpreter + 1000, PATH_MAX + 1, UINT64_MAX};
	struct elf_file file;
	struct program program;

	for (size_t i = 0; i < sizeof offsets / sizeof offsets[0]; i++) {
		program = whole_program();
		program.header.e_phoff = offsets[i];
		assert_int_equal(read_program(&program, &file), -ENOEXEC);
		program = whole_program();
		program.segment.p_offset = offsets[i];
		assert_int_equal(read_program(&program, &file), -ENOEXEC);
	}
	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		program = whole_program();
		program.segment.p_filesz = sizes[i];
		assert_int_equal(read_program(&program, &file), -ENOEXEC);
	}
	program = whole_program();
	program.header.e_phentsize = 1;
	assert_int_equal(read_program(&program, &file), -ENOEXEC);
	program = whole_program();
	program.header.e_phnum = UINT16_MAX;
	assert_int_equal(read_program(&program, &file), -ENOEXEC);
	program = whole_program();
	program.header.e_ident[EI_CLASS] = 9;
	assert_int_equal(read_program(&program, &file), -ENOEXEC);
}

static void elf_interpreter_without_its_end_is_ended(void **state)
{
	struct program program = whole_program();
	struct elf_file file;

	program.interpreter[sizeof interpreter - 1] = 'x';
	assert_int_equal(read_program(&program, &file), 0);
	assert_string_equal(file.interpreter, interpreter);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(elf_tells_architecture_and_interpreter),
		cmocka_unit_test(elf_without_interpreter_is_static),
		cmocka_unit_test(elf_of_another_byte_order_is_not_looked_into),
		cmocka_unit_test(elf_cut_off_anywhere_is_refused),
		cmocka_unit_test(elf_with_wild_numbers_is_refused),
		cmocka_unit_test(elf_interpreter_without_its_end_is_ended),
	};

	return cmocka_run_group_tests_name("ELF headers", tests, NULL, NULL);
}
