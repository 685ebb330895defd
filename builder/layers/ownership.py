"""What is root's to do to a file, and what is done where root is one of a user namespace, or nobody is root.

A layer's blob has owners, devices and attributes all the same: only what a command sees is less.
"""

from __future__ import annotations

import errno
import os
import stat

from pybuild.builder.errors import LayerError
from pybuild.builder.layers.entry import Entry
from pybuild.builder.layers.index import WHITEOUT, is_marked_whiteout
from pybuild.builder.sandbox import privilege


def give(entry: Entry, target: int | str, *, dir_fd: int | None = None, follow_symlinks: bool = True) -> None:
    """Give a file to its owner; to nobody where there is one id alone. Raises LayerError for an id that is not mapped."""
    try:
        os.chown(target, entry.uid, entry.gid, dir_fd=dir_fd, follow_symlinks=follow_symlinks)
    except OSError as error:
        if error.errno != errno.EINVAL or not privilege.is_in_user_namespace():
            raise
        if not privilege.has_one_id():
            raise LayerError(
                f"/{entry.path} belongs to {entry.uid}:{entry.gid}, and there is no such id here",
                hint="the range in /etc/subuid and /etc/subgid is too small for this image",
            ) from error


def make_device(name: str, form: int, device: tuple[int, int], *, dir_fd: int) -> bool:
    """Make a device node; False where nobody may."""
    try:
        os.mknod(name, form | 0o600, os.makedev(*device), dir_fd=dir_fd)
    except PermissionError:
        return False
    return True


def mark_opaque(descriptor: int) -> None:
    """Hide what the layers below have in a directory, by the name that overlayfs reads here.

    Who may use the first name is who mounts without `userxattr`: root of the machine.
    """
    try:
        os.setxattr(descriptor, "trusted.overlay.opaque", b"y")
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP):
            raise
        os.setxattr(descriptor, "user.overlay.opaque", b"y")


def make_whiteout(name: str, *, dir_fd: int) -> None:
    """Hide a path of the layers below. Raises FileExistsError.

    On a store that is itself on overlayfs, which takes no whiteouts but its own, it is an empty file with an attribute.
    """
    try:
        os.mknod(name, stat.S_IFCHR, 0, dir_fd=dir_fd)
    except PermissionError:
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0, dir_fd=dir_fd)
        try:
            os.setxattr(descriptor, WHITEOUT, b"y")
        finally:
            os.close(descriptor)


def is_whiteout(name: str, status: os.stat_result, *, dir_fd: int) -> bool:
    """Whether a file is one of these."""
    if stat.S_ISCHR(status.st_mode):
        return status.st_rdev == 0
    return is_marked_whiteout(f"/proc/self/fd/{dir_fd}/{name}", status)


def set_attribute(target: int | str, key: str, value: bytes) -> None:
    """Set an extended attribute, of a link itself; not where that is refused, or on a file system without them."""
    try:
        if isinstance(target, str):
            os.setxattr(target, key, value, follow_symlinks=False)
        else:
            os.setxattr(target, key, value)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EACCES):
            raise
