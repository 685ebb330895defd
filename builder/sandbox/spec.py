"""What is to be run, and in which surroundings, as plain values; the mounts that every sandbox has, as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from pybuild.builder.errors import SandboxError
from pybuild.builder.layers.entry import Entry, Kind
from pybuild.builder.layers.index import follow
from pybuild.builder.sandbox import kernel
from pybuild.builder.steps.accounts import Account
from pybuild.values import frozen

Lookup = Callable[[str], Entry | None]
# Of what is sent to the spawn server and to pid 1 of a sandbox.
LARGEST_MESSAGE = 8 << 20

NO = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC


@frozen
class Overlay:
    """An overlay mount: `lower` topmost first; `upper` and `work` empty directories on one file system.

    Without `upper` it is read-only, and has two lower directories at least.
    """

    lower: tuple[str, ...]
    upper: str
    work: str
    mountpoint: str


@frozen
class Plain:
    """A folder that is the root itself, with everything in it."""

    mountpoint: str


@frozen
class Mount:
    """One mount below a root or a stage; `target` is relative to it, with no link in it."""

    kind: str
    source: str
    target: str
    flags: int = 0
    data: str | None = None


@frozen
class Folder:
    """A directory of the host's, to be mounted out of sight at the empty directory `mountpoint`."""

    path: str
    mountpoint: str
    is_read_only: bool = False


@frozen
class Secret:
    """A file in memory, never on a disk, in a file system of its own that is mounted at the empty directory `mountpoint`."""

    _hidden = ("content",)

    content: bytes
    mountpoint: str
    mode: int = 0o400
    uid: int = 0
    gid: int = 0


@frozen
class Memory:
    """An empty tmpfs; no limit to its size but the kernel's when there is none."""

    size: int | None = None
    is_read_only: bool = False


@frozen
class Attachment:
    """A --mount: `source` inside of `origin`, put at `target`, a path in the sandbox.

    Both are resolved when all that comes before is mounted, and links lead out of neither. A target that is missing is made.
    """

    target: str
    origin: Overlay | Folder | Secret | Memory
    source: str = ""


@frozen
class Setting:
    """What there is to a sandbox before its command is known; commands of equal settings may have each the next one's.

    `stage` is a folder with an empty directory for each of STANDING, where these are put up; without one the sandbox is bare:
    nothing but another root folder is between the command and this place. `network` is host, none, which is a loopback alone, or
    isolated, which `stack`, a command line, serves. `security` is sandbox, or insecure: with all capabilities, no filter, and
    nothing of /proc and /sys hidden. `shm_size` is bytes.
    """

    stage: str = ""
    network: str = "host"
    stack: tuple[str, ...] = ()
    security: str = "sandbox"
    shm_size: int | None = None

    @property
    def is_bare(self) -> bool:
        """Whether there are no mounts."""
        return not self.stage


@frozen
class Command:
    """A command in a sandbox. `missing` are the mount points that the root lacks: a path, and whether it is a directory."""

    _hidden = ("env",)

    argv: tuple[str, ...]
    # Some of it may be secret.
    env: tuple[tuple[str, str], ...]
    cwd: str
    account: Account
    rootfs: Overlay | Plain
    setting: Setting
    hostname: str = "pybuild"
    mounts: tuple[Mount, ...] = ()
    missing: tuple[tuple[str, bool], ...] = ()
    attachments: tuple[Attachment, ...] = ()
    # Names of LIMITS, soft and hard values; -1 is no limit.
    limits: tuple[tuple[str, int, int], ...] = ()
    # Whether its standard input is a terminal, which becomes the one that it is controlled by.
    has_terminal: bool = False
    # Folders of control groups to be in.
    groups: tuple[str, ...] = ()


# What every sandbox has, put up in this order; these directories, and all the others in them.
STANDING = ("proc", "dev", "sys")
SHM = "dev/shm"
MOUNTS = (
    Mount("proc", "proc", "proc", NO),
    Mount("tmpfs", "tmpfs", "dev", kernel.MS_NOSUID, "mode=755,size=65536k"),
    Mount("devpts", "devpts", "dev/pts", kernel.MS_NOSUID | kernel.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5"),
    Mount("tmpfs", "shm", SHM, NO, "mode=1777,size=65536k"),
    Mount("mqueue", "mqueue", "dev/mqueue", NO),
    Mount("sysfs", "sysfs", "sys", NO | kernel.MS_RDONLY),
)
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
INSECURE_DEVICES = ("kmsg", "cuse", "fuse", "kvm", "net/tun", "loop-control")
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
    "core": "/proc/kcore",
}


def sandbox_mounts(lookup: Lookup, files: str) -> tuple[tuple[Mount, ...], tuple[tuple[str, bool], ...]]:
    """The files that are mounted in a sandbox over the file system that `lookup` shows, and all mount points that it lacks.

    `files` is a folder with the files of FILES, under their last names. Links on the way to one of these are followed; one that
    leads into /proc, /sys or /dev, or to where no file can be, stays as it is. Raises SandboxError when one of those three is
    no directory.
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

    for target in STANDING:
        entry = lookup(target)
        if entry is not None and entry.kind is not Kind.DIRECTORY:
            raise SandboxError(f"the image's /{target} is no directory", hint="a RUN has file systems of its own there")
        settle(target, True)
    for path in FILES:
        place = follow(lookup, path)
        if not _can_be_file(lookup, place):
            continue
        settle(place, False)
        entry = lookup(place)
        if entry is None or entry.kind is Kind.FILE:
            mounts.append(Mount("bind", f"{files}/{path.rpartition('/')[2]}", place, kernel.MS_BIND | kernel.MS_RDONLY))
    return tuple(mounts), tuple(missing.items())


def _can_be_file(lookup: Lookup, place: str) -> bool:
    """Whether a file may be provided there: not in a file system of ours, where a name means something else (CVE-2025-52881)."""
    parts = place.split("/")
    if any(mount.target == parts[0] for mount in MOUNTS):
        return False
    above = (lookup("/".join(parts[:end])) for end in range(1, len(parts)))
    return all(entry is None or entry.kind is Kind.DIRECTORY for entry in above)


def traces(lookup: Lookup, targets: Iterable[str]) -> tuple[str, ...]:
    """What mounting at `targets`, in this order, makes in the file system that `lookup` shows: paths that it lacks."""
    covered = {mount.target for mount in MOUNTS}
    found: dict[str, None] = {}
    for target in targets:
        place = follow(lookup, target)
        parts = place.split("/")
        paths = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
        if covered.isdisjoint(paths):
            found.update((path, None) for path in paths if lookup(path) is None)
            covered.add(place)
    return tuple(found)
