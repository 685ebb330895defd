"""kill -9 at any moment, many at once, and a disk that fills up: the store stays sound, and the next build is right.

`make endure` does the same for longer: `PYBUILD_KILLS` is how many are killed, `PYBUILD_SECONDS` how long builds run beside a prune.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
import signal
import subprocess
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from checker import check_layout
from real.command import COMMAND, IMPORT, PYTHON
from real.foreign import run

import pybuild as api
from pybuild.registry import Store

pytestmark = [pytest.mark.root, pytest.mark.slow]

KILLS = int(os.environ.get("PYBUILD_KILLS", "5"))
SECONDS = float(os.environ.get("PYBUILD_SECONDS", "4"))
DOCKERFILE = """\
FROM ubuntu AS made
COPY data /data
RUN sha256sum /data | cut -c1-64 > /sum; head -c 300000 /data > /part
RUN cat /part /part > /twice
FROM ubuntu
COPY --from=made /twice /sum /
COPY data /again
RUN cat /again | sha256sum | cut -c1-64 > /check; rm /again
"""


def command(root: Path, *arguments: object) -> list[str]:
    return [*COMMAND, "--root", str(root), *map(str, arguments)]


class Builds:
    """Builds of a context whose content is another one each time; the image says whether it was made of that."""

    def __init__(self, folder: Path, root: Path, ubuntu: Path, tag: str) -> None:
        self.folder, self.root, self.tag, self._ubuntu = folder, root, tag, ubuntu
        folder.mkdir()
        (folder / "Dockerfile").write_text(DOCKERFILE)
        self.digest = ""

    def change(self, chance: random.Random) -> None:
        content = chance.randbytes(chance.choice((400_000, 2_000_000)))
        (self.folder / "data").write_bytes(content)
        self.digest = hashlib.sha256(content).hexdigest()

    @property
    def command(self) -> list[str]:
        ubuntu = f"ubuntu=oci-layout://{self._ubuntu}"
        return command(self.root, "build", "-q", "-t", self.tag, "--build-context", ubuntu, self.folder)

    def build(self) -> None:
        done = subprocess.run(self.command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        self.check()

    def check(self) -> None:
        """The image has been made of what is in the context, all of it."""
        store = Store.open(self.root)
        found: dict[str, bytes] = {}
        for layer in store.find(self.tag).manifest.layers:
            with tarfile.open(store.path(layer.digest)) as archive:
                found |= {
                    item.name: archive.extractfile(item).read() for item in archive if item.name in ("sum", "check", "twice")
                }
        assert found["sum"].decode().strip() == found["check"].decode().strip() == self.digest
        assert found["twice"] == (self.folder / "data").read_bytes()[:300_000] * 2


@pytest.fixture
def builds(tmp_path, root, ubuntu):
    return Builds(tmp_path / "context", root, ubuntu, "app")


@pytest.fixture
def chance(request):
    seed = int(os.environ.get("PYBUILD_SEED", time.time_ns() % 10**6))
    print(f"PYBUILD_SEED={seed}")
    return random.Random(seed)


def kill(arguments: list[str], seconds: float) -> bool:
    """Start a command and kill it after that time; whether it was still at work."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True


def sound(root: Path) -> None:
    faults = api.verify(root=root)[0].faults
    assert not faults, faults


def took(arguments: list[str]) -> float:
    started = time.monotonic()
    subprocess.run(arguments, check=True, capture_output=True)
    return time.monotonic() - started


@pytest.mark.peers("umoci")
def test_builds_that_are_killed(builds, chance, root):
    builds.change(chance)
    seconds = took(builds.command)
    killed = 0
    for _ in range(KILLS):
        builds.change(chance)
        killed += kill(builds.command, chance.uniform(0, seconds))
        sound(root)
        builds.build()
    assert killed >= KILLS // 4
    sound(root)
    check_layout(root)
    assert not list((root / "tmp").iterdir())
    assert str(root) not in Path("/proc/self/mounts").read_text()


@pytest.mark.peers("umoci")
def test_prunes_that_are_killed(builds, chance, root):
    seconds = 0.0
    killed = 0
    for number in range(KILLS):
        builds.change(chance)
        builds.build()
        arguments = command(root, "prune", *(["--all"] if chance.random() < 0.5 else []))
        if not number:
            seconds = took(arguments)
            continue
        # Most of it is the start of Python.
        killed += kill(arguments, chance.uniform(seconds / 3, seconds))
        sound(root)
        builds.check()
        builds.build()
    assert killed >= KILLS // 5
    subprocess.run(command(root, "prune", "--all"), check=True, capture_output=True)
    sound(root)
    builds.check()


@pytest.mark.peers("docker-registry", "skopeo")
def test_pulls_that_are_killed(chance, root, registry, tmp_path):
    folder, source = tmp_path / "context", tmp_path / "source"
    folder.mkdir()
    for number in range(4):
        (folder / str(number)).write_bytes(chance.randbytes(3_000_000))
    (folder / "Dockerfile").write_text("FROM scratch\n" + "".join(f"COPY {number} /\n" for number in range(4)))
    api.build(folder, tags=["large"], root=source)
    name = registry.name(f"killed/large:{chance.randrange(10**9)}")
    run("skopeo", "copy", "--dest-tls-verify=false", f"oci:{source}:docker.io/library/large:latest", f"docker://{name}")
    pull = command(root, "pull", name)
    seconds = took(pull)
    killed = 0
    for _ in range(KILLS):
        subprocess.run(command(root, "rmi", name), check=False, capture_output=True)
        killed += kill(pull, chance.uniform(seconds / 3, seconds))
        sound(root)
        subprocess.run(pull, check=True, capture_output=True)
    assert killed >= KILLS // 5
    sound(root)
    check_layout(root)


@pytest.mark.peers("umoci")
def test_four_builds_and_a_prune_at_once(tmp_path, root, ubuntu, chance):
    end = time.monotonic() + SECONDS
    errors: list[BaseException] = []
    counts = {"builds": 0, "prunes": 0}

    def work(number: int, seed: int) -> None:
        own = random.Random(seed)
        # Two of them build the same things at the same time.
        mine = Builds(tmp_path / f"context{number}", root, ubuntu, f"app{number}")
        try:
            while time.monotonic() < end and not errors:
                mine.change(own)
                mine.build()
                counts["builds"] += 1
        except BaseException as error:
            errors.append(error)

    def prune() -> None:
        try:
            while time.monotonic() < end and not errors:
                subprocess.run(command(root, "prune", "--all"), check=True, capture_output=True)
                counts["prunes"] += 1
                time.sleep(0.2)
        except BaseException as error:
            errors.append(error)

    seeds = [chance.randrange(10**9) for _ in range(3)]
    threads = [threading.Thread(target=work, args=(number, seeds[number % 3])) for number in range(4)]
    threads.append(threading.Thread(target=prune))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors, errors
    assert counts["builds"] >= 4
    print(counts)
    sound(root)
    check_layout(root)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 24 MB."""
    place = tmp_path / "small"
    place.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(place))
    yield place
    run("umount", str(place))


@pytest.mark.peers("umoci")
def test_a_disk_that_fills_up(small_disk, tmp_path, ubuntu):
    root, folder = small_disk / "store", tmp_path / "context"
    folder.mkdir()
    (folder / "small").write_bytes(b"small")
    (folder / "large").write_bytes(random.Random(1).randbytes(30_000_000))
    base = ("--build-context", f"ubuntu=oci-layout://{ubuntu}")

    def build(dockerfile: str, *arguments: object) -> subprocess.CompletedProcess:
        (folder / "Dockerfile").write_text(dockerfile)
        return subprocess.run(command(root, "build", *base, *arguments, folder), capture_output=True, check=False, text=True)

    first = build("FROM ubuntu\nCOPY small /\nRUN cp /small /copy\n", "-t", "first")
    assert first.returncode == 0, first.stderr
    identity = Store.open(root).find("first").id
    copied = build("FROM ubuntu\nCOPY large /\n")
    ran = build("FROM ubuntu\nCOPY small /\nRUN head -c 30000000 /dev/urandom > /large\n")
    other = tmp_path / "other"
    api.build(folder_of(tmp_path, folder), tags=["large"], root=other)
    with open(tmp_path / "large.tar", "wb") as out:
        api.save(["large"], out, root=other)
    loaded = subprocess.run(command(root, "load", "-i", tmp_path / "large.tar"), capture_output=True, check=False, text=True)
    for done in (copied, ran, loaded):
        assert done.returncode == 1 and "Traceback" not in done.stderr and "mistake in pybuild" not in done.stderr, done.stderr
        assert "No space left on device" in done.stderr, done.stderr
    sound(root)
    assert Store.open(root).find("first").id == identity
    assert not list((root / "tmp").iterdir())
    again = build("FROM ubuntu\nCOPY small /\nRUN cp /small /copy\nRUN echo more > /more\n", "-t", "second")
    assert again.returncode == 0, again.stderr
    sound(root)


@pytest.mark.peers("umoci")
def test_nothing_outlives_a_build(small_disk, ubuntu):
    """No process, that somebody would have to reap, and nothing that keeps a disk busy."""
    (small_disk / "Dockerfile").write_text("FROM ubuntu\nRUN echo x > /x\n")
    arguments = ("build", "-q", "--build-context", f"ubuntu=oci-layout://{ubuntu}", ".")
    script = f"""{IMPORT}
import os, subprocess
from pybuild.builder.sandbox import kernel
kernel.adopt_orphans()
subprocess.run({command(small_disk / "store", *arguments)!r}, check=True)
try:
    print("left", os.waitpid(-1, os.WNOHANG))
except ChildProcessError:
    print("nothing left")
"""
    assert run(*PYTHON, f"import os; os.chdir({str(small_disk)!r})\n{script}").endswith("\nnothing left\n")
    run("umount", small_disk)
    run("mount", "-t", "tmpfs", "tmpfs", small_disk)


def folder_of(tmp_path: Path, folder: Path) -> Path:
    place = tmp_path / "plain"
    place.mkdir()
    (place / "Dockerfile").write_text("FROM scratch\nCOPY large /\n")
    os.link(folder / "large", place / "large")
    return place


LEFT = (32_768, 9_000_000)
if "PYBUILD_KILLS" in os.environ:
    LEFT = (0, 4096, 32_768, 150_000, 600_000, 1_500_000, 3_000_000, 9_000_000)
FULL = ("No space left on device", "the disk is full", "database or disk is full")


@contextlib.contextmanager
def crowded(disk: Path, left: int) -> Iterator[None]:
    """No more than that many bytes are free meanwhile."""
    ballast = disk / "ballast"
    status = os.statvfs(disk)
    ballast.write_bytes(bytes(max(0, status.f_bavail * status.f_frsize - left)))
    yield
    ballast.unlink()


@pytest.mark.peers("umoci", "docker-registry", "skopeo")
@pytest.mark.parametrize("name", ["build", "stages", "pull", "push", "prune", "load", "tag", "save"])
def test_a_disk_with_little_room(name, small_disk, tmp_path, ubuntu, registry, chance):
    """Whatever is done, with however little room: it is done, or said why not; nothing is lost, and it can be done with more room."""
    root, folder = small_disk / "store", tmp_path / "context"
    folder.mkdir()
    (folder / "data").write_bytes(chance.randbytes(700_000))
    (folder / "Dockerfile").write_text("FROM ubuntu\nCOPY data /data\nRUN cat /data /data > /twice\n")
    base = ("--build-context", f"ubuntu=oci-layout://{ubuntu}")
    there = registry.name(f"crowded/{name}:{chance.randrange(10**9)}")
    subprocess.run(command(root, "build", "-t", "first", *base, folder), check=True, capture_output=True)
    identity = Store.open(root).find("first").id
    (folder / "data").write_bytes(chance.randbytes(700_000))
    stages = tmp_path / "stages"
    stages.write_text(
        "FROM ubuntu AS made\nCOPY data /data\nRUN cat /data /data > /twice\nFROM scratch\nCOPY --from=made /twice /\n"
    )
    other = tmp_path / "other"
    subprocess.run(command(other, "build", "-t", there, *base, folder), check=True, capture_output=True)
    subprocess.run(command(other, "push", there), check=True, capture_output=True)
    subprocess.run(command(other, "save", "-o", tmp_path / "saved.tar", there), check=True, capture_output=True)
    arguments = {
        "build": ("build", "-t", "second", *base, folder),
        "stages": ("build", "-t", "second", *base, "-f", stages, folder),
        "pull": ("pull", there),
        "push": ("push", there),
        "prune": ("prune", "--all"),
        "load": ("load", "-i", tmp_path / "saved.tar"),
        "tag": ("tag", "first", "another"),
        "save": ("save", "-o", small_disk / "saved.tar", "first"),
    }[name]
    subprocess.run(command(root, "tag", "first", there), check=True)
    results, faults = set(), []
    for left in LEFT:
        with crowded(small_disk, left):
            done = subprocess.run(command(root, *arguments), capture_output=True, check=False, text=True)
        if done.returncode:
            is_clean = done.returncode == 1 and "Traceback" not in done.stderr and "mistake in pybuild" not in done.stderr
            if not (is_clean and any(words in done.stderr for words in FULL) and "hint: " in done.stderr):
                faults.append((left, done.returncode, done.stderr))
        results.add(done.returncode)
        sound(root)
        assert Store.open(root).find("first").id == identity
        assert not (small_disk / "saved.tar").exists() or not done.returncode
        again = subprocess.run(command(root, *arguments), capture_output=True, check=False, text=True)
        assert again.returncode == 0, (left, again.stderr)
        sound(root)
        for words in (("rmi", "second"), ("rmi", "another"), *([("rmi", there)] if name in ("pull", "load") else []), ("prune",)):
            subprocess.run(command(root, *words), check=False, capture_output=True)
        (small_disk / "saved.tar").unlink(missing_ok=True)
        if name in ("build", "stages"):
            (folder / "data").write_bytes(chance.randbytes(700_000))
    assert not faults, faults
    assert 0 in results
    assert name != "prune" or results == {0}, "who makes room needs none"
    check_layout(root)
