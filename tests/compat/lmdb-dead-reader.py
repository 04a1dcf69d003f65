"""LMDB's table of readers: a reader is dead when its record lock is gone.

Each reader has a byte of the lock file, at its pid.  A reader is killed, while
a child that it forked lives with the descriptors it inherited; the next process
that looks must find the reader dead, or its pages are never free again.
"""
import subprocess
import sys

import lmdb

import case

READER = """
import os, sys
import lmdb
environment = lmdb.open(sys.argv[1])
transaction = environment.begin()
transaction.get(b'key')
if os.fork() == 0:
    print('reads', flush=True)
    sys.stdin.read()  # lives until the case lets it go
    os._exit(0)
os.wait()
"""

CHECK = """
import sys
import lmdb
print(lmdb.open(sys.argv[1]).reader_check())
"""


def dead_readers(folder, outside):
    with case.python(CHECK, folder, outside=outside) as peer:
        return int(peer.finish())


def run(folder):
    with lmdb.open(folder).begin(write=True) as transaction:
        transaction.put(b"key", b"value")
    for outside in (False, True):
        reader = subprocess.Popen([sys.executable, "-c", READER, folder],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        case.equal(reader.stdout.readline(), "reads\n", "the reader")
        alive = dead_readers(folder, outside)
        reader.kill()
        reader.wait()
        dead = dead_readers(folder, outside)
        reader.communicate()  # the child ends
        case.equal(alive, 0, "readers taken for dead")
        case.equal(dead, 1, "dead readers found")


case.main(run)
