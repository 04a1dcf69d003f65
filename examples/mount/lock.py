#!/usr/bin/env python3
"""A lock in Python: a file in a folder where relockfs is mounted.

    python3 lock.py DIR NAME acquire    wait for the lock, hold it until a line is read
    python3 lock.py DIR NAME try        the same, but say "busy" instead of waiting
    python3 lock.py DIR NAME look       who has it?

To open DIR/NAME for writing is to acquire the lock NAME; to close it, or to end,
even by kill -9, is to release it.
"""
import os
import sys


def hold(lock):
    with lock:  # a file that nothing refers to is closed, and the lock with it
        print("from Python", file=lock, flush=True)  # what others read there
        print("held", flush=True)
        sys.stdin.readline()


def main(folder, name, action):
    path = os.path.join(folder, name)
    if action == "acquire":
        # Waits for its turn; other threads go on.  Python runs signal handlers
        # meanwhile, and waits again, at the end of the queue, unless one raises:
        # signal.alarm() and a handler that raises TimeoutError are a time limit.
        hold(open(path, "w"))
    elif action == "try":
        try:
            hold(open(path, "x"))
        except FileExistsError:
            print("busy")
    elif action == "look":
        try:
            with open(path) as state:
                print(state.read(), end="")
        except FileNotFoundError:
            os.stat(folder)  # raises if it is the folder that is not there
            print("free")
    else:
        raise ValueError(action)


try:
    main(*sys.argv[1:])
except (TypeError, ValueError):
    sys.exit("usage: lock.py DIR NAME acquire|try|look")
except OSError as error:
    sys.exit(f"lock.py: {error}")
