"""TDB, Samba's database: many processes in transactions, and two that lock crosswise.

TDB's locks are record locks on bytes of the database.  Two processes that hold
one database each and want the other's depend on EDEADLK: one of them is told,
and gives up what it has.
"""
import os
import select

import tdb

import case

WORKERS, TRANSACTIONS = 4, 50
SOON = 10  # seconds, for those that may wait forever

COUNT_UP = """
import os, sys, tdb
database = tdb.Tdb(sys.argv[1], 0, tdb.DEFAULT, os.O_RDWR)
print('ready', flush=True)
sys.stdin.readline()
for _ in range(int(sys.argv[2])):
    database.transaction_start()
    database.store(b'count', b'%d' % (int(database.get(b'count')) + 1))
    database.transaction_commit()
    list(database)
"""

LOCK_BOTH = """
import os, sys, tdb
mine, other = (tdb.Tdb(path, 0, tdb.DEFAULT, os.O_RDWR) for path in sys.argv[1:])
mine.lock_all()
print('has one', flush=True)
sys.stdin.readline()
try:
    other.lock_all()
except RuntimeError:
    print('refused', flush=True)
else:
    print('has both', flush=True)
sys.stdin.readline()
"""


def create(path):
    database = tdb.Tdb(path, 0, tdb.DEFAULT, os.O_RDWR | os.O_CREAT, 0o600)
    database.store(b"count", b"0")
    database.close()


def transactions(path):
    workers = [case.python(COUNT_UP, path, str(TRANSACTIONS), outside=number % 2 == 1)
               for number in range(WORKERS)]
    for worker in workers:
        case.equal(worker.line(), "ready", "a worker")
    for worker in workers:
        worker.tell("\n")
    for worker in workers:
        worker.finish()
    database = tdb.Tdb(path, 0, tdb.DEFAULT, os.O_RDWR)
    case.equal(int(database.get(b"count")), WORKERS * TRANSACTIONS, "transactions counted")
    database.close()


def crosswise(one, two):
    with case.python(LOCK_BOTH, one, two) as first, case.python(LOCK_BOTH, two, one) as second:
        for peer in (first, second):
            case.equal(peer.line(), "has one", "a process")
        for peer in (first, second):
            peer.tell("\n")
        outputs = {peer.process.stdout: peer for peer in (first, second)}
        ready, _, _ = select.select(outputs, [], [], SOON)
        case.check(ready, "both wait forever")
        told = outputs.pop(ready[0])
        case.equal(told.line(), "refused", "a process in a circle of waiting ones")
        told.finish()
        for peer in outputs.values():
            case.equal(peer.line(), "has both", "the other")
            peer.finish()


def run(folder):
    paths = [os.path.join(folder, name) for name in ("one.tdb", "two.tdb")]
    for path in paths:
        create(path)
    transactions(paths[0])
    crosswise(*paths)


case.main(run)
