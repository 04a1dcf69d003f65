#!/usr/bin/env python3
"""The protocol of lockmgr 1.5 (see the seed document's release_lock and
acquire_lock), in our words, since Debian has no package of it.

    lockmgr.py FILE hold          acquire, say "held", release at a line of input
    lockmgr.py FILE wait SECONDS  acquire or wait for the file's deletion, say
                                  "held" and how often it tried

To acquire: open O_RDWR|O_CREAT, flock LOCK_EX|LOCK_NB; if that fails, close and
wait with inotify for IN_DELETE_SELF, then try again.  To release: LOCK_UN, then
remove the file, then close.
"""
import ctypes
import fcntl
import os
import select
import sys

IN_DELETE_SELF, IN_IGNORED = 0x400, 0x8000
libc = ctypes.CDLL(None, use_errno=True)


def try_lock(path):
    fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(fd)
        return -1
    return fd


def wait_for_deletion(path, seconds):
    notify = libc.inotify_init1(os.O_CLOEXEC)
    if libc.inotify_add_watch(notify, os.fsencode(path), IN_DELETE_SELF | IN_IGNORED) >= 0:
        print("waits", flush=True)
        select.select([notify], [], [], seconds)
    os.close(notify)


def main():
    path, what = sys.argv[1:3]
    tries = 1
    fd = try_lock(path)
    while fd < 0:
        if what == "hold":
            print("refused", flush=True)
            return 1
        wait_for_deletion(path, float(sys.argv[3]))
        tries += 1
        fd = try_lock(path)
    print(f"held {tries}", flush=True)
    sys.stdin.readline()
    fcntl.flock(fd, fcntl.LOCK_UN)
    os.unlink(path)
    os.close(fd)
    print("released", flush=True)
    return 0


sys.exit(main())
