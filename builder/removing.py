"""Removing directories that lie deeper than Python's stack goes: a command, or an archive, may leave such."""

from __future__ import annotations

import contextlib
import os
import shutil


def flatten(top: str, *, dir_fd: int | None = None) -> None:
    """Move all directories of a folder up to its top."""
    held = os.open(top, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=dir_fd)
    try:
        with os.scandir(held) as items:
            pending = [item.name for item in items if item.is_dir(follow_symlinks=False)]
        # A name that nothing in there has.
        prefix, number = os.urandom(16).hex(), 0
        while pending:
            with contextlib.suppress(PermissionError):
                os.chmod(pending[-1], 0o700, dir_fd=held)
            descriptor = os.open(pending.pop(), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=held)
            try:
                with os.scandir(descriptor) as items:
                    names = [item.name for item in items if item.is_dir(follow_symlinks=False)]
                for name in names:
                    number += 1
                    pending.append(f"{prefix}{number}")
                    os.rename(name, pending[-1], src_dir_fd=descriptor, dst_dir_fd=held)
            finally:
                os.close(descriptor)
    finally:
        os.close(held)


def remove_directory(name: str, *, dir_fd: int) -> None:
    """Remove a directory and all in it; no link is followed. Raises OSError."""
    try:
        shutil.rmtree(name, dir_fd=dir_fd)
    except RecursionError:
        flatten(name, dir_fd=dir_fd)
        shutil.rmtree(name, dir_fd=dir_fd)
