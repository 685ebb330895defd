"""The one temporary folder of a benchmark, the mount namespace around it, and what removes both.

Nothing is written elsewhere: /var/lib/containers, where buildah as root remembers its pushes whatever `--root` says, is a folder
of the temporary one in that namespace. A mount that a builder left in the folder is taken away before the folder is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_CONTAINERS = Path("/var/lib/containers")
_INSIDE = "PYBUILD_BENCHMARKS_NAMESPACE"
# A user's settings would change what is measured, and without byte code each start of Python compiles everything anew.
_UNSET = ("PYTHONDONTWRITEBYTECODE", "SOURCE_DATE_EPOCH", "DOCKER_CONFIG", "REGISTRY_AUTH_FILE",
          "STORAGE_DRIVER", "STORAGE_OPTS", "BUILDAH_LAYERS", "BUILDKIT_HOST")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Places:
    """Where a benchmark lies, and the environment of what it starts."""

    root: Path
    environment: dict[str, str]

    def forget_pushes(self) -> None:
        """Empty what stands in for /var/lib/containers."""
        for item in (self.root / "containers").iterdir():
            remove(item)


def enter_namespace(arguments: list[str]) -> None:
    """Start this program again in a mount namespace of its own, unless it is in one or cannot have one."""
    if os.geteuid() == 0 and os.environ.get(_INSIDE) is None and shutil.which("unshare"):
        command = ["unshare", "--mount", "--propagation", "private", sys.executable, "-m", "benchmarks", *arguments]
        os.execvpe(command[0], command, os.environ | {_INSIDE: "1"})


@contextlib.contextmanager
def places() -> Iterator[Places]:
    """A temporary folder, removed at the end with all that is mounted in it."""
    root = Path(tempfile.mkdtemp(prefix="pybuild-benchmarks-"))
    try:
        for name in ("tmp", "containers", "home", "registry", "contexts"):
            (root / name).mkdir()
        environment = {name: value for name, value in os.environ.items() if name not in (*_UNSET, _INSIDE)}
        environment |= {"TMPDIR": f"{root}/tmp", "HOME": f"{root}/home"}
        with _containers(root / "containers"):
            yield Places(root, environment)
    finally:
        remove(root)


@contextlib.contextmanager
def _containers(folder: Path) -> Iterator[None]:
    if os.environ.get(_INSIDE) is None:
        yield
        return
    made = not _CONTAINERS.exists()
    _CONTAINERS.mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", str(folder), str(_CONTAINERS)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(_CONTAINERS)], check=True)
        if made:
            _CONTAINERS.rmdir()


def remove(folder: Path) -> None:
    """Remove a folder or a file that may not be there, and what is mounted in it."""
    for mount in reversed(_mounts()):
        if mount == folder or folder in mount.parents:
            subprocess.run(["umount", "--lazy", str(mount)], check=False)
    if folder.is_dir() and not folder.is_symlink():
        shutil.rmtree(folder)
    else:
        folder.unlink(missing_ok=True)


def _mounts() -> list[Path]:
    lines = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    return [Path(line.split()[4].replace("\\040", " ")) for line in lines]
