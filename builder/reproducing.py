"""Whether a build makes the same image twice: from nothing, in other folders, in another order, later, with another umask.

Both builds start with stores of their own, which share the blobs of the images that they stand on, and no result of any step.
The second one sees a copy of the context elsewhere, whose files were made in the opposite order, and takes one step at a time.
Only an image that came out twice gets its names.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
from collections.abc import Iterator

from pybuild.builder.build import build
from pybuild.builder.errors import NotReproducible
from pybuild.builder.events import (
    Event,
    Finished,
    LayerGrows,
    LayerReady,
    Notice,
    Progress,
    Recorded,
    StepFinished,
    StepOutput,
    StepStarted,
    Worked,
)
from pybuild.builder.layers.difference import Difference, differences
from pybuild.builder.records.cache import LocalCache
from pybuild.builder.records.explaining import where
from pybuild.builder.records.history import History, Trace
from pybuild.builder.records.sameness import digest_of
from pybuild.builder.request import BuildRequest, BuildResult
from pybuild.builder.steps.snapshots import Form
from pybuild.builder.workspace import Layer, Workspace, layers_of
from pybuild.registry import Image
from pybuild.values import replace

_MOST_FILES = 20
_MOST_STEPS = 1 << 20
# The clock has moved on by that much at least, so that whatever has seconds in it shows.
_LATER_SECONDS = 1.1


class _Muted:
    """Progress of a build that is not the one that was asked for; its steps have numbers that no other build's have."""

    def __init__(self, progress: Progress, first: int) -> None:
        self._progress, self._first = progress, first

    def emit(self, event: Event) -> None:
        """Take one event."""
        if isinstance(event, StepStarted | StepFinished | StepOutput | Worked | LayerGrows | LayerReady):
            event = replace(event, step=event.step + self._first)
        if not isinstance(event, Finished | Recorded):
            self._progress.emit(event)


def verify_reproducible(request: BuildRequest, *, workspace: Workspace, progress: Progress) -> BuildResult:
    """Build twice; the image then is in the workspace, under its names. Raises NotReproducible, and what `build` does.

    Without a timestamp, both builds take the same moment, that of now.
    """
    started = time.monotonic()
    if request.timestamp is None:
        request = replace(request, timestamp=int(time.time()))
        progress.emit(Notice(f"no --timestamp was given: both builds take {request.timestamp}"))
    plain = replace(request, tags=(), outputs=(), push=False, no_cache=False, no_cache_filter=())
    with workspace.store.lock("build", exclusive=False), workspace.scratch() as scratch:
        first, second = f"{scratch}/1", f"{scratch}/another/place/2"
        begun = time.monotonic()
        one = _built(plain, workspace, first, _Muted(progress, 0))
        with _elsewhere(plain, f"{scratch}/another/context") as other, _masked(0o077):
            time.sleep(max(0.0, _LATER_SECONDS - (time.monotonic() - begun)))
            two = _built(replace(other, jobs=1), workspace, second, _Muted(progress, _MOST_STEPS))
        if one.descriptor.digest != two.descriptor.digest:
            raise _explained(one, two, first, second)
        _adopt(one, first, workspace, request)
    if request.outputs or request.push:
        from pybuild.builder.publishing.export import export

        export(one, request, workspace, progress)
    digest = one.manifest.descriptor.digest
    names = tuple(tag.familiar for tag in request.tags)
    progress.emit(Finished(str(one.id), str(digest), names, time.monotonic() - started, came_twice=True))
    return BuildResult(one.id, digest, request.tags)


def _built(request: BuildRequest, workspace: Workspace, root: str, progress: Progress) -> Image:
    """One build in a store of its own, which begins with all images of the workspace."""
    with Workspace.open(root) as own:
        for digest in workspace.store.blobs():
            os.link(workspace.store.path(digest), own.store.path(digest))
        own.store.put_index(workspace.store.index())
        result = build(request, workspace=own, progress=progress)
        return own.store.find(result.digest)


@contextlib.contextmanager
def _elsewhere(request: BuildRequest, place: str) -> Iterator[BuildRequest]:
    """The request with copies of its folders, whose files are as they were and were made in the opposite order."""
    dockerfile = request.dockerfile or os.path.join(request.context, "Dockerfile")
    folders = {name: path for name, path in (("", request.context), *request.contexts) if os.path.isdir(path)}
    copies = {}
    for number, (name, folder) in enumerate(folders.items()):
        copies[name] = f"{place}/{number}"
        _copy(os.path.realpath(folder), copies[name])
    contexts = tuple((name, copies.get(name, path)) for name, path in request.contexts)
    yield replace(request, context=copies.get("", request.context), dockerfile=dockerfile, contexts=contexts)


def _copy(source: str, target: str) -> None:
    """Copy a folder, the last names first."""
    made: list[tuple[str, str]] = []
    pending = [(source, target)]
    while pending:
        folder, copy = pending.pop()
        os.makedirs(copy)
        made.append((folder, copy))
        with os.scandir(folder) as found:
            items = sorted(found, key=lambda item: item.name, reverse=True)
        for item in items:
            place = f"{copy}/{item.name}"
            if item.is_dir(follow_symlinks=False):
                pending.append((item.path, place))
            elif item.is_symlink() or item.is_file(follow_symlinks=False):
                shutil.copy2(item.path, place, follow_symlinks=False)
    # When nothing more is made in them.
    for folder, copy in reversed(made):
        shutil.copystat(folder, copy)


@contextlib.contextmanager
def _masked(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def _adopt(image: Image, root: str, workspace: Workspace, request: BuildRequest) -> None:
    """Take an image over from a store that goes."""
    for blob in (image.manifest.descriptor, *image.manifest.blobs):
        source = f"{root}/blobs/sha256/{blob.digest.hex}"
        if os.path.exists(source) and not workspace.store.has(blob):
            os.replace(source, workspace.store.path(blob.digest))
    workspace.store.tag(image.descriptor, *request.tags)


def _explained(one: Image, two: Image, first: str, second: str) -> NotReproducible:
    with Workspace.open(first) as mine, Workspace.open(second) as theirs:
        lines = [f"  {what}" for what in _config_differences(one, two)]
        makers = [entry.created_by or "?" for entry in one.config.history if not entry.empty_layer]
        offset = len(one.config.diff_ids) - len(makers)
        for number, (layer, other) in enumerate(zip(layers_of(one), layers_of(two), strict=False)):
            if layer.diff_id != other.diff_id:
                maker = makers[number - offset] if number >= offset else "?"
                lines.append(f"  layer {number + 1}, of {' '.join(maker.split())}:")
                if origin := _origin(layer, mine, theirs):
                    lines.append(f"      out of {origin}, which made other files")
                lines += _file_lines(differences((mine.store, layer), (theirs.store, other)))
            elif layer.descriptor.digest != other.descriptor.digest:
                lines.append(f"  layer {number + 1}: the same files, compressed to other bytes")
    return NotReproducible("two builds of the same gave different images:\n" + "\n".join(lines), hint=_ADVICE)


def _origin(layer: Layer, mine: Workspace, theirs: Workspace) -> str | None:
    """The first step of another stage that made what a layer was copied from, and made it otherwise the second time."""
    build = History(mine.database).last()
    traces = {trace.number: trace for trace in build.traces} if build else {}

    def is_of_layer(trace: Trace) -> bool:
        kept = LocalCache(mine).found(trace.key)
        return kept is not None and any(item.diff_id == layer.diff_id for item in kept.layers)

    def differs(trace: Trace) -> bool:
        digests = []
        for workspace in (mine, theirs):
            kept = LocalCache(workspace).found(trace.key)
            if kept is None or not (kept.tree or kept.layers):
                return False
            form = Form(tree=workspace.tree_path(kept.tree)) if kept.tree else Form(layer=kept.layers[0])
            try:
                digests.append(digest_of(form, workspace, with_contents=True))
            except OSError:
                # Files of the ids of a user namespace.
                return False
        return digests[0] != digests[1]

    copied = next((trace for trace in traces.values() if is_of_layer(trace)), None)
    pending, reached = list(copied.origins) if copied else [], set[int]()
    while pending:
        if (number := pending.pop()) not in reached:
            reached.add(number)
            pending += [other for other in (traces[number].below, *traces[number].origins) if other is not None]
    # A step never refers to a later one: the first that differs is the cause.
    first = next((traces[number] for number in sorted(reached) if differs(traces[number])), None)
    return f"{where(first)} {' '.join(first.name.split())}" if first else None


_ADVICE = "what a RUN writes must not depend on the time, on chance, or on the order in which a disk lists files"


def _file_lines(found: tuple[Difference, ...]) -> list[str]:
    lines = []
    for item in found[:_MOST_FILES]:
        lines.append(f"      {item.path}: {item.what}")
        if item.hint:
            lines.append(f"          {item.hint}")
    if len(found) > _MOST_FILES:
        lines.append(f"      and {len(found) - _MOST_FILES} files more")
    return lines


def _config_differences(one: Image, two: Image) -> Iterator[str]:
    """What differs in the configs beside the digests of layers."""
    if len(one.config.diff_ids) != len(two.config.diff_ids):
        yield f"{len(one.config.diff_ids)} layers, then {len(two.config.diff_ids)}"
    for name in ("platform", "config", "created", "author", "history"):
        mine, theirs = getattr(one.config, name), getattr(two.config, name)
        if mine != theirs:
            yield f"config, {name}: {mine!r}, then {theirs!r}"
