/*
 * Descriptors on their way from one process to another (SCM_RIGHTS).
 */
#pragma once

/* The descriptor stays open here.  Nothing is said if it fails: the other side
 * then gets none. */
void pass_fd(int socket, int fd);

/* The descriptor, with O_CLOEXEC; -1: none came. */
int receive_fd(int socket);
