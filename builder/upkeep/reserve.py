"""Room that is kept back for a prune: on a full disk the database could not be opened, and not a name could be taken away.

It is a file in the store that nobody reads. A prune gives it up when it has no room, and takes it back when it has made some.
"""

from __future__ import annotations

import contextlib
import os

NAME = "locks/reserve"
ADVICE = "the disk is full: 'pybuild prune' makes room in the store, and PYBUILD_ROOT may name one on another disk"
_SIZE = 256 << 10
# With less room than this a prune may not get on.
_LEAST_FREE = 1 << 20


def keep(root: str) -> None:
    """Keep room back, if it is not yet, and there is some."""
    path = f"{root}/{NAME}"
    with contextlib.suppress(OSError):
        if os.path.exists(path) or _free(root) < _LEAST_FREE + _SIZE:
            return
        with open(path, "wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, _SIZE)
            else:
                file.write(bytes(_SIZE))


def give_up(root: str) -> None:
    """Give the room back, if there is little."""
    with contextlib.suppress(OSError):
        if _free(root) < _LEAST_FREE:
            os.unlink(f"{root}/{NAME}")


def is_full(root: str) -> bool:
    """Whether so little room is left that whatever failed has failed for that."""
    return _free(root) < _LEAST_FREE


def _free(root: str) -> int:
    status = os.statvfs(root)
    return status.f_bavail * status.f_frsize
