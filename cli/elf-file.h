/*
 * What an ELF header tells about how a program is started.
 */
#pragma once

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

struct elf_file {
	uint8_t class;      /* ELFCLASS32 or ELFCLASS64 */
	uint8_t byte_order; /* ELFDATA2LSB or ELFDATA2MSB */
	uint16_t machine;   /* EM_X86_64 ... */
	/* The dynamic linker (PT_INTERP); empty: statically linked, or of a foreign
	 * byte order, where this was not looked for. */
	char interpreter[PATH_MAX];
};

/* 0, -ENOEXEC if it is no ELF file or a damaged one, or an error of pread(2). */
int elf_file_read(int fd, struct elf_file *ret);

/* "64-bit x86-64", "32-bit ARM": static text for what is common, else
 * "machine 123".  Returns `buffer`. */
enum { ELF_ARCHITECTURE_SIZE = 48 };
const char *elf_architecture(const struct elf_file *file, char buffer[ELF_ARCHITECTURE_SIZE]);
