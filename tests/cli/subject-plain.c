/*
 * A command for tests that is linked in several ways: says that it ran.
 */
#include <stdio.h>

int main(void)
{
	puts("ran");
	return 0;
}
