/*
 * See calls.h.  Who counts looks at the tag afterwards, and who closes takes the
 * tag away before it looks at the count; all four are sequentially consistent.
 * So one of the two sees the other.
 */
#include "calls.h"

#include "jump.h"

__thread struct shim_calls shim_calls __attribute__((tls_model("initial-exec")));

void shim_calls_end_left(uintptr_t frame)
{
	while (shim_calls.count > 0 &&
	       shim_jump_has_left(shim_calls.list[shim_calls.count - 1].frame, frame))
		locked_file_end_use(shim_calls.list[--shim_calls.count].file);
}

void shim_calls_forget(void)
{
	shim_calls.count = 0;
}
