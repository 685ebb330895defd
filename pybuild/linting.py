"""Linting files: which one is meant, what is known beside it, and putting a mended one in its place.

No registry is asked: of images that are not in the store, nothing is known.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pybuild.arguments import pairs
from pybuild.builder.contexts.context import Context
from pybuild.builder.contexts.ignore import Ignore
from pybuild.builder.errors import ContextError
from pybuild.builder.lint import Finding, Known, Report, Settings, base_key, settings_of
from pybuild.builder.lint import lint as lint_dockerfile
from pybuild.builder.lint.mending import mend, text_of
from pybuild.builder.workspace import place_of
from pybuild.grammar import Source, parse
from pybuild.registry import ImageConfig, Platform, Reference, Store
from pybuild.registry.errors import RegistryError

STANDARD_INPUT = "-"
_NOTHING_ELSE = Settings()


@dataclass(frozen=True, slots=True)
class Request:
    """What to lint: `path` is a Dockerfile or a folder that has one, `-` is standard input; `context` is the folder whose
    ignore file counts, when it is not the Dockerfile's own."""

    path: str
    context: str | None = None
    platform: Platform | None = None
    build_args: tuple[tuple[str, str], ...] = ()
    target: str | None = None
    extra: Settings = _NOTHING_ELSE
    root: str | None = None


@dataclass(frozen=True, slots=True)
class Linted:
    """A file with its report. `mended` is the file as it would be with all edits made, and `count` how many findings that
    mends; `report` is about the file as it is."""

    source: Source
    report: Report
    content: bytes
    mended: bytes
    count: int

    @property
    def is_changed(self) -> bool:
        """Whether there is anything to mend."""
        return self.mended != self.content


def lint(
    path: str | os.PathLike[str] = ".",
    *,
    context: str | os.PathLike[str] | None = None,
    build_args: Mapping[str, str] | None = None,
    target: str | None = None,
    platform: str | None = None,
    check: str = "",
    root: str | os.PathLike[str] | None = None,
) -> tuple[Finding, ...]:
    """What the linter finds in a Dockerfile, or in that of a folder, in the order of the places.

    `context` is the folder whose ignore file counts, when it is not the Dockerfile's own. `check` adds to what the file's
    directive says: `skip=A,B;experimental=C`. Raises BuildError and DockerfileError, and ValueError for a `check` that
    means nothing.
    """
    from pybuild.registry.platform import Platform

    request = Request(
        os.fspath(path),
        context=os.fspath(context) if context is not None else None,
        platform=Platform.parse(platform) if platform else None,
        build_args=pairs("build_args", build_args),
        target=target,
        extra=Settings.parse(check),
        root=place_of(root, os.environ),
    )
    return lint_file(request).report.findings


def lint_file(request: Request) -> Linted:
    """Lint one file. Raises ContextError, PlanError and DockerfileError."""
    name, path, content = _read(request.path)
    ignore = _ignore(request, path)
    bases = StoredConfigs(request.root)

    def report(text: str) -> Report:
        source = Source(name, text)
        dockerfile = parse(source)
        known = Known(request.platform or Platform.here(), request.build_args, request.target, bases, ignore)
        return lint_dockerfile(dockerfile, known, settings_of(dockerfile, known).merged(request.extra))

    def find(text: str) -> tuple[Finding, ...]:
        return report(text).findings

    text = text_of(content)
    found = report(text)
    mended = mend(content, find)
    return Linted(Source(name, text), found, content, mended.content, mended.count)


def write(linted: Linted, path: str) -> None:
    """Put the mended file in the place of the one that was read, at once or not at all. Raises ContextError."""
    target = os.path.realpath(_dockerfile(path))
    try:
        status = os.stat(target)
        handle, temporary = tempfile.mkstemp(prefix=".Dockerfile.", dir=os.path.dirname(target))
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(linted.mended)
            os.chmod(temporary, status.st_mode & 0o7777)
            if os.geteuid() == 0:
                os.chown(temporary, status.st_uid, status.st_gid)
            os.replace(temporary, target)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise ContextError(f"cannot write {target}: {error.strerror}") from error


def _dockerfile(path: str) -> str:
    return os.path.join(path, "Dockerfile") if os.path.isdir(path) else path


def _read(path: str) -> tuple[str, str | None, bytes]:
    if path == STANDARD_INPUT:
        return "-", None, sys.stdin.buffer.read()
    place = _dockerfile(path)
    try:
        with open(place, "rb") as file:
            return os.path.normpath(place), place, file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise ContextError(f"no Dockerfile: {place}", hint="name a Dockerfile, or a folder that has one") from None
    except OSError as error:
        raise ContextError(f"cannot read {place}: {error.strerror}") from error


def _ignore(request: Request, path: str | None) -> Ignore | None:
    folder = request.context or (os.path.dirname(path) or "." if path is not None else None)
    if folder is None:
        return None
    own = (f"{os.path.abspath(path)}.dockerignore",) if path is not None else ()
    return Context.open(folder, (*own, ".dockerignore")).ignore


class StoredConfigs(Mapping[str, ImageConfig]):
    """The configs of images by name and platform (`base_key`), read from a store as they are asked for; none where there is no
    store. What a registry has for another platform than the store's image nobody knows."""

    def __init__(self, root: str | None) -> None:
        self._store = Store.open(root) if root is not None and os.path.exists(f"{root}/oci-layout") else None
        self._found: dict[str, ImageConfig | None] = {}

    def __getitem__(self, name: str) -> ImageConfig:
        if name not in self._found:
            self._found[name] = self._read(name)
        config = self._found[name]
        if config is None:
            raise KeyError(name)
        return config

    def __iter__(self) -> Iterator[str]:
        return (name for name, config in self._found.items() if config is not None)

    def __len__(self) -> int:
        return len(list(iter(self)))

    def _read(self, key: str) -> ImageConfig | None:
        name, _, platform = key.partition("::")
        try:
            found = self._store.tagged(Reference.parse(name)) if self._store is not None else None
            config = self._store.image(found).config if self._store is not None and found is not None else None
        except RegistryError:
            return None
        return config if config is not None and base_key(name, config.platform) == f"{name}::{platform}" else None
