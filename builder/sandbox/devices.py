"""Which devices a command of the machine's root may open: those of docker's defaults, by a control group.

Such a command may make any device node, as with docker, and an image may bring one: without this it would read the machine's
disks. In a user namespace the kernel opens no node that was made there. Where there is no control group for it, file systems are
mounted without devices (`nodev`), which also takes away those that a chroot inside of a RUN may want.

Source: the kernel's cgroup-v1/devices.rst; cgroup-v2.rst, "Device controller"; linux/bpf.h; runc, libcontainer/specconv.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct

from pybuild.builder.sandbox import cgroups, kernel, privilege
from pybuild.builder.sandbox.kernelfiles import write
from pybuild.values import frozen

_NAME = f"{cgroups.PREFIX}devices"
# null, zero, full, random, urandom, tty, ptmx; -1 for any: terminals.
_OPENED = ((1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 2), (136, -1))
_TRIES = 100


@frozen
class Fence:
    """What holds this process and all that it forks: a group below the one at `place`, or nothing."""

    place: cgroups.Place | None = None

    @property
    def is_up(self) -> bool:
        """Whether it holds anybody."""
        return self.place is not None

    def spread(self, groups: tuple[str, ...]) -> None:
        """Have other groups, which a command is about to go into, hold it too. Raises OSError."""
        for group in groups:
            if self.place is not None and group.startswith(f"{self.place.top}/"):
                _deny(group, self.place.version)

    def leave(self) -> None:
        """Have this process be where it was before. Raises OSError."""
        if self.place is not None:
            cgroups.join((self.place.own,))

    def take_down(self) -> None:
        """Leave, and remove the group if nobody else is in it."""
        if self.place is not None:
            with contextlib.suppress(OSError):
                self.leave()
                os.rmdir(f"{self.place.own}/{_NAME}")


def clear() -> None:
    """Remove the group that a process has put up and was in until it ended, unless others are in it."""
    for place in cgroups.for_devices() if is_needed() else ():
        with contextlib.suppress(OSError):
            os.rmdir(f"{place.own}/{_NAME}")


def is_needed() -> bool:
    """Whether a command could open a device at all."""
    return privilege.has(privilege.CAP_MKNOD) and not privilege.is_in_user_namespace()


def put_up() -> Fence:
    """Go into a group that is held; a fence that holds nobody when there can be no such group, or it is not needed."""
    for place in cgroups.for_devices() if is_needed() else ():
        folder = f"{place.own}/{_NAME}"
        for _ in range(_TRIES):
            try:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(folder)
                # One at a time: for a moment nothing may be opened.
                descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX)
                    _deny(folder, place.version)
                    cgroups.join((folder,))
                finally:
                    os.close(descriptor)
                return Fence(place)
            except FileNotFoundError:
                # Another build's, which has just ended, and has taken it away.
                continue
            except OSError:
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
                break
    return Fence()


def _deny(folder: str, version: int) -> None:
    if version == 2:
        _attach(folder)
        return
    with open(f"{folder}/devices.list", encoding="ascii") as file:
        # Several builds have one group: the first of them has said what holds.
        if not file.read().startswith("a *:* rwm"):
            return
    write(f"{folder}/devices.deny", "a")
    for kind in "bc":
        write(f"{folder}/devices.allow", f"{kind} *:* m")
    for major, minor in _OPENED:
        write(f"{folder}/devices.allow", f"c {major}:{minor if minor >= 0 else '*'} rwm")


# Version 2: a program that the kernel asks. Its argument points to (access << 16 | kind, major, minor).


def _attach(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        kernel.attach_device_program(descriptor, _program())
    finally:
        os.close(descriptor)


_CHARACTER, _MAKE = 2, 1
_LOAD, _MOVE, _SHIFT, _AND, _EQUAL, _UNEQUAL, _SET, _EXIT = 0x61, 0xBF, 0x74, 0x54, 0x15, 0x55, 0xB7, 0x95


def _program() -> bytes:
    """What is made is allowed, whatever it is; what is opened only if it is in the list."""
    code = [
        _step(_LOAD, 2, source=1, offset=0),
        _step(_LOAD, 4, source=1, offset=4),
        _step(_LOAD, 5, source=1, offset=8),
        _step(_MOVE, 3, source=2),
        _step(_SHIFT, 3, value=16),
        _step(_UNEQUAL, 3, offset=2, value=_MAKE),
        _step(_SET, 0, value=1),
        _step(_EXIT),
        _step(_AND, 2, value=0xFFFF),
        _step(_EQUAL, 2, offset=2, value=_CHARACTER),
        _step(_SET, 0, value=0),
        _step(_EXIT),
    ]
    for major, minor in _OPENED:
        found = [_step(_SET, 0, value=1), _step(_EXIT)]
        if minor >= 0:
            found.insert(0, _step(_UNEQUAL, 5, offset=2, value=minor))
        code += [_step(_UNEQUAL, 4, offset=len(found), value=major), *found]
    return b"".join((*code, _step(_SET, 0, value=0), _step(_EXIT)))


def _step(operation: int, target: int = 0, *, source: int = 0, offset: int = 0, value: int = 0) -> bytes:
    return struct.pack("=BBhi", operation, target | source << 4, offset, value)
