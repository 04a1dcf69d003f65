/* The drivers that the oracle of librelock knows. */
#include "driver.h"

#include <stddef.h>

const struct oracle_driver *const oracle_drivers[] = {
	&driver_relock,       &driver_relock_exclusive, &driver_bare_ofd,      &driver_bare_flock,
	&driver_sem,          &driver_bare_sem,         &driver_core_unix_v1,  &driver_core_unix_v2,
	&driver_broken_none,  &driver_broken_early,     &driver_broken_deaf,   &driver_broken_keeps,
	&driver_broken_token, &driver_broken_fork,      &driver_broken_denies, NULL,
};
