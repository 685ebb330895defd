"""A cache and an executor that are not here: folders and another process stand in for other machines.

Nothing but bytes goes there and comes back: pickled values, and blobs. `python -m real.elsewhere STORE` is the executor's far end.
"""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from pybuild.builder.errors import BuildError, StepFailed
from pybuild.builder.graph import BuildGraph, PlannedStage, RunStep, SourceStep
from pybuild.builder.layers.compression import Compression
from pybuild.builder.layers.entry import Entry, clamped
from pybuild.builder.layers.index import walk
from pybuild.builder.layers.packing import pack
from pybuild.builder.records.cache import Kept, Lineage, LocalCache, Result
from pybuild.builder.steps.job import Job
from pybuild.builder.steps.snapshots import Form, Snapshots
from pybuild.builder.workspace import Layer, Workspace
from pybuild.grammar import Span
from pybuild.registry import Descriptor, Digest, History, Image, ImageConfig, Manifest, Platform, RunConfig, Store, media
from pybuild.values import replace

_HERE = Path(__file__).resolve().parents[1]
_NOWHERE = Span(1, 1, 1, 1)


class Shelf:
    """A cache in a folder, as an object store would have it: a file for each result, each lineage, each moment, each blob."""

    def __init__(self, workspace: Workspace, folder: Path) -> None:
        self._local = LocalCache(workspace)
        self._store = workspace.store
        self._folder = folder
        self._mutex = threading.Lock()

    def packed(self, key: str, compression: str) -> Result | None:
        found = self._local.packed(key, compression)
        if found is None and self._fetch(key, compression):
            found = self._local.packed(key, compression)
        return found

    def found(self, key: str) -> Kept | None:
        found = self._local.found(key)
        if found is None and any(self._fetch(key, path.suffix[1:]) for path in self._folder.glob(f"result-{key}.*")):
            found = self._local.found(key)
        return found

    def keep(self, key: str, kept: Kept, compression: str) -> None:
        self._local.keep(key, kept, compression)
        if kept.tree is not None and not kept.layers:
            # Nobody packed it, and a tree is of no use elsewhere.
            return
        for layer in kept.layers:
            shutil.copyfile(self._store.path(layer.descriptor.digest), self._folder / layer.descriptor.digest.hex)
        layers = [(*_fields(layer.descriptor), layer.diff_id) for layer in kept.layers]
        self._write(f"result-{key}.{compression}", [kept.created, layers])

    def _fetch(self, key: str, compression: str) -> bool:
        content = self._read(f"result-{key}.{compression}")
        if content is None:
            return False
        created, layers = content
        kept = Kept(
            created, tuple(Layer(Descriptor(kind, Digest(digest), size), Digest(diff)) for kind, digest, size, diff in layers)
        )
        for layer in kept.layers:
            with self._store.writer() as writer:
                writer.write((self._folder / layer.descriptor.digest.hex).read_bytes())
                writer.commit(layer.descriptor.digest)
        self._local.keep(key, kept, compression)
        return True

    def lineages(self, own: str) -> list[tuple[str, Lineage]]:
        found = self._read(f"lineages-{own}") or []
        return [(key, tuple(tuple((a, b) for a, b in stack) for stack in lineage)) for key, lineage in found]

    def add_lineage(self, own: str, key: str, lineage: Lineage) -> None:
        with self._mutex:
            self._write(f"lineages-{own}", [[key, lineage], *(self._read(f"lineages-{own}") or [])])

    def moment(self, key: str, now: str) -> str:
        moment = self._read(f"moment-{key}") or now
        self._write(f"moment-{key}", moment)
        return moment

    def _read(self, name: str):
        path = self._folder / name
        return json.loads(path.read_text()) if path.exists() else None

    def _write(self, name: str, value: object) -> None:
        (self._folder / name).write_text(json.dumps(value))


class Elsewhere:
    """An executor whose steps run in another process over another store."""

    def __init__(self, job: Job, workspace: Workspace, root: Path) -> None:
        self._job, self._workspace, self._root = job, workspace, root
        self._there: set[str] = set()
        self._running: list[subprocess.Popen[bytes]] = []

    def start(self, steps: Sequence[RunStep], notify: Callable[[str], None]) -> None:
        notify("steps run elsewhere")

    def run(
        self,
        step: RunStep,
        snapshots: Snapshots,
        place: str,
        *,
        output: Callable[[int, bytes], None],
        check: Callable[[], None],
    ) -> Form:
        below = self._layers(snapshots.pieces(step.parent))
        beside = {origin: self._layers(self._pieces(origin, snapshots)) for origin in step.origins}
        layers = {layer.descriptor.digest: layer for layer in (*below, *(layer for found in beside.values() for layer in found))}
        blobs = {name: Path(self._workspace.store.path(Digest(name))).read_bytes() for name in layers.keys() - self._there}
        self._there |= layers.keys()
        task = pickle.dumps((step, below, beside, self._job.run, (self._job.compression, self._job.timestamp), blobs))
        process = subprocess.Popen(
            [sys.executable, "-m", "real.elsewhere", str(self._root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=_HERE,
        )
        self._running.append(process)
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(task)
        process.stdin.close()
        with process.stdout as answers:
            while True:
                try:
                    kind, *values = pickle.load(answers)
                except EOFError:
                    check()
                    raise BuildError("the other machine does not answer any more") from None
                if kind == "output":
                    output(*values)
                elif kind == "failed":
                    raise StepFailed(*values[:1], exit_code=values[1], output=values[2])
                else:
                    layer, content = values
                    with self._workspace.store.writer() as writer:
                        writer.write(content)
                        writer.commit(layer.descriptor.digest)
                    return Form(layer=layer)

    def _pieces(self, origin: int | str, snapshots: Snapshots) -> Iterable[Layer | tuple[Entry, ...]]:
        if isinstance(origin, int):
            return snapshots.pieces(origin)
        return [tuple(entry._replace(uid=0, gid=0) for entry in walk(self._job.contexts[origin], ""))]

    def _layers(self, pieces: Iterable[Layer | tuple[Entry, ...]]) -> tuple[Layer, ...]:
        return tuple(piece if isinstance(piece, Layer) else _packed(piece, self._workspace.store, "none") for piece in pieces)

    def interrupt(self) -> None:
        for process in self._running:
            process.kill()

    def look_into(self, *, compression: str, now: str) -> None:
        """Nothing is left here."""

    def close(self) -> None:
        for process in self._running:
            process.wait()


def _fields(blob: Descriptor) -> tuple[str, str, int]:
    return blob.media_type, blob.digest, blob.size


def _packed(entries: tuple[Entry, ...], store: Store, compression: str) -> Layer:
    found = pack(entries, store, Compression.parse(compression))
    return Layer(found.descriptor, found.diff_id)


# The far end


def _image(store: Store, layers: tuple[Layer, ...]) -> Image:
    history = tuple(History("2026-01-01T00:00:00Z", "", None, "") for _ in layers)
    config = ImageConfig(Platform.here(), RunConfig(), tuple(layer.diff_id for layer in layers), history)
    manifest = Manifest.build(store.add(config.encode(), media.OCI_CONFIG), tuple(layer.descriptor for layer in layers))
    return Image(store.add(manifest.raw, manifest.media_type), manifest, config)


def main() -> None:
    """Run the one step that comes on standard input."""
    # Imported here: the near end runs nothing.
    from pybuild.builder.steps.attachments import Attachments
    from pybuild.builder.steps.running import Runner

    def tell(*message: object) -> None:
        sys.stdout.buffer.write(pickle.dumps(message))
        sys.stdout.buffer.flush()

    with Workspace.open(Path(sys.argv[1])) as workspace:
        step, below, beside, options, (compression, timestamp), blobs = pickle.load(sys.stdin.buffer)
        store = workspace.store
        for digest, content in blobs.items():
            with store.writer() as writer:
                writer.write(content)
                writer.commit(Digest(digest))
        images = [_image(store, below), *(_image(store, layers) for layers in beside.values())]
        digests = [str(image.manifest.descriptor.digest) for image in images]
        numbers = {origin: number for number, origin in enumerate(beside, 1)}
        mounts = tuple(replace(mount, origin=numbers.get(mount.origin)) for mount in step.mounts)
        steps = (*(SourceStep("", _NOWHERE, "image", digest) for digest in digests), replace(step, parent=0, mounts=mounts))
        graph = BuildGraph(steps, (PlannedStage("", len(images), images[0].config),))
        snapshots = Snapshots(graph, dict(zip(digests, images, strict=True)), workspace)
        runner = Runner(workspace, Attachments(workspace, {}, ("",) * len(steps), options), options)
        try:
            runner.start(steps[-1:], lambda text: None)
            place = workspace.tree_path(workspace.new_tree("elsewhere"))
            form = runner.run(
                steps[-1], snapshots, place, output=lambda stream, content: tell("output", stream, content), check=lambda: None
            )
            snapshots.set(len(images), form)
            layer = _packed(clamped(snapshots.changes(len(images), 0), timestamp), store, compression)
            tell("made", layer, Path(store.path(layer.descriptor.digest)).read_bytes())
        except StepFailed as error:
            tell("failed", error.message, error.exit_code, error.output)
        finally:
            runner.close()


if __name__ == "__main__":
    import pybuild

    pybuild.__path__.append(str(_HERE.parent))
    main()
