#!/usr/bin/env python3
"""A program that loses its lock, as programs do: it locks a file, and some
other part of it (a library, a backup thread) opens and closes the same file.
With a legacy record lock, that close drops the lock without a word.

    python3 lose-lock.py                          loses it
    relock exec python3 lose-lock.py   keeps it
"""
import os
import sys
import tempfile

with tempfile.NamedTemporaryFile("r+") as file:
    os.lockf(file.fileno(), os.F_TLOCK, 0)

    # Somewhere else in the program:
    with open(file.name) as other:
        other.read()

    # Somebody else wants it.
    child = os.fork()
    if child == 0:
        mine = os.open(file.name, os.O_RDWR)
        try:
            os.lockf(mine, os.F_TLOCK, 0)
        except OSError:
            os._exit(1)
        os._exit(0)
    got_it = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    print("LOST: another process took the lock" if got_it else "kept: the lock still excludes others")
    sys.exit(1 if got_it else 0)
