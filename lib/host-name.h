/* What this machine calls itself. */
#pragma once

#include <stddef.h>

/* The name under which flufl.lock knows this host: Python's socket.getfqdn(), as
 * far as /etc/hosts tells.  Found out once. */
const char *host_name_full(void);

/* The same by that file's text; `name` if it is not there.  For tests. */
void host_name_by_text(const char *text, const char *name, char *buffer, size_t size);
