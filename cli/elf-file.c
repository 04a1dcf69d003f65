/*
 * ELF, as far as elf(5) goes for finding PT_INTERP.
 *
 * Files may be damaged or made to be: every offset is checked by way of
 * pread(2), which reads nothing beyond the end, and no count is trusted.
 */
#include "elf-file.h"

#include <elf.h>
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* More program headers than any linker makes. */
enum { PROGRAM_HEADERS_MAX = 256 };

static int read_exactly(int fd, void *buffer, size_t size, uint64_t offset)
{
	if (offset > (uint64_t)INT64_MAX - size)
		return -ENOEXEC;

	ssize_t length = pread(fd, buffer, size, (off_t)offset);

	if (length < 0)
		return -errno;
	return (size_t)length == size ? 0 : -ENOEXEC;
}

struct program_headers {
	uint64_t offset;
	unsigned count;
	unsigned size; /* of each */
};

static int read_program_headers(int fd, uint8_t class, struct program_headers *ret,
				uint16_t *machine)
{
	union {
		Elf32_Ehdr narrow;
		Elf64_Ehdr wide;
	} header;
	bool wide = class == ELFCLASS64;
	int error = read_exactly(fd, &header, wide ? sizeof header.wide : sizeof header.narrow, 0);

	if (error < 0)
		return error;
	*machine = wide ? header.wide.e_machine : header.narrow.e_machine;
	ret->offset = wide ? header.wide.e_phoff : header.narrow.e_phoff;
	ret->count = wide ? header.wide.e_phnum : header.narrow.e_phnum;
	ret->size = wide ? header.wide.e_phentsize : header.narrow.e_phentsize;
	if (ret->size != (wide ? sizeof(Elf64_Phdr) : sizeof(Elf32_Phdr)) ||
	    ret->count > PROGRAM_HEADERS_MAX)
		return -ENOEXEC;
	return 0;
}

static int find_interpreter(int fd, struct elf_file *file, const struct program_headers *headers)
{
	for (unsigned i = 0; i < headers->count; i++) {
		union {
			Elf32_Phdr narrow;
			Elf64_Phdr wide;
		} header;
		bool wide = file->class == ELFCLASS64;
		int error = read_exactly(fd, &header, headers->size,
					 headers->offset + (uint64_t)i * headers->size);

		if (error < 0)
			return error;
		if ((wide ? header.wide.p_type : header.narrow.p_type) != PT_INTERP)
			continue;

		uint64_t size = wide ? header.wide.p_filesz : header.narrow.p_filesz;

		if (size < 2 || size > sizeof file->interpreter)
			return -ENOEXEC;
		error = read_exactly(fd, file->interpreter, size,
				     wide ? header.wide.p_offset : header.narrow.p_offset);
		file->interpreter[size - 1] = '\0';
		return error;
	}
	return 0;
}

int elf_file_read(int fd, struct elf_file *ret)
{
	unsigned char ident[EI_NIDENT];
	struct program_headers headers;
	const int own_order = BYTE_ORDER == LITTLE_ENDIAN ? ELFDATA2LSB : ELFDATA2MSB;
	int error = read_exactly(fd, ident, sizeof ident, 0);

	if (error < 0)
		return error;
	if (memcmp(ident, ELFMAG, SELFMAG) != 0 ||
	    (ident[EI_CLASS] != ELFCLASS32 && ident[EI_CLASS] != ELFCLASS64))
		return -ENOEXEC;
	*ret = (struct elf_file){.class = ident[EI_CLASS], .byte_order = ident[EI_DATA]};
	if (ret->byte_order != own_order)
		return 0;
	error = read_program_headers(fd, ret->class, &headers, &ret->machine);
	if (error < 0)
		return error;
	return find_interpreter(fd, ret, &headers);
}

const char *elf_architecture(const struct elf_file *file, char buffer[ELF_ARCHITECTURE_SIZE])
{
	static const struct {
		uint16_t machine;
		const char *name;
	} machines[] = {
		{EM_386, "x86"},       {EM_X86_64, "x86-64"}, {EM_ARM, "ARM"},
		{EM_AARCH64, "ARM64"}, {EM_RISCV, "RISC-V"},  {EM_PPC, "PowerPC"},
		{EM_PPC64, "PowerPC"}, {EM_S390, "S/390"},    {EM_MIPS, "MIPS"},
	};
	int bits = file->class == ELFCLASS64 ? 64 : 32;

	for (size_t i = 0; i < sizeof machines / sizeof machines[0]; i++)
		if (machines[i].machine == file->machine) {
			snprintf(buffer, ELF_ARCHITECTURE_SIZE, "%d-bit %s", bits,
				 machines[i].name);
			return buffer;
		}
	snprintf(buffer, ELF_ARCHITECTURE_SIZE, "%d-bit machine %u", bits, file->machine);
	return buffer;
}
