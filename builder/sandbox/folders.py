"""What a sandbox needs on disk before it starts, and what has to go again when it has ended."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable
from itertools import groupby

from pybuild.builder.sandbox import kernel
from pybuild.builder.sandbox.beneath import parent_of
from pybuild.builder.sandbox.network import resolvers
from pybuild.builder.sandbox.spec import STANDING, Lookup, Mount, Overlay, Plain, sandbox_mounts
from pybuild.values import frozen, replace

_HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


@frozen
class Furniture:
    """All of a sandbox but its command."""

    rootfs: Overlay | Plain
    mounts: tuple[Mount, ...]
    missing: tuple[tuple[str, bool], ...]


def furnish(files: str, rootfs: Overlay | Plain, lookup: Lookup, *, are_files_writable: bool = False) -> Furniture:
    """What a sandbox in `rootfs` has beside it; `lookup` shows the file system that is there, `provide_files` made `files`.

    Of /etc/hosts and the others nothing stays, so a command is told that it cannot write there, unless `are_files_writable`.
    """
    mounts, missing = sandbox_mounts(lookup, files)
    if are_files_writable:
        mounts = tuple(replace(mount, flags=mount.flags & ~kernel.MS_RDONLY) for mount in mounts)
    return Furniture(rootfs, mounts, missing)


def make_stage(folder: str) -> str:
    """A new folder in `folder` where what every sandbox has can be put up."""
    stage = f"{folder}/stage"
    os.mkdir(stage, 0o700)
    for name in STANDING:
        os.mkdir(f"{stage}/{name}")
    return stage


def make_overlay(folder: str, lower: tuple[str, ...]) -> Overlay:
    """An overlay over `lower` (topmost first, may be empty), with new directories in `folder`."""
    for name in ("upper", "work", "root"):
        os.mkdir(f"{folder}/{name}")
        # Whatever the umask says: the user of an image has to get in.
        os.chmod(f"{folder}/{name}", 0o755)
    if not lower:
        os.mkdir(f"{folder}/empty")
        lower = (f"{folder}/empty",)
    else:
        # What the top directory is like shows through: overlay takes it from the upper one.
        status = os.stat(lower[0])
        os.chown(f"{folder}/upper", status.st_uid, status.st_gid)
        os.chmod(f"{folder}/upper", status.st_mode & 0o7777)
        os.utime(f"{folder}/upper", ns=(status.st_atime_ns, status.st_mtime_ns))
    return Overlay(lower, f"{folder}/upper", f"{folder}/work", f"{folder}/root")


def provide_files(
    folder: str, hostname: str, network: str, *, resolver: str | None = None, names: tuple[tuple[str, str], ...] = ()
) -> None:
    """Write resolv.conf, hosts and hostname into `folder`, to be mounted over the image's own."""
    resolv = b""
    if network != "none":
        with contextlib.suppress(OSError), open("/etc/resolv.conf", "rb") as file:
            resolv = resolvers(file.read(), resolver=resolver)
    hosts = f"{_HOSTS}127.0.1.1\t{hostname}\n" + "".join(f"{address}\t{name}\n" for name, address in names)
    for name, content in (("resolv.conf", resolv), ("hosts", hosts.encode()), ("hostname", f"{hostname}\n".encode())):
        with open(f"{folder}/{name}", "wb") as file:
            file.write(content)
        os.chmod(f"{folder}/{name}", 0o644)


def clear(upper: str, missing: Iterable[str]) -> None:
    """Take the mount points out of an overlay's upper directory that were made for the sandbox and hold nothing.

    The command may have put links in their places: none is followed.
    """
    for folder, paths in groupby(reversed(tuple(missing)), os.path.dirname):
        with contextlib.suppress(OSError), parent_of(upper, f"{folder}/." if folder else ".") as (parent, _):
            before = os.fstat(parent)
            for path in paths:
                _clear(parent, os.path.basename(path))
            os.utime(parent, ns=(before.st_atime_ns, before.st_mtime_ns))


def _clear(parent: int, name: str) -> None:
    with contextlib.suppress(OSError):
        status = os.lstat(name, dir_fd=parent)
        if stat.S_ISDIR(status.st_mode):
            # Not when the command has put something there: then it is the layer's.
            os.rmdir(name, dir_fd=parent)
        elif stat.S_ISREG(status.st_mode) and status.st_size == 0:
            os.unlink(name, dir_fd=parent)
