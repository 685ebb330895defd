"""What COPY, ADD and WORKDIR put into a layer, with all names looked up in the file systems that they mean."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial

from pybuild.builder.contexts.context import Context, choice_of
from pybuild.builder.graph import CopyStep, File, GitStep, HttpStep, WorkdirStep
from pybuild.builder.layers.copying import CopyRequest, Origin, copied, made_directory
from pybuild.builder.layers.entry import BytesContent, DiskContent, Entry, Kind
from pybuild.builder.layers.index import MergedView, RecipeView
from pybuild.builder.layers.modes import Mode
from pybuild.builder.layers.selection import Choice
from pybuild.builder.layers.unpacking import Archives
from pybuild.builder.steps.accounts import resolve_owner
from pybuild.builder.steps.snapshots import Snapshots
from pybuild.registry import Descriptor, Digest

Blobs = tuple[tuple[Descriptor, Digest] | None, ...]
# The entries of a layer, and the blobs in which their LayerContents lie.
Recipe = tuple[tuple[Entry, ...], Blobs]


def copy_entries(
    step: CopyStep, snapshots: Snapshots, contexts: Mapping[str, Context], archives: Archives, *, mtime_ns: int
) -> Recipe:
    """The layer of a COPY or ADD; `mtime_ns` is the time of here-documents. Raises CopyError, ContextError."""
    below = MergedView([]) if step.link else snapshots.view(step.parent)
    owner = None
    if step.owner is not None:
        owner = _owner(step.owner, step.parent, snapshots, what="--chown")
    # ADD unpacks what is local.
    unpack = partial(_unpacked, archives) if step.unpack is not False else None
    blobs: Blobs = ()
    origins = []
    for name in step.origins:
        choice = choice_of(step, name)
        if isinstance(name, int) and isinstance(snapshots.step(name), HttpStep | GitStep):
            # A URL is unpacked where that is asked for, a repository never.
            own = unpack if step.unpack and isinstance(snapshots.step(name), HttpStep) else None
            origins.append(Origin(snapshots.view(name), choice, _nothing_hides, unpack=own, is_fetched=True))
        elif isinstance(name, int):
            blobs = snapshots.blobs(name)
            where = snapshots.called(name)
            origins.append(Origin(snapshots.view(name), choice, _nothing_hides, keeps_owner=True, where=where))
        else:
            context = contexts[name]
            origins.append(Origin(context, choice, context.hidden_by, unpack=unpack, where=context.called))
    if step.files:
        origins.append(_inline(step, mtime_ns))
    request = CopyRequest(step.destination, owner, Mode(step.mode) if step.mode else None)
    return copied(request, origins, below).entries(), blobs


def _inline(step: CopyStep, mtime_ns: int) -> Origin:
    """The here-documents of a COPY, as a tree."""
    tree = MergedView([RecipeView(_file(file, mtime_ns) for file in step.files)])
    return Origin(tree, Choice(tuple(file.name for file in step.files)), _nothing_hides, is_fetched=True)


def _file(file: File, mtime_ns: int) -> Entry:
    content = file.content.encode("utf-8", "surrogateescape")
    return Entry(file.name, Kind.FILE, 0o644, size=len(content), mtime_ns=mtime_ns, content=BytesContent(content))


def directory_entries(step: WorkdirStep, snapshots: Snapshots, *, mtime_ns: int) -> Recipe:
    """The layer of a WORKDIR; empty when the directory is there already."""
    view = snapshots.view(step.parent)
    draft = made_directory(step.path, view, mtime_ns=mtime_ns)
    if not draft.has_new:
        return (), ()
    if step.user:
        owner = _owner(step.user, step.parent, snapshots, what="USER")
        draft = made_directory(step.path, view, mtime_ns=mtime_ns, owner=owner)
    return draft.entries(), ()


def _owner(text: str, last: int, snapshots: Snapshots, *, what: str) -> tuple[int, int]:
    """The ids that a name means in the image after step `last`; numbers alone need nothing of it."""
    if all(part.isdigit() for part in text.split(":")):
        return resolve_owner(text, None, None, what=what)
    return resolve_owner(text, *snapshots.accounts(last), what=what)


def _nothing_hides(path: str) -> str | None:
    return None


def _unpacked(archives: Archives, entry: Entry) -> Iterable[Entry] | None:
    assert isinstance(entry.content, DiskContent)
    return archives.read(entry.content.path)
