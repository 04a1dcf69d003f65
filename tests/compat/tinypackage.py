"""A Debian system of one's own, and a package for it: nothing of the machine is touched.

The package's postinst asks whoever installs it: it says `configures`, and waits
for a line.
"""
import os

import case

CONTROL = """Package: relock-compat
Version: 1
Architecture: all
Maintainer: Nobody <nobody@localhost>
Description: package of a test
"""

POSTINST = """#!/bin/sh
echo configures
read line
"""


class Root:
    def __init__(self, folder):
        self.folder = os.path.join(folder, "root")
        self.admin = os.path.join(self.folder, "var/lib/dpkg")
        for part in ("info", "updates"):
            os.makedirs(os.path.join(self.admin, part))
        self.status = os.path.join(self.admin, "status")
        with open(self.status, "w", encoding="ascii"):
            pass
        self.options = [f"--root={self.folder}", "--force-script-chrootless",
                        "--log=/dev/null"]

    def dpkg(self, *arguments):
        return ["dpkg", *self.options, *arguments]

    def installed(self):
        return "Status: install ok installed" in case.say("dpkg-query",
                                                          f"--admindir={self.admin}", "--status",
                                                          "relock-compat")


def build(folder):
    tree = os.path.join(folder, "package")
    os.makedirs(os.path.join(tree, "DEBIAN"))
    for name, text, mode in (("control", CONTROL, 0o644), ("postinst", POSTINST, 0o755)):
        path = os.path.join(tree, "DEBIAN", name)
        with open(path, "w", encoding="ascii") as file:
            file.write(text)
        os.chmod(path, mode)
    package = os.path.join(folder, "relock-compat.deb")
    case.say("dpkg-deb", "--build", tree, package)
    return package


def install(command):
    """Starts the installation; it is in the package's postinst when this returns."""
    peer = case.Peer(*command)
    while peer.line() != "configures":
        pass
    return peer
