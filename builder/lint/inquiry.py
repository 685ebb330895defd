"""What a build would say, without doing it: its plan, the linter's findings and the plan's errors, the outline of a target, the
targets.

A check and a plan fetch the configs of base images and nothing else of them; the others ask no registry.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from pybuild.builder.contexts import bases
from pybuild.builder.contexts.context import Context, check_folder, is_at_hand, localised
from pybuild.builder.errors import BuildError
from pybuild.builder.graph import BuildGraph
from pybuild.builder.lint import Finding, Known, Report, base_key, images_of, lint, settings_of
from pybuild.builder.lint.mending import mend
from pybuild.builder.lint.outline import Outline, Target, outline, targets
from pybuild.builder.lint.walk import view
from pybuild.builder.planning.memory import options_of, read_dockerfile
from pybuild.builder.planning.outline import target_index
from pybuild.builder.planning.plan import Base, needed_images, plan
from pybuild.builder.planning.wanted import Options, Wanted
from pybuild.builder.request import BuildRequest
from pybuild.builder.workspace import Workspace
from pybuild.grammar import DockerfileError, Source, parse
from pybuild.grammar.instructions import Dockerfile
from pybuild.registry import Digest, ImageConfig, Platform, RegistryError, Store
from pybuild.values import frozen

Error = BuildError | DockerfileError | RegistryError


@frozen
class Checked:
    """What a check found in `source`; `error` is what a build of it would end with before it runs anything. `can_mend` is how
    many findings `pybuild lint --fix` would mend."""

    source: Source
    report: Report
    can_mend: int
    error: Error | None


def check(request: BuildRequest, store: Store) -> Checked:
    """Lint all stages, or those that the target needs, and plan the target. Raises ContextError and DockerfileError."""
    platform = request.platform or Platform.here()
    source, dockerfile, known = _known(request, platform)
    seen: dict[Wanted, tuple[Digest, ImageConfig]] = {}

    def look_up(image: Wanted) -> tuple[Digest, ImageConfig]:
        if image not in seen:
            seen[image] = bases.look_up(image, request, store)
        return seen[image]

    configs: dict[str, ImageConfig] = {}
    error: Error | None = None
    for name, wanted in images_of(dockerfile, known):
        try:
            _, configs[base_key(name, wanted)] = look_up(bases.wanted(name, request, wanted))
        except (BuildError, RegistryError) as wrong:
            # What is found without it is worth telling too.
            error = error or wrong
    known = _with(known, configs)
    settings = settings_of(dockerfile, known)

    def find(text: str) -> tuple[Finding, ...]:
        return lint(parse(Source(source.name, text)), known, settings).findings

    report = lint(dockerfile, known, settings)
    mended = mend(source.text.encode("utf-8", "surrogateescape"), find)
    options = options_of(request, platform, known.folders)
    try:
        _planned(dockerfile, options, look_up)
    except (BuildError, DockerfileError, RegistryError) as wrong:
        error = wrong
    return Checked(source, report, mended.count, error)


@contextmanager
def at_hand(request: BuildRequest, root: str) -> Iterator[BuildRequest]:
    """The request with folders for contexts. Raises ContextError, RemoteError, LayerError, StoreError."""
    if is_at_hand(request):
        yield request
        return
    with Workspace.open(root) as workspace, localised(request, workspace) as here:
        yield here


def planned(request: BuildRequest, store: Store) -> tuple[BuildGraph, Source]:
    """The plan of a build; of the images no more than their configs is fetched. Raises what a build's planning does."""
    platform = request.platform or Platform.here()
    bases.check(request.contexts)
    source, dockerfile, known = _known(request, platform)
    options = options_of(request, platform, known.folders)
    return _planned(dockerfile, options, lambda image: bases.look_up(image, request, store)), source


def _planned(dockerfile: Dockerfile, options: Options, look_up: Callable[[Wanted], tuple[Digest, ImageConfig]]) -> BuildGraph:
    images: dict[Wanted, Base] = {}
    while missing := [image for image in needed_images(dockerfile, options, images) if image not in images]:
        images |= {image: Base(*look_up(image)) for image in missing}
    return plan(dockerfile, options, images)


def outlined(request: BuildRequest, known_bases: Mapping[str, ImageConfig]) -> tuple[Outline, Source]:
    """What the target can be given. Raises BuildError and DockerfileError."""
    platform = request.platform or Platform.here()
    source, dockerfile, known = _known(request, platform)
    index = target_index(dockerfile, request.target)
    known = Known(platform, known.build_args, request.target, known_bases, None, known.folders, only_needed=True)
    return outline(view(dockerfile, known), index), source


def targeted(request: BuildRequest) -> tuple[tuple[Target, ...], Source]:
    """The targets of a file. Raises BuildError and DockerfileError."""
    source, _ = read_dockerfile(request)
    return targets(parse(source)), source


def _known(request: BuildRequest, platform: Platform) -> tuple[Source, Dockerfile, Known]:
    check_folder(request.context)
    source, ignore_names = read_dockerfile(request)
    folders = tuple(bases.folders(request.contexts))
    ignore = Context.open(request.context, ignore_names).ignore
    return source, parse(source), Known(platform, request.build_args, request.target, {}, ignore, folders)


def _with(known: Known, configs: Mapping[str, ImageConfig]) -> Known:
    return Known(known.platform, known.build_args, known.target, configs, known.ignore, known.folders)
