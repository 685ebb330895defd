"""Push and pull beside skopeo, over loopback: `python -m benchmarks.transfers [--runs N] [--json FILE] [large] [many]`.

The same image, the same registry (Debian's docker-registry), the same run, one behind the other: one layer of 1 GiB that does
not compress, and 200 layers of 8 KB. skopeo reads and writes OCI layouts, pybuild its store. Every push goes to a new repository.
Memory is the largest resident set; processor seconds are those of the client alone, and are given for a GB, too.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import os
import shutil
import statistics
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.measuring import CommandFailed, Measure, measure
from benchmarks.places import remove
from pybuild.registry import Digest, ImageConfig, Manifest, Platform, Reference, Store, media
from tests.real.registries import Registry, running_registry

_BLOCK = 1 << 20
SIZES = {"large": (1, 1 << 30), "many": (200, 8 << 10)}


@dataclass(frozen=True, slots=True)
class Taken:
    """One measured transfer."""

    workload: str
    tool: str
    direction: str
    measure: Measure


def main(arguments: list[str]) -> int:
    """Measure, print the table, and return the exit code."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.transfers", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("workload", nargs="*", metavar="WORKLOAD", help="large, many; both when none is named")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="how often each is measured")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all that was measured there")
    options = parser.parse_args(arguments)
    if missing := [name for name in ("docker-registry", "skopeo") if shutil.which(name) is None]:
        print(f"missing, install it from Debian: {' '.join(missing)}", file=sys.stderr)
        return 1
    taken: list[Taken] = []
    try:
        for name in options.workload or SIZES:
            found = list(_measured(name, options.runs))
            print(_table(name, found), flush=True)
            taken += found
    except CommandFailed as error:
        print(error, file=sys.stderr)
        return 1
    if options.json:
        options.json.write_text(json.dumps([asdict(item) for item in taken], indent=1) + "\n")
    return 0


@contextmanager
def _place() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="pybuild-transfers-"))
    try:
        yield folder
    finally:
        remove(folder)


def _measured(workload: str, runs: int) -> Iterator[Taken]:
    count, size = SIZES[workload]
    with _place() as folder:
        (folder / "registry").mkdir()
        store = Store.open(folder / "store")
        name = Reference.parse(f"image:{workload}")
        _make(store, name, count, size)
        for number in range(runs):
            # A registry of its own for each run: the page cache is as full for the first as for the last.
            place = folder / "registry" / str(number)
            place.mkdir()
            with running_registry(place) as registry:
                for tool in ("skopeo", "pybuild") if number % 2 else ("pybuild", "skopeo"):
                    print(f"{workload}: run {number + 1} of {runs}, {tool}", file=sys.stderr, flush=True)
                    yield from _transfers(workload, tool, registry, store, name, folder)
            remove(place)


def _transfers(workload: str, tool: str, registry: Registry, store: Store, name: Reference, folder: Path) -> Iterator[Taken]:
    remote = registry.name(f"{tool}/{workload}:1")
    target = folder / f"{tool}-target"
    environment = {**os.environ, "HOME": str(folder), "DOCKER_CONFIG": str(folder / "docker")}
    if tool == "skopeo":
        push = ("skopeo", "copy", "-q", "--dest-tls-verify=false", f"oci:{store.root}:{name}", f"docker://{remote}")
        pull = ("skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{remote}", f"oci:{target}:1")
    else:
        store.tag(store.find(str(name)).descriptor, Reference.parse(remote))
        command = (sys.executable, "-m", "pybuild")
        push = (*command, "--root", store.root, "push", "-q", remote)
        pull = (*command, "--root", str(target), "pull", "-q", remote)
    yield Taken(workload, tool, "push", measure(push, environment=environment, folder=folder))
    yield Taken(workload, tool, "pull", measure(pull, environment=environment, folder=folder))
    remove(target)
    for record in ("origins.json", "uploads.json"):
        Path(store.root, record).unlink(missing_ok=True)


def _make(store: Store, name: Reference, count: int, size: int) -> None:
    """An image of layers whose content does not compress."""
    layers, diff_ids = [], []
    for number in range(count):
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as archive:
            entry = tarfile.TarInfo(f"file{number}")
            entry.size = size
            archive.addfile(entry, _Random(size))  # type: ignore[arg-type]
        plain = content.getbuffer()
        diff_ids.append(Digest.of(plain))  # type: ignore[arg-type]
        layers.append(store.add(gzip.compress(plain, 1, mtime=0), media.layer_type("gzip")))
    config = ImageConfig(Platform.here(), diff_ids=tuple(diff_ids))
    manifest = Manifest.build(store.add(config.encode(), media.OCI_CONFIG), tuple(layers))
    store.add(manifest.raw, manifest.media_type)
    store.tag(manifest.descriptor, name)


class _Random:
    def __init__(self, size: int) -> None:
        self._left = size

    def read(self, size: int) -> bytes:
        size = min(size, self._left, _BLOCK)
        self._left -= size
        return os.urandom(size)


def _table(workload: str, taken: list[Taken]) -> str:
    count, size = SIZES[workload]
    total = count * size / 1e9
    lines = [
        f"{count} x {size / 1e6:.4g} MB",
        f"{'':16}{'seconds':>10}{'of skopeo':>11}{'CPU s':>9}{'CPU s/GB':>10}{'memory':>9}",
    ]
    for direction in ("push", "pull"):
        medians = {}
        for tool in ("skopeo", "pybuild"):
            found = [item.measure for item in taken if (item.tool, item.direction) == (tool, direction)]
            medians[tool] = statistics.median(item.seconds for item in found)
            processor = statistics.median(item.processor_seconds for item in found)
            memory = max(item.memory for item in found) / 1e6
            ratio = medians[tool] / medians["skopeo"]
            numbers = f"{medians[tool]:>10.2f}{ratio:>11.2f}{processor:>9.2f}{processor / total:>10.2f}{memory:>7.0f}MB"
            lines.append(f"{direction + ' ' + tool:16}{numbers}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
