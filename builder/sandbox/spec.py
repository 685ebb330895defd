"""What is to be run, and in which surroundings, as plain values; the mounts that every sandbox has, as a table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pybuild.builder.accounts import Account
from pybuild.builder.layers.entry import Entry, Kind
from pybuild.builder.layers.index import follow
from pybuild.builder.sandbox import kernel

Lookup = Callable[[str], Entry | None]
NETWORKS = ("default", "host", "none")

NO = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC


@dataclass(frozen=True, slots=True)
class Overlay:
    """An overlay mount: `lower` topmost first; `upper` and `work` empty directories on one file system."""

    lower: tuple[str, ...]
    upper: str
    work: str
    mountpoint: str


@dataclass(frozen=True, slots=True)
class Mount:
    """One mount below the root; `target` is relative to it, with no link in it."""

    kind: str
    source: str
    target: str
    flags: int = 0
    data: str | None = None


@dataclass(frozen=True, slots=True)
class Command:
    """A command in a sandbox. `missing` are the mount points that the root lacks: a path, and whether it is a directory.

    `security` is sandbox, or insecure: with all capabilities, no filter, and nothing of /proc and /sys hidden.
    """

    argv: tuple[str, ...]
    env: tuple[tuple[str, str], ...]
    cwd: str
    account: Account
    rootfs: Overlay
    network: str = "default"
    hostname: str = "pybuild"
    mounts: tuple[Mount, ...] = ()
    missing: tuple[tuple[str, bool], ...] = ()
    security: str = "sandbox"


MOUNTS = (
    Mount("proc", "proc", "proc", NO),
    Mount("tmpfs", "tmpfs", "dev", kernel.MS_NOSUID, "mode=755,size=65536k"),
    Mount("devpts", "devpts", "dev/pts", kernel.MS_NOSUID | kernel.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"),
    Mount("tmpfs", "shm", "dev/shm", NO, "mode=1777,size=65536k"),
    Mount("mqueue", "mqueue", "dev/mqueue", NO),
    Mount("sysfs", "sysfs", "sys", NO | kernel.MS_RDONLY),
)
# Of what is inside a fresh mount: made there, never in the layer.
INNER = ("dev/pts", "dev/shm", "dev/mqueue")
FILES = ("etc/resolv.conf", "etc/hosts", "etc/hostname")
# Source: moby, oci/defaults.go.
MASKED = (
    "proc/acpi",
    "proc/asound",
    "proc/interrupts",
    "proc/kcore",
    "proc/keys",
    "proc/latency_stats",
    "proc/sched_debug",
    "proc/scsi",
    "proc/timer_list",
    "proc/timer_stats",
    "sys/devices/virtual/powercap",
    "sys/firmware",
)
READ_ONLY = ("proc/bus", "proc/fs", "proc/irq", "proc/sys", "proc/sysrq-trigger")
DEVICES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
    "core": "/proc/kcore",
}


def sandbox_mounts(lookup: Lookup, files: str) -> tuple[tuple[Mount, ...], tuple[tuple[str, bool], ...]]:
    """The mounts of a sandbox over the file system that `lookup` shows, and the mount points that are missing in it.

    `files` is a folder with the files of FILES, under their last names. Links on the way to a mount point are followed.
    """
    mounts: list[Mount] = []
    missing: dict[str, bool] = {}

    def settle(target: str, is_directory: bool) -> str:
        place = follow(lookup, target)
        parts = place.split("/")
        for end in range(1, len(parts) + 1):
            path = "/".join(parts[:end])
            if lookup(path) is None:
                missing.setdefault(path, is_directory or end < len(parts))
        return place

    for mount in MOUNTS:
        if mount.target in INNER:
            mounts.append(mount)
        else:
            mounts.append(Mount(mount.kind, mount.source, settle(mount.target, True), mount.flags, mount.data))
    for path in FILES:
        place = settle(path, False)
        entry = lookup(place)
        if entry is None or entry.kind is Kind.FILE:
            mounts.append(Mount("bind", f"{files}/{path.rpartition('/')[2]}", place, kernel.MS_BIND))
    return tuple(mounts), tuple(missing.items())
