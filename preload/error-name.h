/* Names of errors, for those who may not call strerrorname_np(3). */
#pragma once

#include "text.h"

/* "EAGAIN"; of one that no lock call is known to give, "errno 113". */
void text_add_error(struct text *text, int error);
