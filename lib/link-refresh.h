/*
 * The thread that refreshes holds, and fork(2); see fork.c, whose mutex is held.
 */
#pragma once

void link_refresh_before_fork(void);
void link_refresh_in_parent(void);
void link_refresh_in_child(void);
