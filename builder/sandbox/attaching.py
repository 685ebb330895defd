"""RUN --mount, as pid 1 does it before it turns to the image: what is bound, and where, found by descriptors.

By then a cache may be mounted in which a RUN of another build swaps directories for links at any moment. So a name is
resolved by the kernel inside of a root (openat2), and what it meant then is mounted by its descriptor, whatever the name means
later. Nothing is mounted in /proc: there a mount could hide what says who a process is.
"""

from __future__ import annotations

import errno
import os
import stat

from pybuild.builder.sandbox import kernel
from pybuild.builder.sandbox.overlays import mount_overlay
from pybuild.builder.sandbox.spec import NO, Attachment, Folder, Memory, Overlay, Secret

_SECRET = "secret"
_MOST_LINKS = 40


def attach(root: str, attachments: tuple[Attachment, ...], *, has_devices: bool) -> None:
    """Mount all of them over the sandbox's root; without `has_devices` no device can be opened in them.

    Raises OSError with the path that is the trouble.
    """
    if not attachments:
        return
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    proc = os.stat(f"{root}/proc").st_dev
    for attachment in attachments:
        held: list[int] = []
        try:
            _attach(top, attachment, held, proc, has_devices=has_devices)
        finally:
            for descriptor in held:
                os.close(descriptor)
    os.close(top)


def _attach(top: int, attachment: Attachment, held: list[int], proc: int, *, has_devices: bool) -> None:
    origin = attachment.origin
    source = -1
    if not isinstance(origin, Memory):
        exposed = os.open(_expose(origin, has_devices=has_devices), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        held.append(exposed)
        source = kernel.open_in_root(exposed, _SECRET if isinstance(origin, Secret) else attachment.source)
        held.append(source)
    is_directory = source < 0 or stat.S_ISDIR(os.fstat(source).st_mode)
    try:
        target = _place(top, attachment.target.strip("/"), is_directory, held)
    except OSError as error:
        raise OSError(error.errno, error.strerror, attachment.target) from None
    status = os.fstat(target)
    if status.st_dev == proc:
        raise OSError(errno.EPERM, "nothing may be mounted in /proc", attachment.target)
    if stat.S_ISDIR(status.st_mode) != is_directory:
        what = "a directory cannot be mounted over a file" if is_directory else "a file cannot be mounted over a directory"
        raise OSError(errno.ENOTDIR, what, attachment.target)
    if isinstance(origin, Memory):
        flags = kernel.MS_NOSUID | (kernel.MS_RDONLY if origin.is_read_only else 0) | (0 if has_devices else kernel.MS_NODEV)
        kernel.mount("tmpfs", _by(target), "tmpfs", flags, None if origin.size is None else f"size={origin.size}")
    else:
        kernel.mount(_by(source), _by(target), None, kernel.MS_BIND)


def _by(descriptor: int) -> str:
    return f"/proc/self/fd/{descriptor}"


def _expose(origin: Overlay | Folder | Secret, *, has_devices: bool) -> str:
    """Mount an origin where nobody sees it; where that is. Whoever binds a part of it has it read-only if all is."""
    match origin:
        case Overlay():
            mount_overlay(origin)
            if not has_devices:
                kernel.refuse_devices(origin.mountpoint)
        case Folder():
            kernel.mount(origin.path, origin.mountpoint, None, kernel.MS_BIND)
            if origin.is_read_only:
                kernel.make_read_only(origin.mountpoint)
            if not has_devices:
                kernel.refuse_devices(origin.mountpoint)
        case Secret():
            kernel.mount("tmpfs", origin.mountpoint, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=700")
            descriptor = os.open(f"{origin.mountpoint}/{_SECRET}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            rest = memoryview(origin.content)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            os.fchown(descriptor, origin.uid, origin.gid)
            os.fchmod(descriptor, origin.mode & 0o777)
            os.close(descriptor)
            flags = NO if not origin.mode & 0o111 else kernel.MS_NOSUID | kernel.MS_NODEV
            kernel.mount(None, origin.mountpoint, None, kernel.MS_REMOUNT | kernel.MS_BIND | kernel.MS_RDONLY | flags)
    return origin.mountpoint


def _is_link(name: str, parent: int) -> bool:
    return stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)


def _place(top: int, path: str, is_directory: bool, held: list[int], links: int = 0) -> int:
    """What is at a path of the sandbox, made if it is missing, also behind a link; its parents keep their times."""
    try:
        found = kernel.open_in_root(top, path)
        held.append(found)
        return found
    except FileNotFoundError:
        pass
    above, _, name = path.rpartition("/")
    if name in ("", "..", "."):
        raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
    parent = _place(top, above, True, held, links) if above else top
    before = os.stat(_by(parent))
    try:
        if is_directory:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o644, dir_fd=parent))
    except FileExistsError:
        # A link to what is missing; or somebody else has just made it.
        if links > _MOST_LINKS:
            raise
        link = os.readlink(name, dir_fd=parent) if _is_link(name, parent) else name
        return _place(top, link.lstrip("/") if link.startswith("/") else f"{above}/{link}", is_directory, held, links + 1)
    os.utime(_by(parent), ns=(before.st_atime_ns, before.st_mtime_ns))
    made = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    held.append(made)
    return made
