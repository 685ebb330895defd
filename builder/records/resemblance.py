"""The second key: a step whose inputs came out as they were before need not run, whatever they were made by.

A step's first key hangs on the keys of all below it. When one of those ran again and made the same files, times aside, the first
key is another one, and yet nothing has changed. So each result is remembered with what it stood on, its *lineage*, under the
part of its key that is its own; and a step that is about to be made looks for a result of its own part that stood on the same.
Layers are compared by their shape first (names, kinds, modes, owners, sizes), and by their contents only when that is the same.
Of a file system that a RUN is shown a part of, that part alone counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from pybuild.builder.errors import BuildError
from pybuild.builder.graph import BuildGraph, CopyStep, MetaStep, Root, RunStep, SourceStep
from pybuild.builder.records.cache import Ancestor, Cache, Lineage
from pybuild.builder.records.sameness import digest_of, show_the_same
from pybuild.builder.steps.snapshots import Form, Snapshots
from pybuild.builder.workspace import Workspace
from pybuild.registry.errors import RegistryError


class Resemblance:
    """Looks for earlier results of one build's steps, for several threads. `own` are the steps' own parts of their keys."""

    def __init__(
        self, graph: BuildGraph, keys: Sequence[str], own: Sequence[str], cache: Cache, workspace: Workspace, snapshots: Snapshots
    ) -> None:
        self._graph, self._keys, self._own = graph, keys, own
        self._cache, self._workspace, self._snapshots = cache, workspace, snapshots
        # What has another result than the records had when the build began, though its key is the same.
        self._renewed: set[int] = set()

    def renew(self, number: int) -> None:
        """A step was made although its key was known: what stood on its earlier result does not stand on this one."""
        self._renewed.add(number)

    def find(self, number: int) -> str | None:
        """The key of a result that stood on the same files; None when there is none."""
        inputs = self._inputs(number)
        for key, theirs in self._cache.lineages(self._own[number]):
            if len(inputs) == len(theirs) and all(self._is_alike(*one, then) for one, then in zip(inputs, theirs, strict=True)):
                return key
        return None

    def find_result(self, number: int) -> str | None:
        """The key of a result that has the same files as the layer of this step, which is made already."""
        for key, _ in self._cache.lineages(self._own[number]):
            if self._have_same_files(number, key):
                return key
        return None

    def remember(self, number: int) -> None:
        """Write down what the result of a step stood on."""
        self._cache.add_lineage(self._own[number], self._keys[number], self._lineage(number))

    def _lineage(self, number: int) -> Lineage:
        return tuple(tuple((self._keys[n], self._own[n]) for n in self._stack(last)) for last, _ in self._inputs(number))

    def _inputs(self, number: int) -> list[tuple[int, str | None]]:
        """The file systems that count for a step, each by its last step, and the one path in it that does, None for all."""
        step = self._graph.steps[number]
        if isinstance(step, Root):
            return []
        found: list[tuple[int, str | None]] = [] if isinstance(step, CopyStep) and step.stands_alone else [(step.parent, None)]
        if isinstance(step, CopyStep):
            found += [(origin, None) for origin in step.origins if isinstance(origin, int)]
        elif isinstance(step, RunStep):
            # What a cache began with counts for nothing, as in the key.
            found += [(m.origin, m.source) for m in step.mounts if m.type == "bind" and isinstance(m.origin, int)]
        return found

    def _stack(self, last: int) -> Iterator[int]:
        return (n for n in self._graph.chain(last) if not isinstance(self._graph.steps[n], MetaStep))

    def _is_alike(self, last: int, path: str | None, theirs: tuple[Ancestor, ...]) -> bool:
        """Whether the file system after step `last`, or what it has at a path, is as the one that those steps had made."""
        return self._has_same_layers(last, theirs) or (path is not None and self._shows_the_same(last, path, theirs))

    def _has_same_layers(self, last: int, theirs: tuple[Ancestor, ...]) -> bool:
        numbers = tuple(self._stack(last))
        if len(numbers) != len(theirs):
            return False
        for number, (old_key, old_own) in zip(numbers, theirs, strict=True):
            step, is_same_key = self._graph.steps[number], self._keys[number] == old_key
            if is_same_key and number not in self._renewed:
                continue
            # What a COPY takes out of a context is in its own part.
            is_own = isinstance(step, CopyStep) and all(isinstance(origin, str) for origin in step.origins)
            is_other = is_own and self._own[number] != old_own
            if is_same_key or is_other or isinstance(step, Root) or not self._have_same_files(number, old_key):
                return False
        return True

    def _shows_the_same(self, last: int, path: str, theirs: tuple[Ancestor, ...]) -> bool:
        base = self._graph.chain(last)[0]
        own = self._snapshots.stack(last)
        # Which image another base was is not known any more, and what was made anew under its old key is gone.
        if not theirs or theirs[0][0] != self._keys[base] or {key for key, _ in theirs} & {self._keys[n] for n in self._renewed}:
            return False
        old = [self._forms_of(key) for key, _ in theirs[1:]]
        if not isinstance(self._graph.steps[base], SourceStep) or None in old:
            return False
        made = (form for forms in reversed(old) if forms for form in (forms.get("tree") or forms["layer"],))
        stack = (*made, *self._snapshots.stack(base))
        try:
            return show_the_same(self._snapshots.shown(own), self._snapshots.shown(stack), path, self._workspace)
        except (BuildError, RegistryError, OSError):
            # What cannot be read is not the same as anything.
            return False

    def _have_same_files(self, number: int, old_key: str) -> bool:
        """Whether a step's layer has the same files as the result of another key, times aside."""
        mine, theirs = self._forms(number), self._forms_of(old_key)
        if mine is None or theirs is None or not mine or not theirs:
            return mine == theirs == {}
        # What a RUN left behind has more than its layer; the tree of a COPY has directories that the layer only implies.
        order = ("tree", "layer") if isinstance(self._graph.steps[number], RunStep) else ("layer", "tree")
        kind = next((kind for kind in order if kind in mine and kind in theirs), None)
        if kind is None:
            return False
        try:
            for with_contents in (False, True):
                old = self._digest_of(theirs[kind], old_key, kind, with_contents=with_contents)
                if digest_of(mine[kind], self._workspace, with_contents=with_contents) != old:
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
        found = {} if form.entries is not None else self._forms_of(self._keys[number]) or {}
        if form.tree is not None:
            found["tree"] = Form(tree=form.tree)
        if form.entries is not None:
            found["layer"] = Form(entries=form.entries)
        elif form.layer is not None:
            found["layer"] = Form(layer=form.layer)
        return found

    def _forms_of(self, key: str) -> dict[str, Form] | None:
        """The result of a key in the forms that there are; None when it is not there, nothing when it changed no file."""
        kept = self._cache.found(key)
        if kept is None:
            return None
        found: dict[str, Form] = {}
        if kept.tree is not None:
            found["tree"] = Form(tree=self._workspace.tree_path(kept.tree))
        if kept.layers:
            found["layer"] = Form(layer=kept.layers[0])
        return found

    def _digest_of(self, form: Form, key: str, kind: str, *, with_contents: bool) -> str:
        """The digest of an earlier result's files, which is remembered."""
        what = form.tree or (form.layer.diff_id if form.layer else "")
        name = hashlib.sha256(f"{kind} {with_contents} {what} {key}".encode()).hexdigest()
        known = self._workspace.database.memo("files", name)
        if known is not None:
            return known.decode()
        found = digest_of(form, self._workspace, with_contents=with_contents)
        self._workspace.database.add_memo("files", name, found.encode())
        return found
