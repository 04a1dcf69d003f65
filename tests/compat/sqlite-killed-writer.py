"""A writer is killed in its transaction, while its forked child lives.

The child has the database's descriptor, and knows nothing of it.  The writer's
locks must go with the writer, or nobody can roll its journal back.
"""
import os
import subprocess

import case

WRITER = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute('PRAGMA cache_size = 1')  # what is written goes to the file
connection.execute('BEGIN EXCLUSIVE')
connection.execute('UPDATE t SET x = zeroblob(100000)')
if os.fork() == 0:
    # Lives until the case lets it go.
    print('forked', flush=True)
    sys.stdin.read()
    os._exit(0)
os.read(int(sys.argv[2]), 1)
"""


def run(folder):
    path = os.path.join(folder, "database")
    case.say("sqlite3", path, "CREATE TABLE t (x); INSERT INTO t VALUES ('before')")
    never, never_writer = os.pipe()
    os.set_inheritable(never, True)
    writer = subprocess.Popen([case.sys.executable, "-c", WRITER, path, str(never)],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              close_fds=False)
    case.equal(writer.stdout.readline(), "forked\n", "the writer")
    case.check("locked" in case.say("sqlite3", path, "SELECT x FROM t", status=1),
               "a transaction that excludes nobody")
    writer.kill()
    writer.wait()
    try:
        said = case.say("sqlite3", path, "SELECT x FROM t", status=None)
        case.check("locked" not in said, "the locks of a dead process stay")
        case.equal(said, "before\n", "after the roll-back")
    finally:
        writer.communicate()  # the child ends
        os.close(never)
        os.close(never_writer)


case.main(run)
