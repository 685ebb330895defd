"""Pushes and pulls over a bad way, and the look afterwards whether anything is wrong that nobody has told of.

`python -m real.fault_scripts 1000` in `tests/` (or `make faults`) runs 1,000 scripts by chance, half of them against docker-registry and
half against `pybuild serve`. What has to hold for each: it ends; either all is right, or there is an error with a message; a tag in the
registry names a whole image, and the store has nothing that is not what its digest says, nor a name for less than a whole image.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import random
import shutil
import sys
import tarfile
import tempfile
import time
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from checker import check_layout

from pybuild.builder.layers.tapping import taps
from pybuild.registry import Digest, ImageConfig, Manifest, Platform, Reference, RegistryError, Store, early, growing, media
from pybuild.registry.early import EarlyPush
from pybuild.registry.errors import NotInRegistry
from pybuild.registry.retries import Patience
from pybuild.registry.transfer import pull, push
from real.bad_way import bad_way, by_chance
from real.registries import running_registry
from real.served import served_store

PATIENCE = Patience(attempts=4, answer_seconds=5, pause=lambda seconds: None)


class Wrong(AssertionError):
    """Something is wrong, and nobody has told."""


class Trial:
    """A registry, a bad way to it, and one script after the other."""

    def __init__(self, way, host, folder):
        self.way = way
        self.host = host
        self.folder = folder
        self.counts = {"right": 0, "told": 0}

    def run(self, seed):
        """One script. Raises Wrong."""
        place = self.folder / str(seed)
        try:
            self._run(seed, place)
        except Wrong as error:
            raise Wrong(f"script {seed}: {error}\n" + "\n".join(self.way.seen)) from error
        finally:
            shutil.rmtree(place, ignore_errors=True)

    def _run(self, seed, place):
        chance = random.Random(seed)
        store = Store.open(place / "mine")
        # Above 8 MiB a layer goes in pieces.
        image = _image(
            store, chance, [chance.choice((100, 5_000, 300_000, 9 << 20 if seed % 20 == 0 else 1_000)) for _ in range(3)]
        )
        path = f"faults/{seed}"
        self.way.follow(by_chance(seed))
        if seed % 3 == 0:
            self._send_ahead(store, image, path)
        pushed = self._try(lambda: push(store, image, Reference.parse(f"{self.way.host}/{path}:v1"), patience=PATIENCE))
        spoiled = self.way.has_spoiled()
        there = self._directly(path, place / "looked")
        if pushed and there != image.manifest.raw:
            raise Wrong("the push was told to be right, and the registry has something else")
        if there not in (None, image.manifest.raw) and not spoiled:
            raise Wrong("the tag names another image")
        check_layout(store.root)
        if there != image.manifest.raw:
            push(store, image, Reference.parse(f"{self.host}/{path}:v1"), patience=PATIENCE)
            if self._directly(path, place / "again") != image.manifest.raw:
                raise Wrong("a push over a good way after a bad one is not right")
        self._pull(seed, path, image, Store.open(place / "pulled"))

    def _send_ahead(self, store, image, path):
        """Layers go while they are being written, as a build sends them; what comes of that the push looks after."""
        ahead = EarlyPush(
            store,
            (Reference.parse(f"{self.way.host}/{path}:v1"),),
            insecure=False,
            listener=lambda event: None,
            patience=PATIENCE,
        )
        for layer in image.manifest.layers:
            content = store.read(layer)
            store.delete(layer.digest)
            with store.writer() as writer:
                for end in sorted({len(content) // 3, len(content) // 2, len(content)}):
                    writer.write(content[writer.size : end])
                    ahead.grow(writer.path, end)
                    # As long as a compressor takes.
                    time.sleep(0.01)
                writer.commit(layer.digest)
                ahead.offer(layer, path=writer.path)
        ahead.finish()

    def _pull(self, seed, path, image, target):
        name = Reference.parse(f"{self.way.host}/{path}:v1")
        self.way.follow(by_chance(-1 - seed))
        pulled = self._try(lambda: pull(target, name, patience=PATIENCE, taps=taps))
        tagged = target.tagged(name)
        if bool(tagged) != pulled:
            raise Wrong("a name for what was not told to be right" if tagged else "no name for what was told to be right")
        if pulled and target.image(tagged).manifest.raw != image.manifest.raw:
            raise Wrong("another image was pulled")
        check_layout(target.root)
        for digest in target.blobs():
            if Digest.of(Path(target.path(digest)).read_bytes()) != digest:
                raise Wrong(f"{digest} is not what its digest says")
        if os.listdir(f"{target.root}/tmp"):
            raise Wrong("temporary files are left")
        self.way.follow({})
        if pull(target, name, patience=PATIENCE).manifest.raw != image.manifest.raw:
            raise Wrong("a pull over a good way after a bad one is not right")

    def _try(self, action):
        since = time.monotonic()
        try:
            action()
        except RegistryError as error:
            if not error.message or len(error.message) > 1000:
                raise Wrong(f"an error that says nothing: {error!r}") from error
            self.counts["told"] += 1
            return False
        finally:
            if time.monotonic() - since > 120:
                raise Wrong("it took two minutes")
        self.counts["right"] += 1
        return True

    def _directly(self, path, folder):
        """The manifest that the tag names, with all that it leads to fetched and checked; None when there is no such tag."""
        store = Store.open(folder)
        try:
            return pull(store, Reference.parse(f"{self.host}/{path}:v1"), patience=PATIENCE).manifest.raw
        except NotInRegistry:
            return None
        except RegistryError as error:
            # A manifest that was spoiled on the way, each time that it was put.
            return f"damaged: {error}".encode()


def _image(store, chance, sizes):
    layers, diff_ids = [], []
    for number, size in enumerate(sizes):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
            entry = tarfile.TarInfo(f"file{number}")
            entry.size = size
            archive.addfile(entry, io.BytesIO(chance.randbytes(size)))
        diff_ids.append(Digest.of(out.getvalue()))
        layers.append(store.add(gzip.compress(out.getvalue(), 1, mtime=0), media.layer_type("gzip")))
    config = ImageConfig(Platform.here(), diff_ids=tuple(diff_ids))
    manifest = Manifest.build(store.add(config.encode(), media.OCI_CONFIG), tuple(layers))
    store.add(manifest.raw, manifest.media_type)
    return store.image(manifest.descriptor)


@contextlib.contextmanager
def small_pieces():
    """Layers of a few thousand bytes are large."""
    before = early.WORTHWHILE, growing.PIECE
    early.WORTHWHILE, growing.PIECE = 2_000, 1_000
    try:
        yield
    finally:
        early.WORTHWHILE, growing.PIECE = before


@contextlib.contextmanager
def trial(kind, folder):
    """A trial against `docker-registry` or `serve`, in an empty folder."""
    with contextlib.ExitStack() as resources:
        if kind == "docker-registry":
            (folder / "registry").mkdir(parents=True)
            host = resources.enter_context(running_registry(folder / "registry")).host
        else:
            Store.open(folder / "served")
            host = resources.enter_context(served_store(folder / "served", writable=True)).host
        resources.enter_context(small_pieces())
        way = resources.enter_context(bad_way(host))
        yield Trial(way, host, folder / "trials")


def main(arguments):
    """Run scripts; the exit code."""
    count = int(arguments[0]) if arguments else 1000
    first = int(arguments[1]) if len(arguments) > 1 else 0
    with tempfile.TemporaryDirectory(prefix="pybuild-faults-") as folder:
        for kind in ("docker-registry", "serve"):
            with trial(kind, Path(folder) / kind) as found:
                since = time.monotonic()
                seeds = range(first + (kind == "serve"), first + count, 2)
                for seed in seeds:
                    found.run(seed)
                print(f"{kind}: {len(seeds)} scripts, {found.counts} in {time.monotonic() - since:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
