"""The second key: a step whose inputs came out as they were before need not run, whatever they were made by.

A step's first key hangs on the keys of all below it. When one of those ran again and made the same files, times aside, the first
key is another one, and yet nothing has changed. So each result is remembered with what it stood on, its *lineage*, under the
part of its key that is its own; and a step that is about to be made looks for a result of its own part that stood on the same.
Layers are compared by their shape first (names, kinds, modes, owners, sizes), and by their contents only when that is the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence

from pybuild.builder.errors import BuildError
from pybuild.builder.graph import BuildGraph, CopyStep, MetaStep, Root, RunStep
from pybuild.builder.layers.entry import BytesContent, DiskContent, Entry, Kind, SpoolContent
from pybuild.builder.layers.index import TreeView
from pybuild.builder.records.database import Database
from pybuild.builder.steps.snapshots import Form, Snapshots
from pybuild.builder.workspace import Layer, Workspace
from pybuild.registry.errors import RegistryError

_MOST = 4
_BLOCK = 1 << 20
# A step below another one: its key, and the part of it that is its own.
Ancestor = tuple[str, str]
Lineage = tuple[tuple[Ancestor, ...], ...]


class Resemblance:
    """Looks for earlier results of one build's steps, for several threads. `own` are the steps' own parts of their keys."""

    def __init__(
        self, graph: BuildGraph, keys: Sequence[str], own: Sequence[str], workspace: Workspace, snapshots: Snapshots
    ) -> None:
        self._graph, self._keys, self._own = graph, keys, own
        self._workspace, self._snapshots = workspace, snapshots
        self._records = LineageRecords(workspace.database)
        # What has another result than the records had when the build began, though its key is the same.
        self._renewed: set[int] = set()

    def renew(self, number: int) -> None:
        """A step was made although its key was known: what stood on its earlier result does not stand on this one."""
        self._renewed.add(number)

    def find(self, number: int) -> str | None:
        """The key of a result that stood on the same files; None when there is none."""
        mine = self._lineage(number)
        for key, theirs in self._records.lineages(self._own[number]):
            if len(mine) == len(theirs) and all(self._are_alike(a, b) for a, b in zip(mine, theirs, strict=True)):
                return key
        return None

    def find_result(self, number: int) -> str | None:
        """The key of a result that has the same files as the layer of this step, which is made already."""
        for key, _ in self._records.lineages(self._own[number]):
            if self._have_same_files(number, key):
                return key
        return None

    def remember(self, number: int) -> None:
        """Write down what the result of a step stood on."""
        self._records.add(self._own[number], self._keys[number], self._lineage(number))

    def _lineage(self, number: int) -> Lineage:
        step = self._graph.steps[number]
        if isinstance(step, Root):
            return ()
        stacks = [] if isinstance(step, CopyStep) and step.stands_alone else [step.parent]
        if isinstance(step, CopyStep | RunStep):
            stacks += [origin for origin in step.origins if isinstance(origin, int)]
        return tuple(tuple((self._keys[n], self._own[n]) for n in self._stack(last)) for last in stacks)

    def _stack(self, last: int) -> Iterator[int]:
        return (n for n in self._graph.chain(last) if not isinstance(self._graph.steps[n], MetaStep))

    def _are_alike(self, mine: tuple[Ancestor, ...], theirs: tuple[Ancestor, ...]) -> bool:
        if len(mine) != len(theirs):
            return False
        numbers = {key: number for number, key in enumerate(self._keys) if not isinstance(self._graph.steps[number], MetaStep)}
        for (key, own), (old_key, old_own) in zip(mine, theirs, strict=True):
            if key == old_key and numbers[key] not in self._renewed:
                continue
            step = self._graph.steps[numbers[key]]
            # What a COPY takes out of a context is in its own part.
            is_other = own != old_own and isinstance(step, CopyStep) and all(isinstance(origin, str) for origin in step.origins)
            if key == old_key or is_other or isinstance(step, Root) or not self._have_same_files(numbers[key], old_key):
                return False
        return True

    def _have_same_files(self, number: int, old_key: str) -> bool:
        """Whether a step's layer has the same files as the result of another key, times aside."""
        mine, theirs = self._forms(number), _forms_of(old_key, self._workspace)
        if mine is None or theirs is None or not mine or not theirs:
            return mine == theirs == {}
        # What a RUN left behind has more than its layer; the tree of a COPY has directories that the layer only implies.
        order = ("tree", "layer") if isinstance(self._graph.steps[number], RunStep) else ("layer", "tree")
        kind = next((kind for kind in order if kind in mine and kind in theirs), None)
        if kind is None:
            return False
        try:
            for with_contents in (False, True):
                old = self._records.digest(old_key, kind, theirs[kind], with_contents, self._workspace)
                if digest(mine[kind], self._workspace, with_contents=with_contents) != old:
                    return False
            return True
        except (BuildError, RegistryError, OSError):
            # What cannot be read is not the same as anything.
            return False

    def _forms(self, number: int) -> dict[str, Form] | None:
        form = self._snapshots.form(number)
        if form is None:
            return None
        if form.is_empty:
            return {}
        found = {} if form.entries is not None else _forms_of(self._keys[number], self._workspace) or {}
        if form.tree is not None:
            found["tree"] = Form(tree=form.tree)
        if form.entries is not None:
            found["layer"] = Form(entries=form.entries)
        elif form.layer is not None:
            found["layer"] = Form(layer=form.layer)
        return found


def _forms_of(key: str, workspace: Workspace) -> dict[str, Form] | None:
    """The result of a key, out of the records, in the forms that there are; None when it is not there."""
    record = workspace.database.step(key)
    if record is None:
        return None
    if record.is_empty:
        return {}
    found: dict[str, Form] = {}
    if record.tree and os.path.isdir(tree := workspace.tree_path(record.tree)):
        found["tree"] = Form(tree=tree)
    if record.diff_id is not None:
        blob = next((blob for blob in workspace.database.blobs(record.diff_id) if workspace.store.has(blob)), None)
        if blob is not None:
            found["layer"] = Form(layer=Layer(blob, record.diff_id))
    return found or None


def digest(form: Form, workspace: Workspace, *, with_contents: bool) -> str:
    """A hash of a layer's files without their times; without `with_contents`, of all but what is in them."""
    lines = sorted(_lines(form, workspace, with_contents))
    mark = hashlib.sha256()
    for line in lines:
        mark.update(line)
    return mark.hexdigest()


def _lines(form: Form, workspace: Workspace, with_contents: bool) -> Iterator[bytes]:
    if form.tree is not None:
        yield from _tree_lines(form.tree, with_contents)
    elif form.entries is not None:
        for entry in form.entries:
            yield _line(entry, _content(entry) if with_contents and entry.size else "")
    elif form.layer is not None:
        from pybuild.builder.layers.extraction import opened

        with opened(form.layer.descriptor, workspace.store, form.layer.diff_id) as items:
            for entry, read in items:
                yield _line(entry, _hashed(_blocks(read)) if with_contents and entry.size else "")


def _tree_lines(root: str, with_contents: bool) -> Iterator[bytes]:
    view, pending = TreeView(root), [""]
    names: dict[tuple[int, int], str] = {}
    while pending:
        directory = pending.pop()
        for entry in sorted(view.children(directory), key=lambda item: item.path):
            shared = ""
            if entry.kind is Kind.FILE and (status := os.lstat(f"{root}/{entry.path}")).st_nlink > 1:
                shared = names.setdefault((status.st_dev, status.st_ino), entry.path)
            if entry.kind is Kind.DIRECTORY:
                pending.append(entry.path)
                shared = "opaque" if view.is_opaque(entry.path) else ""
            yield _line(entry._replace(link=entry.link or shared), _content(entry) if with_contents and entry.size else "")


def _line(entry: Entry, content: str) -> bytes:
    values = (entry.path, int(entry.kind), entry.mode, entry.uid, entry.gid, entry.size, entry.link, entry.device, entry.xattrs)
    return f"{values!r} {content}\n".encode(errors="surrogateescape")


def _content(entry: Entry) -> str:
    match entry.content:
        case DiskContent(path):
            with open(path, "rb", buffering=0) as file:
                return hashlib.file_digest(file, "sha256").hexdigest()
        case BytesContent(content):
            return hashlib.sha256(content).hexdigest()
        case SpoolContent(descriptor, offset):
            places = range(offset, offset + entry.size, _BLOCK)
            return _hashed(os.pread(descriptor, min(_BLOCK, offset + entry.size - place), place) for place in places)
    raise BuildError(f"/{entry.path}: its content is not at hand")


def _blocks(read: Callable[[int], bytes]) -> Iterator[bytes]:
    while block := read(_BLOCK):
        yield block


def _hashed(blocks: Iterable[bytes]) -> str:
    mark = hashlib.sha256()
    for block in blocks:
        mark.update(block)
    return mark.hexdigest()


class LineageRecords:
    """What results stood on, and digests of their files, in the store's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, own: str, key: str, lineage: Lineage) -> None:
        """Remember what the result of a key stood on; of one own part, the latest results alone."""
        with self._database.transaction() as connection:
            connection.execute("delete from lineages where own = ? and key = ?", (own, key))
            connection.execute("insert into lineages (own, key, lineage) values (?, ?, ?)", (own, key, json.dumps(lineage)))
            connection.execute(
                "delete from lineages where own = ? and number not in "
                "(select number from lineages where own = ? order by number desc limit ?)",
                (own, own, _MOST),
            )

    def lineages(self, own: str) -> list[tuple[str, Lineage]]:
        """The latest results of an own part, with what they stood on."""
        with self._database.mutex:
            rows = self._database.connection.execute(
                "select key, lineage from lineages where own = ? order by number desc", (own,)
            ).fetchall()
        return [(key, tuple(tuple((a, b) for a, b in stack) for stack in json.loads(text))) for key, text in rows]

    def digest(self, key: str, kind: str, form: Form, with_contents: bool, workspace: Workspace) -> str:
        """The digest of a result's files, from the records where it is known."""
        what = form.tree or (form.layer.diff_id if form.layer else "")
        name = hashlib.sha256(f"{kind} {with_contents} {what} {key}".encode()).hexdigest()
        known = self._database.memo("files", name)
        if known is not None:
            return known.decode()
        found = digest(form, workspace, with_contents=with_contents)
        self._database.add_memo("files", name, found.encode())
        return found
