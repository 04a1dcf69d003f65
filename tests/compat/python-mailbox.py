"""Python's mailbox module locks a mailbox as mail programs do, by a record lock.

While it is locked, another part of the program counts the messages with a
second mbox object, and closes that.
"""
import mailbox
import os

import case


def run(folder):
    path = os.path.join(folder, "mbox")
    box = mailbox.mbox(path)
    box.lock()
    box.add(mailbox.mboxMessage("Subject: one\n\nText\n"))
    box.flush()  # it writes a new file in place of the old one, and locks that
    case.check(not case.others_may_lock(path), "a lock that excludes nobody")

    count = mailbox.mbox(path)
    case.equal(len(count), 1, "messages")
    count.close()

    case.check(not case.others_may_lock(path, outside=True),
               "LOST: another process has the lock, too")
    box.unlock()
    case.check(case.others_may_lock(path), "the lock stays after the unlock")
    box.close()


case.main(run)
