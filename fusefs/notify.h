/*
 * What systemd is told: which process is the main one, when a supervisor's place is
 * taken by another.  Without that it knows of a killed supervisor only that its main
 * process has ended, and has nobody to send a signal to.
 *
 * The protocol is a datagram to the socket that $NOTIFY_SOCKET names, see
 * sd_notify(3); without the variable nobody is told.
 */
#pragma once

/* This process is it. */
void notify_main_process(void);
