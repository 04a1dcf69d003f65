#!/usr/bin/python3
"""flufl.lock by itself, measured as bench-link measures relock's link: store.

    flufl.py FOLDER pair COUNT
    flufl.py FOLDER hand-over COUNT

Prints nanoseconds, the mean.
"""
import os
import sys
import time

from flufl.lock import Lock


def pairs(path, count):
    lock = Lock(path)
    start = time.perf_counter_ns()
    for _ in range(count):
        lock.lock()
        lock.unlock()
    return (time.perf_counter_ns() - start) / count


def hand_over(lock, path):
    """From our unlock to the lock() of a process that waits for it."""
    lock.lock()
    started, ended = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        other = Lock(path)
        os.write(started[1], b"x")
        other.lock()
        got = time.monotonic_ns()
        other.unlock()
        os.write(ended[1], str(got).encode())
        os._exit(0)
    os.read(started[0], 1)
    time.sleep(0.05)  # it tries, and sleeps
    start = time.monotonic_ns()
    lock.unlock()
    got = int(os.read(ended[0], 64))
    os.waitpid(child, 0)
    for end in started + ended:
        os.close(end)
    return got - start


def main(folder, what, count):
    path = os.path.join(folder, "flufl")
    if what == "pair":
        number = pairs(path, int(count))
    else:
        lock = Lock(path)
        number = sum(hand_over(lock, path) for _ in range(int(count))) / int(count)
    print(f"flufl {number:.1f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
