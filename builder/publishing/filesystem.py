"""A whole image's file system, layers merged, as one tar stream or as a plain folder."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pybuild.builder.errors import ExportError
from pybuild.builder.layers.entry import Entry, Kind
from pybuild.builder.layers.index import whole
from pybuild.builder.steps.snapshots import Snapshots, fetched
from pybuild.builder.workspace import Workspace
from pybuild.hints import BinaryIO
from pybuild.registry import Image


def write_tar(image: Image, workspace: Workspace, out: BinaryIO) -> None:
    """Write the file system as a tar stream."""
    from pybuild.builder.layers.packing import write

    snapshots = Snapshots.of_image(image, workspace)
    with fetched(tuple(whole(snapshots.view(0))), snapshots.blobs(0), workspace) as entries:
        write(entries, out)


def write_folder(image: Image, workspace: Workspace, folder: str) -> None:
    """Write the file system into a folder, made when it is missing; files there of the same names are replaced.

    An ordinary user gets the files as his own; device nodes are then left out. Raises ExportError when a folder is in the way
    of a file: what is in it may be wanted.
    """
    from pybuild.builder.layers.extraction import materialise

    snapshots = Snapshots.of_image(image, workspace)
    with fetched(tuple(whole(snapshots.view(0))), snapshots.blobs(0), workspace) as entries:
        _check_room(entries, folder)
        kept = entries if os.geteuid() == 0 else tuple(_of_user(entries))
        materialise(kept, folder)


def _check_room(entries: tuple[Entry, ...], folder: str) -> None:
    for entry in entries:
        place = f"{folder}/{entry.path}"
        if entry.kind is not Kind.DIRECTORY and os.path.isdir(place) and not os.path.islink(place):
            raise ExportError(
                f"{place} is a folder, and a file is to be written there", hint="remove it, or choose another folder"
            )


def _of_user(entries: tuple[Entry, ...]) -> Iterator[Entry]:
    for entry in entries:
        if entry.kind not in (Kind.CHARACTER, Kind.BLOCK):
            yield entry._replace(uid=os.geteuid(), gid=os.getegid())
