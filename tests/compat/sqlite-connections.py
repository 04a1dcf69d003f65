"""SQLite with many connections in one process.

SQLite makes one owner of them: it closes no descriptor of a database while the
process has a lock on it, and may unlock through another descriptor than it
locked through.  In a rollback journal and in WAL mode.
"""
import os
import sqlite3
import threading

import case

THREADS, TRANSACTIONS, CONNECTION_LIFE = 4, 60, 10


def connect(path, timeout=case.PATIENCE):
    connection = sqlite3.connect(path, timeout=timeout, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    return connection


def insert(path, number, failures):
    try:
        for first in range(0, TRANSACTIONS, CONNECTION_LIFE):
            connection = connect(path)
            for row in range(first, first + CONNECTION_LIFE):
                connection.execute("BEGIN IMMEDIATE")
                connection.execute("INSERT INTO t VALUES (?, ?)", (number, row))
                connection.execute("COMMIT")
                connection.execute("SELECT count(*) FROM t").fetchone()
            connection.close()
    except sqlite3.Error as error:
        failures.append(str(error))


def two_in_turn(path):
    """One reads, the other writes; one thread, so nobody is in anybody's way."""
    reader, writer = connect(path, 0), connect(path, 0)
    try:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM t").fetchone()
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("INSERT INTO t VALUES (-1, -1)")
        reader.execute("COMMIT")
        writer.execute("COMMIT")
        reader.execute("DELETE FROM t")
    except sqlite3.OperationalError as error:
        raise case.Wrong(f"two connections: {error}") from error
    finally:
        reader.close()
        writer.close()


def many_at_once(path):
    failures = []
    threads = [threading.Thread(target=insert, args=(path, number, failures))
               for number in range(THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    case.check(not failures, f"threads: {', '.join(sorted(set(failures)))}")
    connection = connect(path)
    case.equal(connection.execute("SELECT count(*) FROM t").fetchone()[0],
               THREADS * TRANSACTIONS, "rows")
    case.equal(connection.execute("PRAGMA integrity_check").fetchone()[0], "ok", "integrity")
    connection.close()
    # The process has no lock left: another gets an exclusive one.
    case.say("sqlite3", "-bail", path,
             "PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE; DELETE FROM t; COMMIT")


def run(folder):
    for mode in ("delete", "wal"):
        path = os.path.join(folder, mode)
        connection = connect(path)
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE t (thread, row)")
        connection.close()
        two_in_turn(path)
        many_at_once(path)


case.main(run)
