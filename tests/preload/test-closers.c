/*
 * Rows 4 to 6 with every function that closes a descriptor or makes one more,
 * and the numbers that descriptors have: a program under the shim that closes
 * what it did not open loses nothing by it, and gets the numbers that it would
 * get without.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "rows.h"

/* Of the only descriptor of the open that locked; of one of another open; of
 * one of two, and then the other. */
#define CLOSER(name)                                                                               \
	ROW_OF("04_to_06", "closer", name, FCNTL, "free free free free", "free held held free",    \
	       "free held held free")
/* What closes nothing is no reason to give anything back. */
#define NO_CLOSER(name)                                                                            \
	ROW_OF("04_to_06", "closer", name, FCNTL, "held held held free", "held held held free",    \
	       "held held held free")
#define CLOSER_OF_FOLDER(name)                                                                     \
	ROW_OF("04_to_06", "closer_of_folder", name, FCNTL, "free free free free",                 \
	       "free held held free", "free held held free")
/* Made before the lock and after it; one is closed, then the other, either
 * first. */
#define DUPLICATE(name)                                                                            \
	ROW_OF("06", "duplicate", name, FCNTL, "free free free free free free free free",          \
	       "held free held free held free held free",                                          \
	       "held free held free held free held free")

/* clang-format off */
static const struct CMUnitTest tests[] = {
	CLOSER("close"),
	CLOSER("SYS_close"),
	CLOSER("close_range"),
	CLOSER("close_range_to_the_end"),
	CLOSER("CLOSE_RANGE_UNSHARE"),
	CLOSER("SYS_close_range"),
	CLOSER("closefrom"),
	CLOSER("loop"),
	CLOSER("dup2"),
	CLOSER("dup3"),
	CLOSER("SYS_dup3"),
	CLOSER("fclose"),
	CLOSER("freopen"),
	CLOSER("freopen_of_the_same"),
	NO_CLOSER("CLOSE_RANGE_CLOEXEC"),
	NO_CLOSER("fcloseall"),
	CLOSER_OF_FOLDER("close"),
	CLOSER_OF_FOLDER("closedir"),
	CLOSER_OF_FOLDER("closefrom"),
	DUPLICATE("dup"),
	DUPLICATE("dup2"),
	DUPLICATE("dup3"),
	DUPLICATE("F_DUPFD"),
	DUPLICATE("F_DUPFD_CLOEXEC"),
	DUPLICATE("SYS_fcntl"),
	DUPLICATE("SYS_dup"),
	DUPLICATE("SYS_dup3"),
	ROW("05", "close_the_later_owner", FCNTL, "wwwwwwwwww- ----------- -----------",
	    "wwwwwwwwww- wwww---www- -----------", "wwwwwwwwww- wwwwwwwwww- -----------"),
	ROW("05", "close_the_earlier_owner", FCNTL, "----------- -----------",
	    "----www---- -----------", "----------- -----------"),
	SAME("06", "refused", FCNTL,
	     "0 EBADF EINVAL EINVAL EBADF EBADF EINVAL EINVAL EBADF EBADF EINVAL held free"),
	SAME("05", "unshared_by_thread", FCNTL, "held ok free"),
	SAME("05", "number_of_another_file", FCNTL, "reused ok free held ok free free"),
	SAME("05", "duplicate_onto_unseen_close", FCNTL, "reused free"),
	SAME("06", "dup2_onto_number", FCNTL,
	     "there null there null there null there null held ok free ok held free"),
	SAME("06", "f_dupfd_at_number", FCNTL, "above null held ok free ok held free"),
	SAME("06", "close_number", FCNTL, "EBADF EBADF EBADF held ok free ok held free"),
	SAME("06", "close_everything_else", FCNTL, "0 held held held ok free ok held free"),
	ROW("06", "close_everything_but_one", FCNTL, "----------- ok ----------- -----------",
	    "wwwww------ ok --www------ -----------", "wwwww------ ok --www------ -----------"),
	SAME("06", "close_everything_with_many_locks", FCNTL, "0 0 20"),
	SAME("06", "lowest_numbers", FCNTL, "0 1 2 held"),
	SAME("06", "lowest_numbers_before_lock", FCNTL, "0 1 2 held"),
	/* One of them is the shim's. */
	ROW("06", "up_to_the_limit", FCNTL, "ok EMFILE 64 held ok free ok held free",
	    "ok EMFILE 63 held ok free ok held free", "ok EMFILE 64 held ok free ok held free"),
	SAME("06", "beyond_the_limit", FCNTL, "31 ok held ok -----wwwww- -----------"),
	SAME("19", "flags", FCNTL, "0 ok 1 append blocking 0 held"),
};
/* clang-format on */

int main(void)
{
	return cmocka_run_group_tests_name("closers", tests, make_folder, remove_folder);
}
