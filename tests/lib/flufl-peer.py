#!/usr/bin/python3
"""flufl.lock itself, as a peer that is told what to do, a line at a time.

    flufl-peer.py LOCKFILE LIFETIME
"""
import sys

from flufl.lock import AlreadyLockedError, Lock, NotLockedError, TimeOutError

ERRORS = (AlreadyLockedError, NotLockedError, TimeOutError)


def answer(lock, command, *words):
    if command == "lock":
        lock.lock(timeout=int(words[0]))
    elif command == "unlock":
        lock.unlock()
    elif command == "refresh":
        lock.refresh(int(words[0]))
    elif command == "state":
        return lock.state.name
    elif command == "details":
        return " ".join(str(part) for part in lock.details)
    elif command == "host":
        return lock.hostname
    return "done"


def main(path, lifetime):
    lock = Lock(path, lifetime=int(lifetime))
    for line in sys.stdin:
        try:
            print(answer(lock, *line.split()), flush=True)
        except ERRORS as error:
            print(type(error).__name__, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
