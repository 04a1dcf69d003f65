/*
 * Which file execvp(3) would run.
 */
#pragma once

/* 0 and a path to be freed; -ENOENT; -EACCES if the only ones found cannot be
 * executed. */
int find_program(const char *name, char **ret);
