"""From a Dockerfile on disk to the IR, remembering what was parsed and planned before: a warm build parses nothing.

What is remembered is a pickle in the user's own store, and it is read only where nobody else can write.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeVar

from pybuild.builder.errors import ContextError
from pybuild.builder.graph import BuildGraph
from pybuild.builder.ignore import Ignore
from pybuild.builder.remarks import Remarks, remarks
from pybuild.builder.request import BuildRequest
from pybuild.builder.workspace import Workspace
from pybuild.grammar import Source
from pybuild.registry import Image, Platform
from pybuild.registry.values import frozen

if TYPE_CHECKING:
    from pybuild.builder.scope import Options

_FORMAT = 5
_T = TypeVar("_T")


@frozen
class Plan:
    """The IR, the images that it stands on by their names in the Dockerfile, and the text it comes from."""

    graph: BuildGraph
    images: Mapping[str, Image]
    source: Source
    remarks: Remarks


def read_dockerfile(request: BuildRequest) -> tuple[Source, tuple[str, ...]]:
    """The Dockerfile, and the names of the ignore files that go with it, the first choice first. Raises ContextError."""
    path = request.dockerfile or os.path.join(request.context, "Dockerfile")
    try:
        with open(path, "rb") as file:
            content = file.read()
    except (FileNotFoundError, NotADirectoryError):
        hint = "name it with -f FILE" if request.dockerfile is None else "-f is a path from where you are, not from the context"
        raise ContextError(f"no Dockerfile: {path}", hint=hint) from None
    except OSError as error:
        raise ContextError(f"cannot read {path}: {error.strerror}") from error
    shown = os.path.relpath(path) if not os.path.isabs(path) else path
    return Source.of(shown, content), (f"{os.path.abspath(path)}.dockerignore", ".dockerignore")


def make_plan(
    source: Source,
    request: BuildRequest,
    workspace: Workspace,
    *,
    platform: Platform,
    folders: tuple[str, ...],
    ignore: Ignore,
    resolve: Callable[[tuple[str, ...]], dict[str, Image]],
) -> Plan:
    """The plan of a build. `resolve` fetches the images that are needed. Raises DockerfileError, PlanError, RegistryError."""
    memory = _Memory(workspace)
    asked = (
        _FORMAT,
        source.name,
        source.text,
        str(platform),
        request.build_args,
        request.target,
        folders,
        request.labels,
        request.network,
    )
    names = memory.get("images", asked)
    if not isinstance(names, tuple):
        names = memory.put("images", asked, _needed(source, request, platform, folders))
    images = resolve(names)
    bases = tuple((name, image.manifest.descriptor.digest) for name, image in images.items())
    graph = memory.get("graph", (asked, bases))
    if not isinstance(graph, BuildGraph):
        graph = memory.put("graph", (asked, bases), _planned(source, request, platform, folders, images))
    said = memory.get("remarks", (asked, bases, ignore.patterns))
    if not isinstance(said, Remarks):
        made = remarks(
            source,
            platform=platform,
            build_args=request.build_args,
            target=request.target,
            folders=folders,
            bases={name: image.config for name, image in images.items()},
            ignore=ignore,
        )
        said = memory.put("remarks", (asked, bases, ignore.patterns), made)
    return Plan(graph, images, source, said)


def _needed(source: Source, request: BuildRequest, platform: Platform, folders: tuple[str, ...]) -> tuple[str, ...]:
    from pybuild.builder.plan import needed_images
    from pybuild.grammar import parse

    return needed_images(parse(source), _options(request, platform, folders))


def _planned(
    source: Source, request: BuildRequest, platform: Platform, folders: tuple[str, ...], images: Mapping[str, Image]
) -> BuildGraph:
    from pybuild.builder.plan import Base, plan
    from pybuild.grammar import parse

    bases = {name: Base(image.manifest.descriptor.digest, image.config) for name, image in images.items()}
    return plan(parse(source), _options(request, platform, folders), bases)


def _options(request: BuildRequest, platform: Platform, folders: tuple[str, ...]) -> Options:
    from pybuild.builder.scope import Options

    return Options(
        platform,
        build_args=request.build_args,
        target=request.target,
        folders=folders,
        labels=request.labels,
        network=request.network,
    )


class _Memory:
    """Results of pure computations, by all that went into them."""

    def __init__(self, workspace: Workspace) -> None:
        self._database = workspace.database
        status = os.stat(workspace.store.root)
        self._is_trusted = status.st_uid == os.geteuid() and not status.st_mode & 0o022

    def get(self, kind: str, asked: object) -> object:
        content = self._database.memo(kind, _key(asked)) if self._is_trusted else None
        if content is None:
            return None
        try:
            return pickle.loads(content)
        except Exception:
            # Written by another version of pybuild, or damaged: it is made again.
            return None

    def put(self, kind: str, asked: object, value: _T) -> _T:
        if self._is_trusted:
            self._database.add_memo(kind, _key(asked), pickle.dumps(value))
        return value


def _key(asked: object) -> str:
    return hashlib.sha256(repr(asked).encode(errors="surrogateescape")).hexdigest()
