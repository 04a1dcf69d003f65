"""Forked workers share one inherited descriptor, and exclude each other by it.

multiprocessing's default on Linux, and the way of many a prefork server: what
the parent opened before it forked is the children's lock file.
"""
import fcntl
import multiprocessing
import os

import case

WORKERS, ROUNDS = 4, 250


def count_up(lock, counter):
    for _ in range(ROUNDS):
        fcntl.lockf(lock, fcntl.LOCK_EX)
        value = int(os.pread(counter, 20, 0))
        os.sched_yield()  # whoever else is let in reads the same number now
        os.pwrite(counter, b"%d" % (value + 1), 0)
        fcntl.lockf(lock, fcntl.LOCK_UN)


def run(folder):
    lock = os.open(os.path.join(folder, "lock"), os.O_RDWR | os.O_CREAT)
    counter = os.open(os.path.join(folder, "counter"), os.O_RDWR | os.O_CREAT)
    os.write(counter, b"0")
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=count_up, args=(lock, counter)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    case.equal([worker.exitcode for worker in workers], [0] * WORKERS, "exit status")
    case.check(int(os.pread(counter, 20, 0)) == WORKERS * ROUNDS,
               "workers do not exclude each other")


case.main(run)
