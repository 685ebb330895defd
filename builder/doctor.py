"""`pybuild doctor`: what RUN and the rest need of this place, each tried for real, and the one command that mends it.

Nothing is guessed from versions, and nothing stays: tries are forks, files lie in a folder that goes again, no store is made.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from pybuild.builder.errors import SandboxError
from pybuild.builder.layers.ownership import make_whiteout
from pybuild.builder.sandbox import cgroups, devices, kernel, mapping, privilege, privileges, tries
from pybuild.builder.sandbox.confinement import Confinement
from pybuild.builder.sandbox.inside import inside
from pybuild.builder.sandbox.network import find_stack
from pybuild.registry.errors import RegistryError

WORKS, LESS, FAILS = "works", "less", "fails"
LEVELS = ("namespaces", "user namespaces", "chroot", "no RUN")
_ENOUGH_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class Check:
    """One row: `state` is works, less (it goes, with a loss) or fails; `mend` is a command, or words where no command does it."""

    name: str
    state: str
    said: str
    mend: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """All rows, and which levels the place allows."""

    checks: tuple[Check, ...]
    levels: Mapping[str, bool] = field(default_factory=dict)

    @property
    def level(self) -> str:
        """The level that RUN takes: the first that works."""
        return next(level for level in LEVELS if self.levels.get(level) or level == LEVELS[-1])


@dataclass(frozen=True, slots=True)
class _Tried:
    """What a process can do, as root of the place or of a user namespace: None, or why it can't."""

    namespaces: str | None
    overlay: str | None
    seccomp: str | None
    isolated: str | None
    network: str | None
    chroot: str | None


def examine(root: str | os.PathLike[str], environ: Mapping[str, str]) -> Report:
    """Try everything, for a store in `root`. For a process with one thread."""
    with tempfile.TemporaryDirectory(prefix=".pybuild-doctor-", dir=_ground(Path(root))) as folder:
        checks, levels = _examine_run(folder)
        return Report((*checks, *_store(folder, Path(root)), _configuration(environ), _architectures()), levels)


def _ground(root: Path) -> Path:
    """Where a store's files would lie, if it may be written to."""
    nearest = _nearest(root)
    return nearest if _is_ours(nearest) else Path(tempfile.gettempdir())


def _nearest(root: Path) -> Path:
    """The first folder on the way up that is there."""
    return next(place for place in (root / "tmp", root, *root.parents) if place.is_dir())


def _is_ours(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


# RUN


def _examine_run(folder: str) -> tuple[list[Check], dict[str, bool]]:
    may_mount = privilege.has(privilege.CAP_SYS_ADMIN)
    own = _try_all(folder)
    one_id: list[str] = []
    refusal, user = None, None
    try:
        user = inside(lambda _: _try_all(folder), on_one_id=one_id.append)
    except SandboxError as error:
        refusal = error.message.rpartition(": ")[2]
    levels = {
        "namespaces": may_mount and own.namespaces is None,
        "user namespaces": user is not None and user.namespaces is None,
        "chroot": own.chroot is None or (user is not None and user.chroot is None),
        "no RUN": True,
    }
    has_first = levels["namespaces"]
    best = own if has_first or user is None else user
    checks = [
        Check("system", WORKS, f"Linux {os.uname().release} {os.uname().machine}, Python {sys.version.partition(' ')[0]}"),
        Check("user", WORKS, f"uid {os.geteuid()}, {'may mount' if may_mount else 'may not mount'}"),
        _user_namespaces(refusal, user, is_needed=not has_first),
        _ids(one_id, user, is_needed=not has_first),
        _tried("namespaces", best.namespaces, "mounts, processes, IPC and host name are kept apart", mend=_mend_namespaces()),
        _tried("overlay", best.overlay, "the kernel's", mend="put the store on a volume: --root DIR, or PYBUILD_ROOT", lost=LESS),
        _tried("chroot", None if levels["chroot"] else own.chroot, "taken where namespaces are refused", lost=LESS),
        _tried("seccomp", best.seccomp, "docker's filter of system calls loads", lost=LESS),
        _tried("network", best.isolated, "RUN has one of its own", mend=_mend_network(), lost=LESS),
        _tried("network none", best.network, "RUN --network=none has a loopback alone", lost=LESS),
        _groups(folder),
        _devices(is_needed=has_first),
    ]
    return checks, levels


def _try_all(folder: str) -> _Tried:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        spaces = tries.namespaces(scratch)
        return _Tried(
            namespaces=spaces,
            overlay=tries.overlay(folder) if spaces is None else f"there are no mounts: {spaces}",
            seccomp=tries.attempt(lambda: kernel.load_filter(privileges.seccomp_filter())),
            isolated=tries.network() if spaces is None else f"there are no mounts: {spaces}",
            network=tries.attempt(lambda: kernel.unshare(kernel.CLONE_NEWNET)),
            chroot=tries.chroot(scratch),
        )


def _tried(name: str, reason: str | None, said: str, *, mend: str | None = None, lost: str = FAILS) -> Check:
    return Check(name, WORKS, said) if reason is None else Check(name, lost, reason, mend)


def _user_namespaces(refusal: str | None, user: _Tried | None, *, is_needed: bool) -> Check:
    lost = FAILS if is_needed else LESS
    if refusal is None and user is not None:
        if user.namespaces is None:
            return Check("user namespaces", WORKS, "an ordinary user's RUN" if is_needed else "not needed by this user")
        refusal = f"made, but of no use: {user.namespaces}"
    return Check("user namespaces", lost, refusal or "refused", _mend_namespaces())


def _mend_namespaces() -> str | None:
    """The one command behind which namespaces are no longer refused, as the kernel's switches say."""
    if _value("/proc/sys/user/max_user_namespaces") == "0":
        return "as root: sysctl -w user.max_user_namespaces=15000"
    if _value("/proc/sys/kernel/unprivileged_userns_clone") == "0":
        return "as root: sysctl -w kernel.unprivileged_userns_clone=1"
    if _value("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
        return "as root: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
    if any(line.split() == ["Seccomp:", "2"] for line in _value("/proc/self/status").splitlines()):
        return "start the container around us with --privileged, or with --security-opt seccomp=unconfined,apparmor=unconfined"
    return None


def _mend_network() -> str:
    if find_stack() is None:
        return "as root: apt-get install passt"
    if not os.path.exists("/dev/net/tun"):
        return "as root: modprobe tun"
    if not os.access("/dev/net/tun", os.R_OK | os.W_OK):
        return "as root: chmod 0666 /dev/net/tun"
    return "--network host, or none"


def _ids(one_id: list[str], user: _Tried | None, *, is_needed: bool) -> Check:
    if user is None:
        return Check("ids", LESS, "no user namespace to map any in")
    if one_id:
        return Check("ids", LESS, f"one alone: {one_id[0].partition(': ')[0]}", mapping.advice())
    found = mapping.own_mapping()
    counts = [sum(count for _, _, count in rows) for rows in (found.users, found.groups)]
    return Check("ids", WORKS, f"{min(counts)} mapped" + ("" if is_needed else ", not needed by this user"))


def _groups(folder: str) -> Check:
    """A group is made with all limits, and removed."""
    found = cgroups.here()
    versions = sorted({place.version for place in found.values()})
    kind = {(): "none", (1,): "version 1", (2,): "version 2"}.get(tuple(versions), "versions 1 and 2")
    everything = Confinement(memory=1 << 30, cpus=1, pids=1000)
    with cgroups.limited(everything, f"doctor-{os.urandom(4).hex()}", f"{folder}/groups") as group:
        if not group.refused:
            return Check("control groups", WORKS, f"{kind}; --memory, --cpus and --pids-limit hold")
        options = ", ".join(text.partition(" ")[0] for text in group.refused)
        mend = "systemd-run --user --scope pybuild ..." if os.geteuid() and versions else None
        return Check("control groups", LESS, f"{kind}; not enforced: {options}", mend)


def _devices(*, is_needed: bool) -> Check:
    """What keeps a command from the machine's devices."""
    if not (is_needed and devices.is_needed()):
        return Check("devices", WORKS, "no node that a RUN makes opens one")
    reason = tries.attempt(_hold)
    if reason is None:
        return Check("devices", WORKS, "RUN may open docker's few, by a control group")
    return Check("devices", LESS, f"RUN may open none but those of /dev: {reason}")


def _hold() -> None:
    fence = devices.put_up()
    if not fence.is_up:
        raise OSError(0, "no control group can be made for it")
    fence.take_down()


# The rest


def _store(folder: str, root: Path) -> Iterator[Check]:
    """The file system that the store lies on, or would."""
    if not _is_ours(_nearest(root)):
        yield Check("store", FAILS, f"{root} cannot be written to", "set PYBUILD_ROOT to a folder of yours")
        return
    kind = _file_system(folder)
    lacks = [what for what, reason in _store_tries(folder) if reason is not None]
    state = WORKS if not lacks else FAILS if "locks" in lacks else LESS
    said = f"{root} on {kind}" + (f", without {', '.join(lacks)}" if lacks else "")
    yield Check("store", state, said, "put the store on a local disk: --root DIR, or PYBUILD_ROOT" if lacks else None)
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    said = f"{free / 1e9:.1f} GB free, {status.f_favail} files" if status.f_files else f"{free / 1e9:.1f} GB free"
    is_enough = free > _ENOUGH_BYTES and (not status.f_files or status.f_favail > 20_000)
    yield Check("space", WORKS if is_enough else LESS, said, None if is_enough else "pybuild prune, or another disk")


def _store_tries(folder: str) -> Iterator[tuple[str, str | None]]:
    import fcntl

    def attributes() -> None:
        os.setxattr(folder, "user.pybuild", b"1")

    def whiteouts() -> None:
        descriptor = os.open(folder, os.O_RDONLY)
        make_whiteout("whiteout", dir_fd=descriptor)

    def links() -> None:
        os.close(os.open(f"{folder}/one", os.O_CREAT | os.O_WRONLY))
        os.link(f"{folder}/one", f"{folder}/two")

    def locks() -> None:
        fcntl.flock(os.open(f"{folder}/lock", os.O_CREAT | os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)

    for what, action in (("attributes", attributes), ("whiteouts", whiteouts), ("hard links", links), ("locks", locks)):
        yield what, tries.attempt(action)


def _file_system(folder: str) -> str:
    """The kind of file system that a folder is on, by the mount that is nearest above it."""
    best, kind = "", "an unknown file system"
    place = os.path.realpath(folder)
    for line in _value("/proc/self/mountinfo").splitlines():
        before, _, behind = line.partition(" - ")
        mount = before.split()[4].encode("latin-1", "replace").decode("unicode_escape")
        if f"{place}/".startswith(f"{mount.rstrip('/')}/") and len(mount) >= len(best):
            best, kind = mount, behind.split()[0]
    return kind


def _configuration(environ: Mapping[str, str]) -> Check:
    """The files about registries and logins, read as a build reads them."""
    from pybuild.registry import credentials, settings

    try:
        rules = settings.load(environ)
        credentials.find("doctor.invalid", environ=environ)
    except RegistryError as error:
        return Check("registries", FAILS, str(error), error.hint)
    return Check("registries", WORKS, f"configuration and logins are readable, {len(rules)} rules")


def _architectures() -> Check:
    """What runs programs of other machines: handlers that the kernel knows, and may start inside of a sandbox."""
    folder = "/proc/sys/fs/binfmt_misc"
    try:
        names = sorted(name for name in os.listdir(folder) if name.startswith("qemu-"))
    except OSError:
        names = []
    fixed = [name.removeprefix("qemu-") for name in names if _is_fixed(f"{folder}/{name}")]
    if fixed:
        return Check("other machines", WORKS, f"RUN for {', '.join(fixed)}")
    mend = "as root: apt-get install qemu-user-static binfmt-support"
    return Check("other machines", LESS, f"RUN for {os.uname().machine} alone", mend)


def _is_fixed(path: str) -> bool:
    return any(line.startswith("flags:") and "F" in line for line in _value(path).splitlines())


def _value(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""
