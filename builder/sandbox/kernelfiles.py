"""Small files, the most of them the kernel's, in /proc and /sys/fs/cgroup: read whole, written in one call."""

from __future__ import annotations

import os


def read(path: str) -> str:
    """What a file says; nothing when there is none, or when it may not be read."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def write(path: str, text: str) -> None:
    """Have the kernel take a text. Raises OSError."""
    # In one call, of several it takes the first alone; and without a buffer, which would fail once more when it is closed.
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
