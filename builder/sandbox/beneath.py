"""A place in a root that a command has had its hands on: every directory on the way is opened, and none may be a link."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def parent_of(root: str, path: str) -> Iterator[tuple[int, str]]:
    """A descriptor of the directory that a path is in, and its last part. Raises OSError where a link or no directory is."""
    *above, name = path.split("/")
    with ExitStack() as opened:
        descriptor = os.open(root, _DIRECTORY)
        opened.callback(os.close, descriptor)
        for part in above:
            descriptor = os.open(part, _DIRECTORY, dir_fd=descriptor)
            opened.callback(os.close, descriptor)
        yield descriptor, name
