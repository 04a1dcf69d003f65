/*
 * Stands in for the shim where a test asks what `relock exec` does with one:
 * it says that it was loaded.
 */
#include <unistd.h>

__attribute__((constructor)) static void loaded(void)
{
	static const char text[] = "shim loaded\n";

	if (write(STDERR_FILENO, text, sizeof text - 1) < 0)
		_exit(98);
}
