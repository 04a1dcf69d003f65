"""What the programs of this folder share: peers in other processes, and the verdict.

A case is one program, started by scripts/compat with a scratch folder as its
argument, once natively and once for each of the shim's semantics.  It says one
line: `ok`, or what went wrong, which begins with `LOST` where a lock went away
without a word.  Whatever it starts inherits LD_PRELOAD, and so runs as it does,
unless it is started outside the shim, as the other programs of a machine are.

Nobody sleeps here until something has happened: peers talk through pipes.
"""
import os
import select
import signal
import subprocess
import sys

PATIENCE = 30  # seconds that a peer may take for a step

# Says `held`, with the range locked, and keeps it until its standard input ends.
HOLD = """
import os, sys
os.lockf(os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o640), os.F_LOCK, 0)
print('held', flush=True)
sys.stdin.read()
"""

# Says whether the file could be locked just now.
TRY = """
import os, sys
try:
    os.lockf(os.open(sys.argv[1], os.O_RDWR), os.F_TLOCK, 0)
except BlockingIOError:
    print('refused')
else:
    print('granted')
"""


class Wrong(Exception):
    """The verdict, where it is not `ok`."""


def check(condition, verdict):
    if not condition:
        raise Wrong(verdict)


def equal(got, wanted, what):
    check(got == wanted, f"{what}: {got!r}, not {wanted!r}")


def outside_the_shim():
    kept = {name: value for name, value in os.environ.items() if name != "LD_PRELOAD"}
    return {name: value for name, value in kept.items() if not name.startswith("RELOCK_")}


class Peer:
    """Another process: it dies with the case."""

    def __init__(self, *command, outside=False):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
            env=outside_the_shim() if outside else None)
        self.pid = self.process.pid
        self.name = command[0]
        self.heard = b""  # of lines that nobody asked for yet

    def __enter__(self):
        return self

    def __exit__(self, *ignored):
        self.kill()

    def tell(self, text):
        self.process.stdin.write(text.encode())

    def line(self):
        while b"\n" not in self.heard:
            ready, _, _ = select.select([self.process.stdout], [], [], PATIENCE)
            check(ready, f"{self.name} went silent")
            more = os.read(self.process.stdout.fileno(), 4096)
            check(more, f"{self.name} ended, having said: {self.heard.decode()}")
            self.heard += more
        line, _, self.heard = self.heard.partition(b"\n")
        return line.decode()

    def finish(self):
        """Lets it go on: its standard input ends.  Returns what else it says."""
        rest, _ = self.process.communicate(timeout=PATIENCE)
        equal(self.process.returncode, 0, f"exit status of {self.name}")
        return (self.heard + rest).decode()

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def python(text, *arguments, outside=False):
    return Peer(sys.executable, "-c", text, *arguments, outside=outside)


def holder(path, outside=False):
    peer = python(HOLD, path, outside=outside)
    equal(peer.line(), "held", "a program that locks the file")
    return peer


def others_may_lock(path, outside=False):
    """Whether another process could lock the file just now."""
    return python(TRY, path, outside=outside).finish().strip() == "granted"


def say(*command, status=0):
    """Runs a command to its end; returns all that it says.

    It must succeed, or fail, if the status is another one; None: either."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, timeout=PATIENCE, check=False)
    check(status is None or (done.returncode == 0) == (status == 0),
          f"{command[0]} exits with {done.returncode}: {' '.join(done.stdout.split())}")
    return done.stdout


def main(function):
    # The scratch folder of this run is the case's own.
    signal.alarm(4 * PATIENCE)
    try:
        function(sys.argv[1])
    except Wrong as wrong:
        print(wrong)
    else:
        print("ok")
