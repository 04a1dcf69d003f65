"""dpkg says which process has the lock that it wants, and has it alone.

dpkg takes F_SETLK on two files for as long as it works, and asks F_GETLK for
the pid when it cannot have one.
"""
import os

import case
import tinypackage


def names(root, command, pid):
    said = case.say(*command, status=1)
    case.check(f"lock was locked by another process with pid {pid}\n" in said,
               f"pid {pid} is not in: {' '.join(said.split())}")
    case.check("installed" not in said, "it goes on without the lock")
    case.equal(os.path.getsize(root.status), 0, "size of the database")


def run(folder):
    package = tinypackage.build(folder)
    root = tinypackage.Root(folder)
    command = root.dpkg("--install", package)

    for outside in (False, True):
        for lock in ("lock-frontend", "lock"):
            with case.holder(os.path.join(root.admin, lock), outside) as holder:
                names(root, command, holder.pid)

    # A second dpkg, while the first runs the package's script.
    with tinypackage.install(command) as first:
        said = case.say(*command, status=1)
        case.check(f"another process with pid {first.pid}\n" in said,
                   f"pid {first.pid} is not in: {' '.join(said.split())}")
        first.tell("\n")
        first.finish()
    case.check(root.installed(), "the package is not installed")


case.main(run)
