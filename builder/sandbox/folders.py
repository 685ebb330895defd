"""What a sandbox needs on disk before it starts, and what has to go again when it has ended."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass

from pybuild.builder.sandbox.spec import Lookup, Mount, Overlay, sandbox_mounts

_HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"


@dataclass(frozen=True, slots=True)
class Furniture:
    """All of a sandbox but its command."""

    rootfs: Overlay
    mounts: tuple[Mount, ...]
    missing: tuple[tuple[str, bool], ...]


def furnish(folder: str, lower: tuple[str, ...], lookup: Lookup, *, hostname: str, network: str) -> Furniture:
    """Make, in `folder`, what a sandbox over `lower` needs; `lookup` shows the file system that these make."""
    overlay = make_overlay(folder, lower)
    provide_files(folder, hostname, network)
    return Furniture(overlay, *sandbox_mounts(lookup, folder))


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


def provide_files(folder: str, hostname: str, network: str) -> None:
    """Write resolv.conf, hosts and hostname into `folder`, to be mounted over the image's own."""
    resolv = b""
    if network != "none":
        with contextlib.suppress(OSError), open("/etc/resolv.conf", "rb") as file:
            resolv = file.read()
    hosts = f"{_HOSTS}127.0.1.1\t{hostname}\n"
    for name, content in (("resolv.conf", resolv), ("hosts", hosts.encode()), ("hostname", f"{hostname}\n".encode())):
        with open(f"{folder}/{name}", "wb") as file:
            file.write(content)
        os.chmod(f"{folder}/{name}", 0o644)


def clear(upper: str, missing: tuple[tuple[str, bool], ...]) -> None:
    """Take the mount points out of an overlay's upper directory that were made for the sandbox and hold nothing."""
    for path, is_directory in reversed(missing):
        place = f"{upper}/{path}"
        try:
            parent = os.stat(os.path.dirname(place), follow_symlinks=False)
            if is_directory:
                os.rmdir(place)
            elif os.lstat(place).st_size == 0:
                os.unlink(place)
            else:
                continue
            os.utime(os.path.dirname(place), ns=(parent.st_atime_ns, parent.st_mtime_ns))
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError:
            # The command has put something there: then it is the layer's.
            continue
