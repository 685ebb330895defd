"""The builders: how each is asked for a build, and for a storage that holds the base image and nothing else.

A builder that is not here is left out, and `available` says why; none is installed, and no daemon of the user's is asked.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmarks.measuring import CommandFailed, Measure, measure, run
from benchmarks.places import Places, remove

_START_SECONDS = 30
_NAME = "benchmark:latest"


class Builder(Protocol):
    """One builder. `fresh` comes before every cold build; `name` of a build is a full name when it is pushed."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    def fresh(self) -> None:
        """Empty the storage, and pull the base image into it."""

    def build(self, context: Path) -> Measure:
        """Build, and keep the image."""

    def push(self, context: Path, name: str) -> Measure:
        """Build and push to a registry without TLS."""


@dataclass(frozen=True, slots=True)
class Pybuild:
    """The pybuild beside this Python."""

    places: Places
    base: str
    name: str = "pybuild"

    @property
    def command(self) -> tuple[str, ...]:
        """How pybuild is started: as its users do, with the script that pip made."""
        script = Path(sys.executable).with_name("pybuild")
        return (str(script),) if script.exists() else (sys.executable, "-m", "pybuild")

    @property
    def version(self) -> str:
        return run([*self.command, "--version"], environment=self._environment, folder=self.places.root).strip()

    @property
    def _environment(self) -> dict[str, str]:
        return self.places.environment | {"PYBUILD_ROOT": str(self.places.root / "pybuild")}

    def fresh(self) -> None:
        remove(self.places.root / "pybuild")
        run([*self.command, "pull", self.base], environment=self._environment, folder=self.places.root)

    def make_base(self, context: Path) -> None:
        """Build the base image and push it, for all builders."""
        run([*self.command, "build", "-t", self.base, "--push", str(context)],
            environment=self._environment, folder=self.places.root)  # fmt: skip

    def build(self, context: Path) -> Measure:
        command = [*self.command, "build", "-t", _NAME, str(context)]
        return measure(command, environment=self._environment, folder=self.places.root)

    def push(self, context: Path, name: str) -> Measure:
        command = [*self.command, "build", "-t", name, "--push", str(context)]
        return measure(command, environment=self._environment, folder=self.places.root)


@dataclass(frozen=True, slots=True)
class Buildah:
    """buildah, in a storage of the benchmark's own; `driver` is overlay or vfs."""

    places: Places
    base: str
    driver: str
    name: str = "buildah"

    @property
    def version(self) -> str:
        said = run(["buildah", "--version"], environment=self.places.environment, folder=self.places.root)
        return f"{said.strip()}, {self.driver}"

    @property
    def _command(self) -> tuple[str, ...]:
        return _buildah(self.places, self.driver)

    def fresh(self) -> None:
        remove(self.places.root / "buildah")
        self.places.forget_pushes()
        command = [*self._command, "pull", "--tls-verify=false", self.base]
        run(command, environment=self.places.environment, folder=self.places.root)

    def build(self, context: Path) -> Measure:
        return measure(self._bud(context, _NAME), environment=self.places.environment, folder=self.places.root)

    def push(self, context: Path, name: str) -> Measure:
        push = [*self._command, "push", "--tls-verify=false", name]
        return measure(self._bud(context, name), push, environment=self.places.environment, folder=self.places.root)

    def _bud(self, context: Path, name: str) -> list[str]:
        options = ("--isolation", "chroot", "--layers", "--tls-verify=false")
        return [*self._command, "bud", *options, "-t", name, str(context)]


@dataclass(frozen=True, slots=True)
class BuildKit:
    """BuildKit, its daemon running already; memory is the daemon's, since it started."""

    places: Places
    base: str
    address: str
    daemon: int
    name: str = "buildkit"

    @property
    def version(self) -> str:
        return self._run("--version").strip()

    def fresh(self) -> None:
        self._run("prune", "--all")
        context = self.places.root / "seed"
        context.mkdir(exist_ok=True)
        # Without RUN or COPY behind it, a base is resolved but not pulled.
        (context / "Dockerfile").write_text(f"FROM {self.base}\nCOPY Dockerfile /\n")
        self._run(*self._arguments(context, f"type=image,name={_NAME}"))

    def build(self, context: Path) -> Measure:
        return self._measure(context, f"type=image,name={_NAME}")

    def push(self, context: Path, name: str) -> Measure:
        return self._measure(context, f"type=image,name={name},push=true,registry.insecure=true")

    def _measure(self, context: Path, output: str) -> Measure:
        command = ["buildctl", "--addr", self.address, *self._arguments(context, output)]
        found = measure(command, environment=self.places.environment, folder=self.places.root)
        return Measure(found.seconds, found.processor_seconds, max(found.memory, _peak(self.daemon)))

    def _run(self, *arguments: str) -> str:
        command = ["buildctl", "--addr", self.address, *arguments]
        return run(command, environment=self.places.environment, folder=self.places.root)

    @staticmethod
    def _arguments(context: Path, output: str) -> tuple[str, ...]:
        local = ("--local", f"context={context}", "--local", f"dockerfile={context}")
        return ("build", "--progress", "plain", "--frontend", "dockerfile.v0", *local, "--output", output)


@contextlib.contextmanager
def available(places: Places, base: str) -> Iterator[tuple[tuple[Builder, ...], tuple[str, ...]]]:
    """The builders that are here, pybuild first, and why others are left out."""
    found: list[Builder] = [Pybuild(places, base)]
    missing: list[str] = []
    if shutil.which("buildah") is None:
        missing.append("buildah is not installed")
    elif os.geteuid() != 0:
        missing.append("buildah is left out: it is measured as root")
    else:
        found.append(Buildah(places, base, _driver(places)))
    with contextlib.ExitStack() as stack:
        if shutil.which("buildctl") is None or shutil.which("buildkitd") is None:
            missing.append("BuildKit is left out: buildctl and buildkitd are not both on PATH")
        else:
            address, daemon = stack.enter_context(_buildkitd(places, base.partition("/")[0]))
            found.append(BuildKit(places, base, address, daemon))
        yield tuple(found), tuple(missing)


def _buildah(places: Places, driver: str) -> tuple[str, ...]:
    storage = places.root / "buildah"
    return ("buildah", "--root", f"{storage}/root", "--runroot", f"{storage}/run", "--storage-driver", driver)


def _driver(places: Places) -> str:
    try:
        run([*_buildah(places, "overlay"), "info"], environment=places.environment, folder=places.root)
    except CommandFailed:
        return "vfs"
    finally:
        remove(places.root / "buildah")
    return "overlay"


@contextlib.contextmanager
def _buildkitd(places: Places, registry: str) -> Iterator[tuple[str, int]]:
    folder = places.root / "buildkit"
    folder.mkdir()
    (folder / "buildkitd.toml").write_text(f'[registry."{registry}"]\nhttp = true\n')
    address = f"unix://{folder}/socket"
    command = ["buildkitd", "--config", f"{folder}/buildkitd.toml", "--root", f"{folder}/root", "--addr", address]
    with open(folder / "log", "wb") as log:
        daemon = subprocess.Popen(command, env=places.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        end = time.monotonic() + _START_SECONDS
        while subprocess.run(["buildctl", "--addr", address, "debug", "workers"], capture_output=True, check=False).returncode:
            if daemon.poll() is not None or time.monotonic() > end:
                raise CommandFailed(f"buildkitd does not answer:\n{(folder / 'log').read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        yield address, daemon.pid
    finally:
        daemon.terminate()
        daemon.wait()


def _peak(process: int) -> int:
    """The largest resident set that a running process had, in bytes."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
