"""Limits of a step by control groups: version 1, 2, both, or none; where a limit cannot be had, that is said and nothing else.

A group is a child of our own, or of the next one above that takes it: in version 2 a group with processes of its own has no
children with controllers. It is removed behind the step. Source: the kernel's cgroup-v1/ and cgroup-v2.rst.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterator, Mapping

from pybuild.builder.sandbox import privilege
from pybuild.builder.sandbox.confinement import Confinement
from pybuild.builder.sandbox.kernelfiles import read, write
from pybuild.values import frozen

PREFIX = "pybuild-"
_PERIOD = 100_000
_REMOVAL_SECONDS = 1.0


@frozen
class Place:
    """Where a controller is: the folder of our own group, that of the whole tree, and the version."""

    own: str
    top: str
    version: int


@frozen
class Group:
    """The group of a step: folders to join, and limits that cannot be enforced, with reasons."""

    folders: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    memory: str | None = None

    def ran_out_of_memory(self) -> bool:
        """Whether the kernel has ended a process of it for want of memory."""
        if self.memory is None:
            return False
        for name in ("memory.events", "memory.oom_control"):
            for line in read(f"{self.memory}/{name}").splitlines():
                key, _, count = line.partition(" ")
                if key == "oom_kill" and count.strip() not in ("", "0"):
                    return True
        return False


def places(mountinfo: str, own: str) -> Mapping[str, Place]:
    """Where each controller is, out of /proc/self/mountinfo and /proc/self/cgroup; version 1 where it is in both."""
    found: dict[str, Place] = {}
    for place, names in _hierarchies(mountinfo, own):
        if place.version == 2:
            # What our own group lacks, as systemd gives cpu to few, one above may have.
            for folder in (place.own, place.top):
                found.update({name: place for name in read(f"{folder}/cgroup.controllers").split() if name not in found})
        else:
            found.update(dict.fromkeys(names, place))
    return found


def _hierarchies(mountinfo: str, own: str) -> Iterator[tuple[Place, tuple[str, ...]]]:
    """Each mounted tree of groups, with the controllers of it that are named in `own`."""
    paths: dict[str, str] = {}
    for line in own.splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            paths[name] = path
    for line in mountinfo.splitlines():
        before, _, behind = line.partition(" - ")
        fields, kind = before.split(), behind.split()
        if not kind or kind[0] not in ("cgroup", "cgroup2"):
            continue
        root, mount = fields[3], fields[4]
        if kind[0] == "cgroup2":
            yield Place(_below(mount, root, paths.get("", "/")), mount, 2), ()
            continue
        for name in kind[-1].split(","):
            if name in paths:
                yield Place(_below(mount, root, paths[name]), mount, 1), (name,)


def _below(mount: str, root: str, path: str) -> str:
    """Where a group's folder is below a mount that shows the groups from `root` on."""
    rest = path[len(root) :] if root != "/" and f"{path}/".startswith(f"{root}/") else path if root == "/" else ""
    return f"{mount}/{rest.strip('/')}".rstrip("/")


def here() -> Mapping[str, Place]:
    """Where each controller is for this process."""
    return places(read("/proc/self/mountinfo"), read("/proc/self/cgroup"))


def for_devices() -> Iterator[Place]:
    """Where it can be said which devices this process may open, the best place first: version 2 has no controller for it."""
    found = tuple(_hierarchies(read("/proc/self/mountinfo"), read("/proc/self/cgroup")))
    yield from (place for place, names in found if "devices" in names)
    yield from (place for place, _ in found if place.version == 2)


@contextlib.contextmanager
def limited(confinement: Confinement, name: str, record: str) -> Iterator[Group]:
    """A group with these limits, called PREFIX and `name`, gone afterwards.

    `record` is a file that says which folders there are: whoever finds it after a kill removes them by `forget`.
    """
    if not confinement.is_limited:
        yield Group()
        return
    made: list[str] = []
    try:
        yield _make(confinement, name, record, made)
    finally:
        for folder in made:
            _remove(folder)


def _make(confinement: Confinement, name: str, record: str, made: list[str]) -> Group:
    found = here()
    refused = []
    memory = None
    for option, controller, settings in _wanted(confinement):
        place = found.get(controller)
        if place is None:
            refused.append(f"{option} cannot be enforced: there is no control group for it here")
            continue
        reason = None
        for parent in _parents(place):
            folder = f"{parent}/{PREFIX}{name}"
            try:
                _open_group(folder, parent, controller, place.version, settings, record, made)
            except OSError as error:
                reason = reason or error.strerror
                continue
            if controller == "memory":
                memory = folder
            break
        else:
            hint = "start it by systemd-run --user --scope" if privilege.is_in_user_namespace() else "see 'pybuild doctor'"
            refused.append(f"{option} cannot be enforced: {place.own}: {reason}; {hint}")
    return Group(tuple(made), tuple(refused), memory)


def _wanted(confinement: Confinement) -> Iterator[tuple[str, str, Mapping[int, tuple[tuple[str, str, bool], ...]]]]:
    """Each limit's option, its controller, and by version what to write where; True where that may be missing."""
    if confinement.memory is not None:
        size = str(confinement.memory)
        first = (("memory.limit_in_bytes", size, False), ("memory.memsw.limit_in_bytes", size, True))
        yield "--memory", "memory", {1: first, 2: (("memory.max", size, False), ("memory.swap.max", "0", True))}
    if confinement.cpus is not None:
        quota = str(max(1000, int(confinement.cpus * _PERIOD)))
        first = (("cpu.cfs_period_us", str(_PERIOD), False), ("cpu.cfs_quota_us", quota, False))
        yield "--cpus", "cpu", {1: first, 2: (("cpu.max", f"{quota} {_PERIOD}", False),)}
    if confinement.pids is not None:
        setting = (("pids.max", str(confinement.pids), False),)
        yield "--pids-limit", "pids", {1: setting, 2: setting}


def _parents(place: Place) -> Iterator[str]:
    """Our own group and those above it."""
    folder = place.own
    while True:
        yield folder
        if place.version == 1 or folder == place.top or not folder.startswith(f"{place.top}/"):
            return
        folder = os.path.dirname(folder)


def _open_group(
    folder: str,
    parent: str,
    controller: str,
    version: int,
    settings: Mapping[int, tuple[tuple[str, str, bool], ...]],
    record: str,
    made: list[str],
) -> None:
    is_enabled = False
    if version == 2 and controller not in read(f"{parent}/cgroup.subtree_control").split():
        write(f"{parent}/cgroup.subtree_control", f"+{controller}")
        is_enabled = True
    is_new = folder not in made
    if is_new:
        with open(record, "a", encoding="utf-8") as file:
            file.write(f"{folder}\n")
        os.mkdir(folder)
    try:
        # cpu and pids are also given by a group that has processes, but then for threads: no process may go below it.
        if read(f"{folder}/cgroup.type").strip() not in ("", "domain"):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        for name, value, may_be_missing in settings[version]:
            with contextlib.suppress(*((OSError,) if may_be_missing else ())):
                write(f"{folder}/{name}", value)
        # Whether a process of ours may go there shows only when one goes: that it is asked of the kernel is enough.
        if not os.access(f"{folder}/cgroup.procs", os.W_OK) or not os.access(f"{parent}/cgroup.procs", os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError:
        if is_new:
            os.rmdir(folder)
        if is_enabled:
            write(f"{parent}/cgroup.subtree_control", f"-{controller}")
        raise
    if is_new:
        made.append(folder)


def join(folders: tuple[str, ...]) -> None:
    """Go into groups; what is forked later is in them too. Raises OSError."""
    for folder in folders:
        write(f"{folder}/cgroup.procs", "0")


def forget(record: str) -> None:
    """Remove the groups that a record names, which a killed pybuild left."""
    for folder in read(record).splitlines():
        if os.path.basename(folder).startswith(PREFIX):
            _remove(folder)


def _remove(folder: str) -> None:
    """Remove a group. The kernel may take a moment to see that its last process has ended."""
    end = time.monotonic() + _REMOVAL_SECONDS
    while True:
        try:
            os.rmdir(folder)
        except FileNotFoundError:
            return
        except OSError:
            if time.monotonic() > end:
                return
            time.sleep(0.001)
        else:
            return
