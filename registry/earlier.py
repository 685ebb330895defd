"""Earlier states of index.json, beside it: it is all that knows the images' names, and is written without waiting for the disk.

A file that is replaced just before the power goes comes back empty on some file systems. So what a change replaces is linked
into one of three places, which take turns every two minutes: what is older than that has reached the disk, and the newest is the
state before the last change.
"""

from __future__ import annotations

import contextlib
import os
import time

from pybuild.registry import media
from pybuild.registry.errors import InvalidDocument
from pybuild.registry.model import Index

_PLACES = tuple(f"locks/index-{number}.json" for number in range(3))
# Four times what the kernel takes to write.
_TURN_SECONDS = 120


def keep(root: str, index: str) -> None:
    """Keep the file `index` as it is now, for it is about to be replaced. A disk that cannot, does not."""
    place = f"{root}/{_PLACES[int(time.time()) // _TURN_SECONDS % len(_PLACES)]}"
    with contextlib.suppress(OSError):
        os.link(index, f"{place}-new")
        os.replace(f"{place}-new", place)


def newest(root: str) -> Index | None:
    """The latest earlier state that can be read."""
    found = []
    for place in _PLACES:
        with contextlib.suppress(OSError, InvalidDocument), open(f"{root}/{place}", "rb") as file:
            found.append((os.fstat(file.fileno()).st_mtime_ns, Index.parse(file.read(), media.OCI_INDEX, place)))
    return max(found, key=lambda item: item[0])[1] if found else None
