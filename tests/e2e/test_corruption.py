"""Bytes of a store that are others than they were: no build makes a wrong image of them, and verify finds and mends them.

`make endure` damages more: `PYBUILD_DAMAGES` is how many copies of a store are damaged, each in one place by chance.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import sqlite3
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from real.command import COMMAND
from real.foreign import run

from pybuild.registry import Store

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.damaged, pytest.mark.peers("umoci")]

DAMAGES = int(os.environ.get("PYBUILD_DAMAGES", "3"))
DOCKERFILE = """\
FROM ubuntu AS made
ARG GREETING=hello
COPY code /code
RUN grep -v ^# /code > /out && echo $GREETING >> /out && mkdir -p /dir/sub && chmod 750 /dir
FROM ubuntu
ENV KIND=sound
COPY --from=made /out /out
COPY --chown=1000:1000 files /files/
WORKDIR /work
RUN cat /out /files/* > sum && rm /files/two && ln -s sum link
LABEL last=one
"""


class Damaged:
    """Copies of a store with two images, and what they have to come out as."""

    def __init__(self, folder: Path, ubuntu: Path) -> None:
        self.folder, self._ubuntu = folder, ubuntu
        self.context, self.sound = folder / "context", folder / "sound"
        (self.context / "files").mkdir(parents=True)
        for name in ("one", "two", "three"):
            (self.context / "files" / name).write_text(name * 300)
        (self.context / "Dockerfile").write_text(DOCKERFILE)
        self.code("# first\nreal\n")
        first = self.identity(self.sound, self.build(self.sound))
        changed = folder / "changed"
        run("cp", "-a", str(self.sound), str(changed))
        self.code("# first\nchanged\n")
        self.second = self.identity(changed, self.build(changed))
        assert first != self.second
        self.builds = (("# first\nreal\n", first), ("# first\nchanged\n", self.second))

    def code(self, text: str) -> None:
        (self.context / "code").write_text(text)

    def run(self, root: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
        command = [*COMMAND, "--root", str(root), *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, check=False, text=True, env={**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
        )

    def build(self, root: Path) -> subprocess.CompletedProcess[str]:
        return self.run(root, "build", "-t", "app", "--build-context", f"ubuntu=oci-layout://{self._ubuntu}", self.context)

    @staticmethod
    def identity(root: Path, done: subprocess.CompletedProcess[str]) -> str:
        assert done.returncode == 0, done.stderr
        return str(Store.open(root).find("app").manifest.descriptor.digest)

    def copy(self) -> Path:
        root = self.folder / "copy"
        shutil.rmtree(root, ignore_errors=True)
        run("cp", "-a", str(self.sound), str(root))
        return root


@pytest.fixture(scope="module")
def damaged(tmp_path_factory, ubuntu):
    return Damaged(tmp_path_factory.mktemp("damaged"), ubuntu)


@pytest.fixture
def chance():
    seed = int(os.environ.get("PYBUILD_SEED", time.time_ns() % 10**6))
    print(f"PYBUILD_SEED={seed}")
    return random.Random(seed)


def flip(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    for _ in range(chance.choice((1, 1, 4))):
        content[chance.randrange(len(content))] ^= chance.randrange(1, 256)
    path.write_bytes(content)


def zero(path: Path, chance: random.Random) -> None:
    content = bytearray(path.read_bytes())
    start = chance.randrange(len(content)) & ~511
    content[start : start + 512] = bytes(len(content[start : start + 512]))
    path.write_bytes(content)


def cut(path: Path, chance: random.Random) -> None:
    os.truncate(path, chance.randrange(path.stat().st_size))


Way = Callable[[Path, random.Random], None]
Choose = Callable[[Path], list[Path]]
WAYS: tuple[Way, ...] = (flip, zero, cut)
# The tables whose rows decide about an image.
DECISIVE = ("steps", "blobs", "moments", "memos", "files", "lineages", "entries", "indexed")


def garble(path: Path, chance: random.Random) -> None:
    """Another letter in a value of the database: a row of its own is as good as any to SQLite."""
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("pragma journal_mode=delete")
        tables = {name: connection.execute(f"select * from {name}").fetchall() for name in DECISIVE}
    value = b""
    while len(value) < 4:
        row = chance.choice(tables[chance.choice([name for name in DECISIVE if tables[name]])])
        value = (
            b"" if (chosen := chance.choice(row)) is None else str(chosen).encode() if not isinstance(chosen, bytes) else chosen
        )
    content = bytearray(path.read_bytes())
    start = content.find(value[:200])
    if start >= 0:
        # What a value is overflows to another page when it is long.
        content[start + chance.randrange(min(len(value), 200))] ^= chance.choice((1, 2, 4, 8))
        path.write_bytes(content)


def damage(files: list[Path], chance: random.Random, ways: tuple[Way, ...]) -> str | None:
    """Damage one of these files; what was done, None if that left it as it was."""
    path, way = chance.choice([file for file in files if file.stat().st_size]), chance.choice(ways)
    before, mode = path.read_bytes(), path.stat().st_mode
    os.chmod(path, mode | 0o600)
    way(path, chance)
    os.chmod(path, mode)
    return f"{way.__name__} {path}" if path.read_bytes() != before else None


def fault(damaged: Damaged, done: subprocess.CompletedProcess[str], root: Path, expected: str) -> str | None:
    """What is wrong with how a build ended: it is right, or says what is the matter."""
    if done.returncode == 0:
        return None if damaged.identity(root, done) == expected else f"another image: {done.stderr}"
    is_clear = done.returncode == 1 and "error: " in done.stderr and "hint: " in done.stderr
    return (
        None
        if is_clear and "mistake" not in done.stderr and "Traceback" not in done.stderr
        else f"{done.returncode}: {done.stderr}"
    )


def try_once(
    damaged: Damaged, choose: Choose, seed: int, ways: tuple[Way, ...], *, is_always_found: bool, with_builds: bool
) -> list[str]:
    """Damage one place; what went wrong with builds, with verify, and with a build after the repair."""
    found = []
    root = damaged.copy()
    if (said := damage(choose(root), random.Random(seed), ways)) is None:
        return []
    # A build as it was, and one that goes on from there.
    for text, expected in damaged.builds if with_builds else ():
        damaged.code(text)
        found.append(fault(damaged, damaged.build(root), root, expected))
    # And a store that nobody has touched since.
    root = damaged.copy()
    damage(choose(root), random.Random(seed), ways)
    seen = damaged.run(root, "store", "verify")
    if seen.returncode not in ((1,) if is_always_found else (0, 1)) or "mistake" in seen.stderr:
        found.append(f"verify: {seen.returncode} {seen.stdout} {seen.stderr}")
    for arguments in (("--repair",), ()):
        mended = damaged.run(root, "store", "verify", *arguments)
        found.append(f"verify {arguments}: {mended.stdout} {mended.stderr}" if mended.returncode else None)
    found.append(fault(damaged, damaged.build(root), root, damaged.second))
    return [f"{said}: {text}" for text in found if text]


def check(
    damaged: Damaged,
    choose: Choose,
    chance: random.Random,
    ways: tuple[Way, ...] = WAYS,
    *,
    is_always_found: bool = False,
    with_builds: bool = True,
) -> None:
    found = []
    for _ in range(DAMAGES):
        found += try_once(
            damaged, choose, chance.randrange(10**9), ways, is_always_found=is_always_found, with_builds=with_builds
        )
    assert not found, "\n".join(found)


def test_blobs(damaged, chance):
    check(damaged, lambda root: list((root / "blobs/sha256").iterdir()), chance, is_always_found=True)


def test_names(damaged, chance):
    def choose(root: Path) -> list[Path]:
        return [root / "index.json"]

    check(damaged, choose, chance, (zero, cut), is_always_found=True)
    # Another letter in a name makes a name as good as any.
    check(damaged, choose, chance, (flip,))


def test_the_database(damaged, chance):
    check(damaged, lambda root: sorted(root.glob("pybuild.db*")), chance)


def test_trees(damaged, chance):
    """A build believes a tree, as it believes a disk: verify does not."""

    def packed(root: Path) -> list[Path]:
        with contextlib.closing(sqlite3.connect(root / "pybuild.db")) as connection:
            unpacked = {row[0] for row in connection.execute("select tree from steps where diff_id is null")}
        found = (path for tree in (root / "trees").iterdir() if tree.name not in unpacked for path in tree.rglob("*"))
        return [path for path in found if path.is_file() and not path.is_symlink()]

    check(damaged, packed, chance, is_always_found=True, with_builds=False)


def test_rows_of_the_database(damaged, chance):
    check(damaged, lambda root: [root / "pybuild.db"], chance, (garble,))
