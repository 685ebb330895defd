"""The file system as it is after a step, in whichever form is asked for: a merged view, or directories for an overlay.

A step's own layer exists in one of the forms of `Form`; other forms are made from it when somebody needs them.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from pybuild.builder.errors import BuildError
from pybuild.builder.graph import BuildGraph, PlannedStage, SourceStep, Step
from pybuild.builder.layers.entry import BytesContent, DiskContent, Entry, Kind, LayerContent, SpoolContent
from pybuild.builder.layers.index import LayerView, MergedView, RecipeView, RememberingView, TreeView, follow
from pybuild.builder.workspace import Layer, Workspace, adopt_tree, layers_of
from pybuild.grammar import Span
from pybuild.registry import Descriptor, Digest, Image, Platform
from pybuild.values import frozen, replace

# Of files that say who is who: a hundred thousand accounts, and little of a machine's memory.
_LARGEST_READ = 8 << 20


@frozen
class Form:
    """A layer: as entries, as a directory, as a blob. All None: the step changed no file."""

    entries: tuple[Entry, ...] | None = None
    tree: str | None = None
    layer: Layer | None = None

    @property
    def is_empty(self) -> bool:
        """Whether there is no layer at all."""
        return self.entries is None and self.tree is None and self.layer is None


class Snapshots:
    """The file systems of one build's steps; `images` are those under them, by digest.

    Safe for several threads: a step's form is set before others read it.
    """

    def __init__(self, graph: BuildGraph, images: Mapping[str, Image], workspace: Workspace) -> None:
        self._graph = graph
        self._images = images
        self._workspace = workspace
        self._forms: dict[int, Form] = {}
        self._remembered: dict[str, RememberingView] = {}
        self._recipes: dict[int, tuple[tuple[Entry, ...], RecipeView]] = {}
        self._extracting = threading.Lock()

    @classmethod
    def of_image(cls, image: Image, workspace: Workspace) -> Snapshots:
        """One file system alone, that of an image; its step is number 0."""
        digest = str(image.manifest.descriptor.digest)
        source = SourceStep("", Span(1, 1, 1, 1), "image", digest)
        return cls(BuildGraph((source,), (PlannedStage("", 0, image.config),)), {digest: image}, workspace)

    def step(self, number: int) -> Step:
        """The step of this number."""
        return self._graph.steps[number]

    def called(self, number: int) -> str:
        """How errors call the file system after a step: by its stage, or by the image that it is out of."""
        step = self._graph.steps[number]
        if isinstance(step, SourceStep) and all(stage.last != number for stage in self._graph.stages):
            return step.image
        return f"stage {self._graph.stage_of(number)}"

    def set(self, number: int, form: Form) -> None:
        """Say what a step's layer is."""
        self._forms[number] = form

    def form(self, number: int) -> Form | None:
        """What a step's layer is, None as long as nobody said."""
        return self._forms.get(number)

    def stack(self, last: int) -> tuple[Form, ...]:
        """The layers of the file system after step `last`, topmost first."""
        image = self._base(last)
        base = [Form(layer=layer) for layer in layers_of(image)] if image else []
        own = [self._forms[number] for number in self._graph.file_steps(last)]
        return tuple(form for form in reversed((*base, *own)) if not form.is_empty)

    def view(self, last: int) -> MergedView:
        """The file system after step `last`, to look things up in."""
        return MergedView([self._view(form) for form in self.stack(last)])

    def readable(self, last: int) -> MergedView:
        """The same, out of directories where there are any: contents are at hand, and no blob is read for its index.

        A directory that no layer names has another time there than in `view`.
        """
        return self._readable_stack(self.stack(last))

    def shown(self, stack: Sequence[Form]) -> tuple[MergedView, tuple[tuple[Descriptor, Digest] | None, ...]]:
        """The file system of layers, topmost first, as `readable` has it, and where contents lie that are in blobs alone."""
        return self._readable_stack(stack), self._blobs(stack)

    def _readable_stack(self, stack: Sequence[Form]) -> MergedView:
        return MergedView([self._readable(form) for form in stack])

    def trees(self, last: int) -> tuple[str, ...]:
        """The file system after step `last`, as directories, topmost first."""
        found: tuple[str, ...] = ()
        for form in reversed(self.stack(last)):
            found = (self._tree(form, found), *found)
        # Of two layers that are the same one the upper says all that the lower says, and overlay takes no directory twice.
        return tuple(dict.fromkeys(found))

    def underfoot(self, last: int) -> MergedView:
        """The same as `readable`, for what every RUN on it looks up; of a tree that is in it already little is read again."""
        trees = self.trees(last)
        with self._extracting:
            for tree in trees:
                if tree not in self._remembered:
                    self._remembered[tree] = RememberingView(TreeView(tree))
            return MergedView([self._remembered[tree] for tree in trees])

    def blobs(self, last: int) -> tuple[tuple[Descriptor, Digest] | None, ...]:
        """Where a view's LayerContent finds its bytes: a blob and its diffID for each layer that is only a blob."""
        return self._blobs(self.stack(last))

    def _blobs(self, stack: Sequence[Form]) -> tuple[tuple[Descriptor, Digest] | None, ...]:
        return tuple((self._workspace.blob(form.layer), form.layer.diff_id) if form.layer else None for form in stack)

    def as_tree(self, number: int, name: str) -> None:
        """Give a step that has entries the directory form too, as the tree `name`; the entries then lie there."""
        from pybuild.builder.layers.extraction import materialise

        form = self._forms[number]
        assert form.entries is not None
        place = self._workspace.tree_path(name)
        with self._workspace.scratch() as scratch:
            materialise(form.entries, f"{scratch}/tree")
            adopt_tree(f"{scratch}/tree", place)
        self._forms[number] = replace(form, tree=place)

    def changes(self, number: int, parent: int) -> tuple[Entry, ...]:
        """What the directory form of a step has that the file system after `parent` had not."""
        from pybuild.builder.layers.changes import changes

        tree = self._forms[number].tree
        assert tree is not None
        return changes(tree, self.underfoot(parent))

    def pieces(self, last: int) -> Iterator[Layer | tuple[Entry, ...]]:
        """The layers of the file system that a RUN stands on, lowest first: those in blobs, and what is in the others."""
        from pybuild.builder.layers.changes import changes

        forms = self.stack(last)
        for place in reversed(range(len(forms))):
            form = forms[place]
            if form.layer is not None:
                yield form.layer
            else:
                assert form.tree is not None
                yield changes(form.tree, MergedView([self._readable(below) for below in forms[place + 1 :]]))

    def platform(self, last: int) -> Platform | None:
        """What the base image is for; None without one."""
        image = self._base(last)
        return image.config.platform if image else None

    def _base(self, last: int) -> Image | None:
        source = self._graph.steps[self._graph.chain(last)[0]]
        return self._images.get(source.digest or "") if isinstance(source, SourceStep) else None

    def read(self, last: int, *paths: str) -> dict[str, bytes | None]:
        """The contents of small files after step `last`, None for one that is not there."""
        return self._read(self.readable(last), last, paths)

    def _read(self, view: MergedView, last: int, paths: Sequence[str]) -> dict[str, bytes | None]:
        found = {path: view.lookup(follow(view.lookup, path)) for path in paths}
        files = [entry for entry in found.values() if entry is not None and entry.kind is Kind.FILE]
        for entry in files:
            if entry.size > _LARGEST_READ:
                raise BuildError(f"/{entry.path} of the image has {entry.size} bytes", hint=f"up to {_LARGEST_READ} are read")
        with fetched(files, self.blobs(last), self._workspace) as entries:
            contents = {entry.path: _content(entry) for entry in entries}
        return {path: contents.get(entry.path) if entry else None for path, entry in found.items()}

    def accounts(self, last: int, view: MergedView | None = None) -> tuple[bytes | None, bytes | None]:
        """The contents of /etc/passwd and /etc/group after step `last`, which `view` may show already."""
        found = self._read(view or self.readable(last), last, ("etc/passwd", "etc/group"))
        return found["etc/passwd"], found["etc/group"]

    def _view(self, form: Form) -> LayerView:
        if form.tree is not None:
            return TreeView(form.tree)
        if form.entries is not None:
            # Each step above looks into it. The entries are kept with their view, so that no others get their place in memory.
            known = self._recipes.get(id(form.entries))
            if known is None:
                known = self._recipes[id(form.entries)] = (form.entries, RecipeView(form.entries))
            return known[1]
        assert form.layer is not None
        return self._indexed(form.layer)

    def _readable(self, form: Form) -> LayerView:
        """The layer with its contents on disk if they are there: one in a blob takes a pass over the blob to read."""
        if form.tree is None and form.layer is not None and (tree := self._workspace.existing_tree(form.layer.diff_id)):
            return TreeView(tree)
        return self._view(form)

    def _indexed(self, layer: Layer) -> LayerView:
        from pybuild.builder.layers.stored import FileIndexes

        database, store = self._workspace.database, self._workspace.store
        # It makes its tables, and two threads of ours have one connection.
        with database.mutex:
            indexes = FileIndexes(database.connection)
        if not indexes.has(layer.diff_id):
            from pybuild.builder.layers.extraction import index

            entries = index(self._workspace.blob(layer), store, layer.diff_id)
            with database.mutex:
                indexes.add(layer.diff_id, entries)
        return indexes.view(layer.diff_id)

    def _tree(self, form: Form, below: tuple[str, ...]) -> str:
        if form.tree is not None:
            return form.tree
        assert form.layer is not None, "entries that a RUN stands on are laid out when they are made"
        with self._extracting:
            return self._workspace.tree(form.layer, below)


@contextmanager
def fetched(
    entries: Sequence[Entry], blobs: Sequence[tuple[Descriptor, Digest] | None], workspace: Workspace
) -> Iterator[tuple[Entry, ...]]:
    """The entries, with the bytes at hand that lie in blobs."""
    if not any(isinstance(entry.content, LayerContent) for entry in entries):
        yield tuple(entries)
        return
    from pybuild.builder.layers.contents import fetch

    with fetch(entries, blobs, workspace.store) as found:
        yield tuple(found)


def _content(entry: Entry) -> bytes:
    match entry.content:
        case DiskContent(path):
            with open(path, "rb") as file:
                return file.read()
        case BytesContent(content):
            return content
        case SpoolContent(descriptor, offset):
            return os.pread(descriptor, entry.size, offset)
    return b""
