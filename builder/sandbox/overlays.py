"""Overlay mounts: by the new mount API, and by mount(2) on kernels where that takes no list of lower directories.

Runs in pid 1, before the root is changed: nothing may be imported where it is used.
"""

from __future__ import annotations

import contextlib
import errno
import os

from pybuild.builder.sandbox import kernel, privilege
from pybuild.builder.sandbox.spec import Overlay, Plain

# What mount(2) takes is a page.
_PAGE = 4000
# "off" would still follow what it finds, which does not go with `userxattr`.
_OPTIONS = (("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"))


def mount_root(rootfs: Overlay | Plain) -> None:
    """Mount what is to become the root, in a mount namespace of our own. Raises OSError."""
    if isinstance(rootfs, Overlay):
        mount_overlay(rootfs)
    else:
        # The new root has to be a mount.
        kernel.mount(rootfs.mountpoint, rootfs.mountpoint, None, kernel.MS_BIND | kernel.MS_REC)


def mount_overlay(overlay: Overlay) -> None:
    """Mount it. Raises OSError."""
    if overlay.upper:
        _forget_volatile(overlay.work)
        try:
            # Without this the end of each command writes all of the store's file system to the disk, and each fsync(2) in it.
            _mount(overlay, ("volatile",))
            return
        except OSError:
            # Linux before 5.10 does not know it.
            pass
    _mount(overlay, ())


def _forget_volatile(work: str) -> None:
    """Take the mark away that refuses an upper directory that was volatile before, as that of a failed step's shell was."""
    mark = os.path.join(work, "work", "incompat", "volatile")
    with contextlib.suppress(OSError):
        for place in (f"{mark}/dirty", mark, os.path.dirname(mark)):
            os.rmdir(place) if os.path.isdir(place) else os.unlink(place)


def _mount(overlay: Overlay, flags: tuple[str, ...]) -> None:
    flags += ("userxattr",) if privilege.is_in_user_namespace() else ()
    layers: tuple[tuple[str, str], ...] = tuple(("lowerdir+", path) for path in overlay.lower)
    try:
        kernel.mount_overlay((*layers, *_options(overlay), *((name, None) for name in flags)), overlay.mountpoint)
    except OSError:
        mount_by_page(overlay, flags)


def mount_by_page(overlay: Overlay, flags: tuple[str, ...] = ()) -> None:
    """By mount(2), whose options fit a page: links with short names stand for lower directories that would be too many."""
    data = _page(overlay, overlay.lower, flags)
    # Not by its name, which it may have lost.
    before = os.open(".", os.O_PATH | os.O_CLOEXEC)
    try:
        if len(data) > _PAGE:
            names = f"{os.path.dirname(overlay.mountpoint)}/l"
            os.makedirs(names, exist_ok=True)
            for number, path in enumerate(overlay.lower):
                with contextlib.suppress(FileExistsError):
                    os.symlink(path, f"{names}/{number:x}")
            os.chdir(names)
            data = _page(overlay, tuple(f"{number:x}" for number in range(len(overlay.lower))), flags)
        if len(data) > _PAGE:
            raise OSError(errno.E2BIG, f"an image of {len(overlay.lower)} layers needs Linux 6.8 or newer")
        kernel.mount("overlay", overlay.mountpoint, "overlay", 0, data)
    finally:
        os.fchdir(before)
        os.close(before)


def _options(overlay: Overlay) -> tuple[tuple[str, str], ...]:
    return ((("upperdir", overlay.upper), ("workdir", overlay.work)) if overlay.upper else ()) + _OPTIONS


def _page(overlay: Overlay, lower: tuple[str, ...], flags: tuple[str, ...]) -> str:
    pairs = (f"{key}={_escaped(value)}" for key, value in _options(overlay))
    return ",".join((f"lowerdir={':'.join(map(_escaped, lower))}", *pairs, *flags))


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
