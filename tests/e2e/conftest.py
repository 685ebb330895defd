"""The command as a user starts it, and images to build upon."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from real.command import COMMAND
from real.ordinary_user import UID

from pybuild.builder.workspace import remove


@dataclass(frozen=True, slots=True)
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


Pybuild = Callable[..., Done]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The store of this test."""
    return tmp_path / "store"


@pytest.fixture
def pybuild(root: Path) -> Pybuild:
    """Run the command line in this test's store."""

    def run(*arguments: object, code: int | None = 0, stdin: bytes | None = None, cwd: Path | None = None) -> Done:
        done = subprocess.run(
            [*COMMAND, "--root", str(root), *map(str, arguments)],
            input=stdin,
            capture_output=True,
            check=False,
            cwd=cwd,
        )
        result = Done(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))
        assert code is None or result.code == code, f"{arguments}: {result}"
        assert "Traceback" not in result.err
        return result

    return run


@pytest.fixture
def context(tmp_path: Path) -> Callable[..., Path]:
    """Make a context of a Dockerfile and files."""

    def make(dockerfile: str, **files: str | bytes) -> Path:
        folder = tmp_path / "context"
        folder.mkdir(exist_ok=True)
        (folder / "Dockerfile").write_text(dockerfile)
        for name, content in files.items():
            path = folder / name.replace("__", "/").replace("_dot_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return folder

    return make


@pytest.fixture(scope="session")
def ubuntu(tmp_path_factory: pytest.TempPathFactory, busybox: Path) -> Path:
    """An OCI layout that a foreign tool made, of a file system with a shell: it stands in for `ubuntu`."""
    folder = tmp_path_factory.mktemp("ubuntu")
    rootfs, layout = folder / "rootfs", folder / "layout"
    (rootfs / "bin").mkdir(parents=True)
    shutil.copy(busybox, rootfs / "bin" / "busybox")
    for applet in subprocess.run([busybox, "--list"], capture_output=True, check=True, text=True).stdout.split():
        if applet != "busybox":
            (rootfs / "bin" / applet).symlink_to("busybox")
    (rootfs / "etc").mkdir()
    (rootfs / "etc" / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/false\nuser:x:1000:100::/home/user:/bin/sh\n"
    )
    (rootfs / "etc" / "group").write_text("root:x:0:\nusers:x:100:\nextra:x:200:user\n")
    (rootfs / "tmp").mkdir(mode=0o1777)
    (rootfs / "tmp").chmod(0o1777)
    image = f"{layout}:latest"
    for command in (
        ["umoci", "init", "--layout", str(layout)],
        ["umoci", "new", "--image", image],
        ["umoci", "insert", "--image", image, str(rootfs), "/"],
    ):
        subprocess.run(command, check=True, capture_output=True)
    return layout


@pytest.fixture
def home():
    """An ordinary user's home: a place that he may get to."""
    path = Path(tempfile.mkdtemp(prefix="pybuild-user"))
    os.chown(path, UID, UID)
    yield path
    remove(str(path))


@pytest.fixture
def short():
    """A folder with a short name, which sockets and podman want."""
    with tempfile.TemporaryDirectory(prefix="pb") as found:
        yield found


@pytest.fixture(scope="session")
def docker(tmp_path_factory: pytest.TempPathFactory):
    """The docker engine, running in a folder of its own; the command that talks to it."""
    folder = tmp_path_factory.mktemp("docker")
    # A socket's path has to be short.
    with tempfile.TemporaryDirectory(prefix="pb") as short:
        socket = f"unix://{short}/docker.sock"
        options = [
            "--data-root",
            folder / "data",
            "--exec-root",
            f"{short}/exec",
            "-H",
            socket,
            "--pidfile",
            f"{short}/pid",
            "--bridge",
            "none",
            "--iptables=false",
            "--storage-driver",
            "vfs",
        ]
        with open(folder / "log", "wb") as log:
            engine = subprocess.Popen(["dockerd", *map(str, options)], stdout=log, stderr=log)
        try:
            command = ("docker", "-H", socket)
            end = time.monotonic() + 60
            while subprocess.run([*command, "version"], capture_output=True, check=False).returncode:
                assert engine.poll() is None and time.monotonic() < end, (folder / "log").read_text()[-2000:]
                time.sleep(0.1)
            yield command
        finally:
            engine.terminate()
            engine.wait()
