"""Test suites of other projects: how to run them, and which of their tests fail.

A suite is run natively and under the shim, and what counts is the difference:
tests that fail on this machine anyway prove nothing, and tests that are not run
prove less.  Each command here ends by itself within minutes.
"""
import dataclasses
import os
import re
import shutil
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

# Debian's, whose modules and tests are used, whatever comes first in PATH.
PYTHON = "/usr/bin/python3"
# Seconds for one file of tests; none here takes a third of that.  Under `ofd`
# some wait forever.
PATIENCE = 90


class CannotRun(Exception):
    pass


@dataclasses.dataclass
class Result:
    failed: frozenset  # the names of the tests
    count: int         # of tests that were run

    def __str__(self):
        return f"{len(self.failed)} of {self.count:,} fail"


def end_what_is_left(process):
    """The process group that a command was started as: all that it started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def run(command, folder, environment):
    """Returns what it says; its exit status says no more than that."""
    with subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          errors="replace", start_new_session=True) as process:
        try:
            return process.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            return None
        finally:
            end_what_is_left(process)


def built(cache, *parts):
    path = os.path.join(cache, *parts)
    if not os.path.exists(path):
        raise CannotRun(f"{path} is not built: scripts/compat --sources builds it")
    return path


class SQLite:
    """Files of SQLite's own test suite, by its testfixture."""

    # All that is about locks, connections and WAL, but for walthread, thread003,
    # walcrash3 and others that run for minutes without being about locks.
    FILES = """
        lock lock2 lock3 lock4 lock5 lock6 lock7 nolock superlock busy busy2
        wal wal2 wal3 wal4 wal5 wal6 wal64k wal7 wal8 wal9 walbak walbig walblock
        walcksum walcrash walcrash2 walcrash4 walfault walfault2 walhook walmode
        walnoshm waloverwrite walpersist walprotocol walprotocol2 walro walro2
        walrofault walsetlk walshared walvfs
        pager1 exclusive exclusive2 unixexcl
        shared shared2 shared3 shared4 shared6 shared7 shared8 shared9 sharedA
        sharedB sharedlock
        thread001 thread002 thread004 thread005 thread1 thread2
        savepoint savepoint2 savepoint5 savepoint7
        attach attach2 attach3 attach4 symlink symlink2
        """.split()

    def __init__(self, cache, scratch):
        self.fixture = os.path.join(scratch, "testfixture")
        self.tests = os.path.join(scratch, "sqlite-tests")
        # Where the user that runs them can read them.
        shutil.copy2(built(cache, "sqlite", "build", "testfixture"), self.fixture)
        shutil.copytree(built(cache, "sqlite", "source", "test"), self.tests,
                        ignore=shutil.ignore_patterns("fuzzdata*"))

    @staticmethod
    def ordinary_user(folder):
        """Some tests do not run as root, others expect to be refused a file."""
        if os.geteuid() != 0:
            return []
        shutil.chown(folder, "nobody", "nogroup")
        return ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]

    def run_file(self, name, folder, environment):
        own = os.path.join(folder, name)
        os.mkdir(own)
        return run([*self.ordinary_user(own), self.fixture,
                    os.path.join(self.tests, name + ".test")], own, environment)

    def run(self, folder, environment):
        failed, count = set(), 0
        # They wait more than they work.
        with ThreadPoolExecutor(max_workers=4) as workers:
            try:
                outputs = list(workers.map(lambda name: self.run_file(name, folder, environment),
                                           self.FILES))
            except BaseException:
                workers.shutdown(wait=False, cancel_futures=True)
                raise
        for name, said in zip(self.FILES, outputs):
            total = said and re.search(r"^(\d+) errors? out of (\d+) tests", said, re.MULTILINE)
            if not total:
                failed.add(f"{name} (hangs)" if said is None else f"{name} (breaks off)")
                continue
            count += int(total[2])
            names = re.search(r"^!?Failures on these tests: (.*)$", said, re.MULTILINE)
            failed.update(names[1].split() if names else [])
            if int(total[1]) and not names:
                failed.add(f"{name} ({total[1]} without a name)")
        return Result(frozenset(failed), count)


class APR:
    """Suites of the Apache Portable Runtime's testall.

    testprocmutex is Apache's mutex between processes, once for each kind that
    there is: fcntl among them.
    """

    SUITES = ["testprocmutex", "testflock", "testproc", "testoc", "testpipe", "testdup",
              "testfile", "testfilecopy"]

    def __init__(self, cache):
        self.folder = os.path.dirname(built(cache, "apr", "build", "test", "testall"))

    def run(self, folder, environment):
        # They find their helpers and data in the working folder.
        own = os.path.join(folder, "test")
        shutil.copytree(self.folder, own, symlinks=True)
        failed = set()
        for name in self.SUITES:
            said = run(["./testall", "-v", name], own, environment)
            if said is None or f"{name:<20}:" not in said or "SUCCESS" not in said:
                lines = re.findall(r"^.*?(Line \d+: .*)$", said or "", re.MULTILINE)
                failed.add(f"{name} ({'; '.join(lines) or 'hangs or breaks off'})")
        return Result(frozenset(failed), len(self.SUITES))


class Python:
    """Python's own tests of what is near to locks, descriptors and processes."""

    NAMES = ["test_fcntl", "test_posix", "test_os", "test_mailbox", "test_fork1", "test_pty",
             "test_tempfile", "test_mmap", "test_subprocess"]

    def run(self, folder, environment):
        failed, count = set(), 0
        for name in self.NAMES:
            said = run([PYTHON, "-m", "test", "-v", name],
                       folder, environment)
            total = said and re.search(r"^Ran (\d+) tests?", said, re.MULTILINE)
            if not total:
                failed.add(f"{name} (hangs or breaks off)")
                continue
            count += int(total[1])
            failed.update(re.findall(r"^(?:FAIL|ERROR): .*\((.*)\)$", said, re.MULTILINE))
        return Result(frozenset(failed), count)
