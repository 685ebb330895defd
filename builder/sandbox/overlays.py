"""Overlay mounts: by the new mount API, and by mount(2) on kernels where that takes no list of lower directories."""

from __future__ import annotations

import os

from pybuild.builder import privilege
from pybuild.builder.sandbox import kernel
from pybuild.builder.sandbox.spec import Overlay

_PAGE = 4000
# "off" would still follow what it finds, which does not go with `userxattr`.
_OVERLAY_OPTIONS = (("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off"))


def mount_overlay(overlay: Overlay) -> None:
    """Mount it. Raises OSError."""
    flags = () if not privilege.is_in_user_namespace() else (("userxattr", None),)
    layers: tuple[tuple[str, str], ...] = tuple(("lowerdir+", path) for path in overlay.lower)
    if overlay.upper:
        layers += (("upperdir", overlay.upper), ("workdir", overlay.work))
    try:
        kernel.mount_overlay((*layers, *_OVERLAY_OPTIONS, *flags), overlay.mountpoint)
    except OSError:
        _mount_old(overlay, "".join(f",{name}" for name, _ in flags))


def _mount_old(overlay: Overlay, flags: str) -> None:
    """By mount(2), whose options fit one page: names are made short by starting from the folder that they share."""
    writable = (overlay.upper, overlay.work) if overlay.upper else ()
    folder = os.path.commonpath((*overlay.lower, *writable))
    before = os.getcwd()
    os.chdir(folder)
    try:
        lower = ":".join(_escaped(os.path.relpath(path, folder)) for path in overlay.lower)
        options = f"lowerdir={lower},"
        for name, path in zip(("upperdir", "workdir"), writable, strict=False):
            options += f"{name}={_escaped(os.path.relpath(path, folder))},"
        options += ",".join(f"{key}={value}" for key, value in _OVERLAY_OPTIONS) + flags
        if len(options) > _PAGE:
            raise OSError(7, f"an image of {len(overlay.lower)} layers needs Linux 6.8 or newer")
        kernel.mount("overlay", overlay.mountpoint, "overlay", 0, options)
    finally:
        os.chdir(before)


def _escaped(path: str) -> str:
    return path.replace("\\", "\\\\").replace(":", "\\:").replace(",", "\\,")
