"""What COPY, ADD and WORKDIR put into a layer, with all names looked up in the file systems that they mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from pybuild.builder.accounts import resolve_owner
from pybuild.builder.context import Context
from pybuild.builder.graph import CopyStep, WorkdirStep
from pybuild.builder.layers.copying import CopyRequest, copied, made_directory
from pybuild.builder.layers.entry import DiskContent, Entry
from pybuild.builder.layers.index import Tree
from pybuild.builder.layers.unpacking import Archives
from pybuild.builder.snapshots import Snapshots
from pybuild.registry import Descriptor, Digest

Blobs = tuple[tuple[Descriptor, Digest] | None, ...]


def copy_entries(
    step: CopyStep, snapshots: Snapshots, contexts: Mapping[str, Context], archives: Archives
) -> tuple[tuple[Entry, ...], Blobs]:
    """The layer of a COPY or ADD, and the blobs in which its LayerContents lie. Raises CopyError, ContextError."""
    below = snapshots.view(step.parent)
    owner = None
    if step.owner is not None:
        owner = _owner(step, snapshots)
    if isinstance(step.origin, int):
        source: Tree = snapshots.view(step.origin)
        blobs = snapshots.blobs(step.origin)
        hidden_by = _nothing_hides
    else:
        context = contexts[step.origin]
        source, blobs, hidden_by = context, (), context.hidden_by
    request = CopyRequest(step.sources, step.destination, owner, step.mode, keeps_owner=isinstance(step.origin, int))
    unpack = partial(_unpacked, archives) if step.unpack else None
    draft = copied(request, source, below, hidden_by=hidden_by, unpack=unpack)
    return draft.entries(), blobs


def directory_entries(step: WorkdirStep, snapshots: Snapshots, *, mtime_ns: int) -> tuple[Entry, ...]:
    """The layer of a WORKDIR; empty when the directory is there already."""
    draft = made_directory(step.path, snapshots.view(step.parent), mtime_ns=mtime_ns)
    return draft.entries() if draft.has_new else ()


def _owner(step: CopyStep, snapshots: Snapshots) -> tuple[int, int]:
    assert step.owner is not None
    if all(part.isdigit() for part in step.owner.split(":")):
        return resolve_owner(step.owner, None, None)
    found = snapshots.read(step.parent, "etc/passwd", "etc/group")
    return resolve_owner(step.owner, found["etc/passwd"], found["etc/group"])


def _nothing_hides(path: str) -> str | None:
    return None


def _unpacked(archives: Archives, entry: Entry) -> Iterable[Entry] | None:
    assert isinstance(entry.content, DiskContent)
    return archives.read(entry.content.path)
