"""What is root's to do to a file, and what is done where root is one of a user namespace, or nobody is root.

A layer's blob has owners, devices and attributes all the same: only what a command sees is less.
"""

from __future__ import annotations

import errno
import os

from pybuild.builder import privilege
from pybuild.builder.errors import LayerError
from pybuild.builder.layers.entry import Entry


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
    except PermissionError:
        os.setxattr(descriptor, "user.overlay.opaque", b"y")


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
