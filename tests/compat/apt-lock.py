"""apt says which process has the lock that it wants; and installs a package.

apt keeps the lock of the frontend while it runs dpkg, which takes the other
one, that apt has given back for it.
"""
import os

import case
import tinypackage

# Read in place of the machine's own configuration.
CONFIGURATION = """
Dir::Etc "{folder}/apt";
Dir::State "{folder}/apt";
Dir::State::Status "{root.status}";
Dir::Cache "{folder}/apt";
Dir::Log "{folder}/apt";
APT::Sandbox::User "root";
Dpkg::Use-Pty "false";
"""


def configure(folder, root):
    for part in ("lists/partial", "archives/partial", "apt.conf.d", "sources.list.d",
                 "preferences.d"):
        os.makedirs(os.path.join(folder, "apt", part))
    path = os.path.join(folder, "apt", "own.conf")
    with open(path, "w", encoding="ascii") as file:
        file.write(CONFIGURATION.format(folder=folder, root=root))
        for option in root.options:
            file.write(f'Dpkg::Options:: "{option}";\n')
    os.environ["APT_CONFIG"] = path


def names(command, lock):
    for outside in (False, True):
        with case.holder(lock, outside) as holder:
            said = case.say(*command, status=1)
            case.check(f"Could not get lock {lock}. It is held by process {holder.pid} (" in said,
                       f"pid {holder.pid} is not in: {' '.join(said.split())}")


def run(folder):
    package = tinypackage.build(folder)
    root = tinypackage.Root(folder)
    configure(folder, root)
    install = ["apt-get", "--yes", "install", package]

    names(["apt-get", "update"], os.path.join(folder, "apt", "lists", "lock"))
    names(install, os.path.join(root.admin, "lock-frontend"))
    names(install, os.path.join(root.admin, "lock"))

    with tinypackage.install(install) as apt:
        said = case.say(*install, status=1)
        case.check(f"lock-frontend. It is held by process {apt.pid} (apt-get)" in said,
                   f"pid {apt.pid} is not in: {' '.join(said.split())}")
        apt.tell("\n")
        apt.finish()
    case.check(root.installed(), "the package is not installed")


case.main(run)
