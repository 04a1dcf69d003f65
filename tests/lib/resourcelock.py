#!/usr/bin/env python3
"""What resourcelock (cjnfuncs 3.1, see its manual) makes of posix_ipc's calls, in
our words and by ctypes, since Debian has no package of either.

    resourcelock.py NAME    does what the lines of its input say, and answers each
                            with one line:

    get SECONDS INFO        sem_timedwait; the text; "True" or "False"
    same SECONDS INFO       the same with same_process_ok
    unget                   sem_post if the value is 0 and this process got it
    force                   sem_post if the value is 0
    value                   sem_getvalue
    info                    the text up to its NUL
"""
import ctypes
import datetime
import mmap
import os
import sys
import time

libc = ctypes.CDLL(None, use_errno=True)
libc.sem_open.restype = ctypes.c_void_p
SIZE = 4096


class Timespec(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long)]


def open_memory(name):
    """As posix_ipc.SharedMemory: the present one, or a new one of 4096 bytes."""
    path = ctypes.c_char_p(name.encode())
    fd = libc.shm_open(path, os.O_RDWR, 0o600)
    if fd < 0:
        fd = libc.shm_open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.ftruncate(fd, SIZE)
    memory = mmap.mmap(fd, os.fstat(fd).st_size)
    os.close(fd)
    return memory


class Lock:
    def __init__(self, name):
        self.semaphore = ctypes.c_void_p(
            libc.sem_open(name.encode(), os.O_CREAT, 0o600, 1))
        self.memory = open_memory(name)
        self.mine = False

    def value(self):
        value = ctypes.c_int()
        libc.sem_getvalue(self.semaphore, ctypes.byref(value))
        return value.value

    def get(self, seconds, info, same_process_ok=False):
        if same_process_ok and self.mine:
            return True
        until = time.time() + float(seconds)
        deadline = Timespec(int(until), int(until % 1 * 1e9))
        if libc.sem_timedwait(self.semaphore, ctypes.byref(deadline)) < 0:
            return False
        self.memory.seek(0)
        self.memory.write(f"{datetime.datetime.now()} - {info}\0".encode())
        self.mine = True
        return True

    def unget(self, force=False):
        if self.value() != 0 or not (self.mine or force):
            return False
        libc.sem_post(self.semaphore)
        self.mine = False
        return True

    def info(self):
        self.memory.seek(0)
        return self.memory.read().split(b"\0", 1)[0].decode()


def answer(lock, command, *arguments):
    if command in ("get", "same"):
        return lock.get(*arguments, same_process_ok=command == "same")
    if command in ("unget", "force"):
        return lock.unget(force=command == "force")
    return lock.value() if command == "value" else lock.info()


def main():
    lock = Lock("/" + sys.argv[1])
    print("ready", flush=True)
    for line in sys.stdin:
        print(answer(lock, *line.strip().split(maxsplit=2)), flush=True)


main()
