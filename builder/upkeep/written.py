"""Whether trees have reached the disk: nothing is synced, so those that were made just before the power went may be damaged.

The kernel writes what is in memory after half a minute. A mark in the store has the boot in which the last one was made,
and by its time when; after another boot that came soon, no tree is trusted. Without a /proc, as on a Mac, there are no trees.
"""

from __future__ import annotations

import contextlib
import os
import time

MARK = "locks/trees-made"
_WRITTEN_SECONDS = 120


def tell(root: str) -> None:
    """Note that a tree is being added."""
    path = f"{root}/{MARK}"
    boot = _read("/proc/sys/kernel/random/boot_id")
    if _read(path) == boot:
        os.utime(path)
        return
    with open(f"{path}-{os.urandom(4).hex()}", "w", encoding="ascii") as file:
        file.write(boot)
    os.replace(file.name, path)


def may_be_trusted(root: str) -> bool:
    """Whether all trees are on the disk, or this is still the boot in which they were made."""
    path = f"{root}/{MARK}"
    boot = _read(path)
    if not boot or boot == _read("/proc/sys/kernel/random/boot_id"):
        return True
    started = time.time() - float((_read("/proc/uptime") or "0").split()[0])
    with contextlib.suppress(FileNotFoundError):
        return started - os.stat(path).st_mtime > _WRITTEN_SECONDS
    return True


def forget(root: str) -> None:
    """Take the mark away: there are no trees any more."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{root}/{MARK}")


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except (OSError, UnicodeDecodeError):
        return ""
