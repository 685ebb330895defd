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
    """A kind of context; `make(folder, base)` writes one into an empty folder, with a Dockerfile on that base image."""

    name: str
    title: str
    make: Callable[[Path, str], None]


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


def _content(chance: random.Random, size: int) -> bytes:
    """Half random, half text: programs and models compress by about that much."""
    text = b" ".join(chance.choices(_WORDS, k=200))
    half = size // 2
    return chance.randbytes(size - half) + (text * (half // len(text) + 1))[:half]


WORKLOADS = {
    found.name: found
    for found in (
        Workload("httpserver", "httpserver on busybox", _httpserver),
        Workload("files", "20,000 files, 80 MB", _files),
        Workload("gigabyte", "one file of 1 GiB", _gigabyte),
        Workload("runs", "20 RUN steps over busybox", _runs),
        Workload("written", "a RUN that writes 1 GiB", _written),
    )
}
