"""What is built: contexts of the same bytes every time, which compress by about half."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_HTTPSERVER = Path(__file__).resolve().parent.parent / "fixtures" / "httpserver"
_FOLDERS, _FILES_PER_FOLDER, _FILE_SIZE = 200, 100, 4000
_BLOCK = 1 << 16
_BLOCKS = (1 << 30) // _BLOCK
_WORDS = b"layer manifest digest index blob config registry image build push pull context stage copy whiteout archive".split()


@dataclass(frozen=True, slots=True)
class Workload:
    """A kind of context; `make(folder, base)` writes one into an empty folder, with a Dockerfile on that base image.

    `change(folder, number)` changes one thing in it, another way for each number; `changed` says what.
    """

    name: str
    title: str
    make: Callable[[Path, str], None]
    change: Callable[[Path, int], None] | None = None
    changed: str = ""


def _httpserver(folder: Path, base: str) -> None:
    shutil.copytree(_HTTPSERVER, folder, dirs_exist_ok=True)
    dockerfile = (_HTTPSERVER / "Dockerfile").read_text().splitlines(keepends=True)
    assert dockerfile[0].startswith("FROM ")
    (folder / "Dockerfile").write_text("".join([f"FROM {base}\n", *dockerfile[1:]]))


def _files(folder: Path, base: str) -> None:
    chance = random.Random(20_000)
    (folder / "Dockerfile").write_text(f"FROM {base}\nCOPY tree /srv/tree\n")
    for number in range(_FOLDERS):
        inner = folder / "tree" / f"{number // 20:02}" / f"{number:03}"
        inner.mkdir(parents=True)
        for file in range(_FILES_PER_FOLDER):
            (inner / f"module{file:03}.py").write_bytes(_content(chance, _FILE_SIZE))


def _gigabyte(folder: Path, base: str) -> None:
    chance = random.Random(1 << 30)
    (folder / "Dockerfile").write_text(f"FROM {base}\nCOPY model.bin /srv/model.bin\n")
    with open(folder / "model.bin", "wb") as file:
        for _ in range(_BLOCKS):
            file.write(_content(chance, _BLOCK))


def _runs(folder: Path, base: str) -> None:
    steps = (f"RUN echo {number} > /file{number}\n" for number in range(20))
    (folder / "Dockerfile").write_text("".join((f"FROM {base}\n", *steps)))


def _written(folder: Path, base: str) -> None:
    """What a step writes is the file system's to keep, not the builder's: its memory is what this is about."""
    (folder / "Dockerfile").write_text(f"FROM {base}\nRUN dd if=/dev/urandom of=/model.bin bs=1M count=1024\n")


def _tree(folder: Path, base: str) -> None:
    """13,000 files and 300 MB, of half random and half text as a distribution's are; then a third of the folders goes."""
    seed = "yes 'layer manifest digest index' | head -c 12k > /text; mkdir /seed; for f in $(seq 100)"
    seed += "; do { head -c 12k /dev/urandom; cat /text; } > /seed/$f; done"
    make = f"{seed}; for d in $(seq 130); do mkdir -p /srv/$((d % 10)); cp -r /seed /srv/$((d % 10))/$d; done; rm -r /seed /text"
    (folder / "Dockerfile").write_text(f"FROM {base}\nRUN {make}\nRUN rm -r /srv/3 /srv/6 /srv/9\n")


def _stages(folder: Path, base: str) -> None:
    stages = (f"FROM {base} AS stage{number}\nRUN sleep 2; echo {number} > /out\n" for number in range(3))
    copies = (f"COPY --from=stage{number} /out /out{number}\n" for number in range(3))
    (folder / "Dockerfile").write_text("".join((*stages, f"FROM {base}\n", *copies)))


def _append(name: str) -> Callable[[Path, int], None]:
    def change(folder: Path, number: int) -> None:
        with open(folder / name, "a") as file:
            file.write(f"# change {number}\n")

    return change


def _another(command: str) -> Callable[[Path, int], None]:
    """One RUN of the Dockerfile does something more."""

    def change(folder: Path, number: int) -> None:
        path = folder / "Dockerfile"
        before, _, after = path.read_text().partition(command)
        _, end, rest = after.partition("\n")
        path.write_text(f"{before}{command}; echo {number} > /other{end}{rest}")

    return change


def _content(chance: random.Random, size: int) -> bytes:
    """Half random, half text: programs and models compress by about that much."""
    text = b" ".join(chance.choices(_WORDS, k=200))
    half = size // 2
    return chance.randbytes(size - half) + (text * (half // len(text) + 1))[:half]


WORKLOADS = {
    found.name: found
    for found in (
        Workload("httpserver", "httpserver on busybox", _httpserver, _append("bin/amd64/httpserver"), "one file"),
        Workload("files", "20,000 files, 80 MB", _files, _append("tree/05/100/module050.py"), "one file"),
        Workload("gigabyte", "one file of 1 GiB", _gigabyte),
        Workload("runs", "20 RUN steps over busybox", _runs, _another("echo 10 > /file10"), "the eleventh RUN"),
        Workload("written", "a RUN that writes 1 GiB", _written),
        Workload("tree", "RUN writes 13,000 files, 300 MB, RUN removes a third", _tree),
        Workload("stages", "three stages that sleep 2 s", _stages, _another("echo 1 > /out"), "one stage"),
    )
}
