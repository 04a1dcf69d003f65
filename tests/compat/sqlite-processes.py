"""The sqlite3 command in many processes, half of them outside the shim.

All insert into one database, in autocommit; in a rollback journal and in WAL
mode.
"""
import os

import case

PROCESSES, ROWS = 6, 60


def start(path, number):
    peer = case.Peer("sqlite3", "-batch", "-bail", path, outside=number % 2 == 1)
    peer.tell(f".timeout {case.PATIENCE * 1000}\nPRAGMA synchronous = OFF;\n")
    for row in range(ROWS):
        peer.tell(f"INSERT INTO t VALUES ({number}, {row});\n")
    return peer


def run(folder):
    for mode in ("delete", "wal"):
        path = os.path.join(folder, mode)
        case.say("sqlite3", path, f"PRAGMA journal_mode = {mode}; CREATE TABLE t (process, row)")
        for peer in [start(path, number) for number in range(PROCESSES)]:
            with peer:
                case.equal(peer.finish(), "", f"{mode}: what sqlite3 says")
        case.equal(case.say("sqlite3", path, "SELECT count(*) FROM t; PRAGMA integrity_check"),
                   f"{PROCESSES * ROWS}\nok\n", mode)


case.main(run)
