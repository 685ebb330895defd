"""From a Dockerfile on disk to the IR, remembering what was parsed and planned before: a warm build parses nothing.

What is remembered is a pickle in the user's own store, and it is read only where nobody else can write.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping

from pybuild.builder.contexts.ignore import Ignore
from pybuild.builder.errors import ContextError
from pybuild.builder.graph import BuildGraph
from pybuild.builder.planning.remarks import Remarks, remarks
from pybuild.builder.planning.wanted import Options, Wanted
from pybuild.builder.request import BuildRequest
from pybuild.builder.workspace import Workspace
from pybuild.grammar import Source
from pybuild.hints import TYPE_CHECKING, TypeVar
from pybuild.lean import dumps, loads, sha256
from pybuild.registry import Image, Platform
from pybuild.values import frozen, replace

if TYPE_CHECKING:
    from pybuild.builder.planning.epochs import Dated
    from pybuild.builder.planning.plan import Base
    from pybuild.grammar.instructions import Dockerfile

_FORMAT = 9
_EPOCH = "SOURCE_DATE_EPOCH"
_T = TypeVar("_T")


@frozen
class Plan:
    """The IR, the images that it stands on by their digests, and the text it comes from."""

    graph: BuildGraph
    images: Mapping[str, Image]
    source: Source
    remarks: Remarks


def read_dockerfile(request: BuildRequest) -> tuple[Source, tuple[str, ...]]:
    """The Dockerfile, and the names of the ignore files that go with it, the first choice first. Raises ContextError."""
    if request.inline is not None:
        return _decoded(request.inline.name, request.inline.content), request.inline.ignore_names
    path = request.dockerfile or os.path.join(request.context, "Dockerfile")
    try:
        with open(_in_any_case(path), "rb") as file:
            content = file.read()
    except (FileNotFoundError, NotADirectoryError):
        raise ContextError(f"no Dockerfile: {path}", hint=_where_else(request, path)) from None
    except OSError as error:
        hint = "name it with -f FILE" if os.path.isdir(path) else None
        raise ContextError(f"cannot read {path}: {error.strerror}", hint=hint) from error
    shown = os.path.relpath(path) if not os.path.isabs(path) else path
    return _decoded(shown, content), (f"{os.path.abspath(path)}.dockerignore", ".dockerignore")


def _where_else(request: BuildRequest, path: str) -> str:
    """What to do about a Dockerfile that is not there."""
    from difflib import get_close_matches

    if request.dockerfile is not None and os.path.isfile(inside := os.path.join(request.context, request.dockerfile)):
        return f"-f is a path from where you are, not from the context: write -f {inside}"
    folder, name = os.path.split(path)
    files: list[str] = []
    with contextlib.suppress(OSError), os.scandir(folder or ".") as entries:
        files = sorted(entry.name for entry in entries if entry.is_file() and not entry.name.endswith(".dockerignore"))
    close = get_close_matches(name, files, 1)
    if request.dockerfile is None:
        close = [file for file in files if file.lower().startswith(("dockerfile", "containerfile"))] or close
    if close:
        return f"there is {close[0]}: write -f {os.path.join(folder, close[0])}"
    return "name it with -f FILE" if request.dockerfile is None else "-f is a path from where you are, not from the context"


def _decoded(name: str, content: bytes) -> Source:
    text = content.decode("utf-8", "surrogateescape").removeprefix("\ufeff").replace("\r\n", "\n")
    return Source(name, text)


def _in_any_case(path: str) -> str:
    """The path, or `dockerfile` where there is that alone."""
    folder, name = os.path.split(path)
    other = os.path.join(folder, "dockerfile")
    return other if name == "Dockerfile" and not os.path.lexists(path) and os.path.isfile(other) else path


def make_plan(
    source: Source,
    request: BuildRequest,
    workspace: Workspace,
    *,
    platform: Platform,
    folders: tuple[str, ...],
    ignore: Ignore,
    resolve: Callable[[tuple[Wanted, ...]], Mapping[Wanted, Image]],
    date: Callable[[Dated], int | None],
    on_new: Callable[[], None] = lambda: None,
) -> Plan:
    """The plan of a build. `resolve` fetches the images that are needed; `date` knows when something from elsewhere is from.

    `on_new` is called when the Dockerfile has to be read, before it is: not all about it is remembered.
    Raises DockerfileError, PlanError, RemoteError, RegistryError.
    """
    memory = _Memory(workspace)
    options = options_of(request, platform, folders)
    asked = (_FORMAT, source.name, source.text, options)
    planner = _Planner(source, options, on_new)
    if _EPOCH in source.text or any(name == _EPOCH for name, _ in request.build_args):
        found = memory.get("dated", asked)
        if not isinstance(found, tuple):
            found = memory.put("dated", asked, (planner.dated(),))
        if found[0] is not None:
            moment = date(found[0])
            options = replace(options, epoch="" if moment is None else str(moment))
            asked = (_FORMAT, source.name, source.text, options)
            planner = _Planner(source, options, on_new)
    images: dict[Wanted, Image] = {}
    while True:
        known = tuple((wanted, image.manifest.descriptor.digest) for wanted, image in images.items())
        needed = memory.get("images", (asked, known))
        if not isinstance(needed, tuple):
            needed = memory.put("images", (asked, known), planner.needed(images))
        # Triggers of a base may read images that the Dockerfile does not name.
        missing = tuple(wanted for wanted in needed if wanted not in images)
        if not missing:
            break
        images |= resolve(missing)
    graph = memory.get("graph", (asked, known))
    if not isinstance(graph, BuildGraph):
        graph = memory.put("graph", (asked, known), planner.planned(images))
    said = memory.get("remarks", (asked, known, ignore.patterns))
    if not isinstance(said, Remarks):
        made = remarks(
            source,
            platform=platform,
            build_args=request.build_args,
            target=request.target,
            folders=folders,
            bases={wanted: image.config for wanted, image in images.items()},
            ignore=ignore,
        )
        said = memory.put("remarks", (asked, known, ignore.patterns), made)
    return Plan(graph, {str(image.manifest.descriptor.digest): image for image in images.values()}, source, said)


def options_of(request: BuildRequest, platform: Platform, folders: tuple[str, ...]) -> Options:
    """What a request says that the planner goes by."""
    empty = tuple(name for name, place in request.contexts if place == "docker-image://scratch")
    return Options(
        platform,
        build_args=request.build_args,
        target=request.target,
        folders=folders,
        labels=request.labels,
        network=request.network,
        images=tuple(name for name, _ in request.contexts if name not in folders and name not in empty),
        empty=empty,
        is_platform_asked=request.platform is not None,
        build_platform=Platform.here(),
    )


class _Planner:
    """The pure calls, with what only they import; the Dockerfile is parsed once, and not at all if all is known."""

    def __init__(self, source: Source, options: Options, on_new: Callable[[], None]) -> None:
        self._source = source
        self._options = options
        self._on_new = on_new
        self._dockerfile: Dockerfile | None = None

    def needed(self, images: Mapping[Wanted, Image]) -> tuple[Wanted, ...]:
        """The images that the target needs, as far as those at hand tell."""
        dockerfile = self._parsed()
        from pybuild.builder.planning.plan import needed_images

        return needed_images(dockerfile, self._options, self._bases(images))

    def dated(self) -> Dated | None:
        """What SOURCE_DATE_EPOCH names, if that is no number."""
        from pybuild.builder.planning.arguments import file_scope
        from pybuild.builder.planning.epochs import dated
        from pybuild.builder.planning.problems import Problems

        dockerfile = self._parsed()
        # What else is wrong with the arguments is told by the plan.
        return dated(dockerfile, file_scope(dockerfile, self._options, self._options.target or "", Problems()))

    def planned(self, images: Mapping[Wanted, Image]) -> BuildGraph:
        """The IR."""
        from pybuild.builder.planning.plan import plan

        return plan(self._parsed(), self._options, self._bases(images))

    def _parsed(self) -> Dockerfile:
        if self._dockerfile is None:
            self._on_new()
            from pybuild.grammar import parse

            self._dockerfile = parse(self._source)
        return self._dockerfile

    @staticmethod
    def _bases(images: Mapping[Wanted, Image]) -> dict[Wanted, Base]:
        from pybuild.builder.planning.plan import Base

        return {wanted: Base(image.manifest.descriptor.digest, image.config) for wanted, image in images.items()}


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
            return loads(content)
        except Exception:
            # Written by another version of pybuild, or damaged: it is made again.
            return None

    def put(self, kind: str, asked: object, value: _T) -> _T:
        if self._is_trusted:
            self._database.add_memo(kind, _key(asked), dumps(value))
        return value


def _key(asked: object) -> str:
    return sha256(repr(asked).encode(errors="surrogateescape")).hexdigest()
