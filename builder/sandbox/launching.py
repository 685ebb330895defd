"""The last thing that pid 1 does: it becomes the command, by way of a tiny program in sealed memory.

While execve(2) looks at a path, /proc/self/exe is the program that calls it, and an image may name that: as the interpreter of a
script, or by a link. It must not be the interpreter that pybuild runs in: a command that is root here could open it, and change
its mode, or its content as soon as nobody runs it (CVE-2019-5736). `tools/launch.c` is the program; it lies beside this module.
"""

from __future__ import annotations

import errno
import os
import stat

from pybuild.builder.sandbox import kernel
from pybuild.builder.sandbox.spec import Command

_NAME = "pybuild-launch"


def launcher() -> bytes:
    """The program for this machine. Raises OSError when there is none. To be read before the root is the image's."""
    with open(f"{os.path.dirname(__file__)}/{os.uname().machine}.elf", "rb") as file:
        return file.read()


def execute(command: Command, program: bytes) -> int:
    """Become the command. Returns only when that fails: 127 when it is not there, 126 when it is no program."""
    environment = dict(command.env)
    name = command.argv[0]
    places = [name]
    if "/" not in name:
        places = [os.path.join(folder or ".", name) for folder in environment.get("PATH", os.defpath).split(":")]
    refused: OSError | None = None
    for place in places:
        try:
            _check(place)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            refused = refused or error
            continue
        _launch(place, command, environment, program)
    reason = "not found in the image" if refused is None else refused.strerror
    os.write(2, f"{name}: {reason}\n".encode(errors="surrogateescape"))
    return 127 if refused is None else 126


def _check(place: str) -> None:
    """Raise OSError for what is no program of a command's who we are by now."""
    if not stat.S_ISREG(os.stat(place).st_mode) or not os.access(place, os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES))


def _launch(place: str, command: Command, environment: dict[str, str], program: bytes) -> None:
    name = command.argv[0]
    missing = (
        f"{name}: what it wants to be run by is not in the image: the loader of its libraries, or what its first line names\n"
    )
    refused = f"{name}: no program for this machine: a script needs a first line such as #!/bin/sh\n"
    descriptor = kernel.sealed_file(_NAME, program)
    kernel.execute_file(descriptor, (_NAME, missing, refused, place, *command.argv), environment)
