"""A library reads the file that the program has locked: open, read, close.

The accident that the shim is for, by both of Python's names for record locks.
"""
import fcntl
import os

import case


def lock_by_os(file):
    os.lockf(file.fileno(), os.F_TLOCK, 0)


def lock_by_fcntl(file):
    fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def run(folder):
    for number, lock in enumerate((lock_by_os, lock_by_fcntl)):
        path = os.path.join(folder, f"data-{number}")
        with open(path, "w+", encoding="ascii") as file:
            lock(file)
            case.check(not case.others_may_lock(path), "a lock that excludes nobody")
            with open(path, encoding="ascii") as other:
                other.read()
            for outside in (False, True):
                case.check(not case.others_may_lock(path, outside),
                           "LOST: another process has the lock, too")
        case.check(case.others_may_lock(path), "the lock stays after the close")


case.main(run)
