"""A build from end to end: parse, plan, resolve, solve, publish. Everything that is not needed is not imported either."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

from pybuild.builder.contexts import bases
from pybuild.builder.contexts.context import Context, check_folder, choice_of, localised
from pybuild.builder.errors import BuildError, Interrupted, LintFailed
from pybuild.builder.events import Finished, Notice, Progress
from pybuild.builder.graph import CopyStep, GitStep, HttpStep, RunStep, SourceStep, Step
from pybuild.builder.planning.entitlements import check_entitlements
from pybuild.builder.planning.memory import Plan, make_plan, read_dockerfile
from pybuild.builder.planning.refusal import refuse
from pybuild.builder.publishing.assemble import image_config, image_layers
from pybuild.builder.records.cached import Result, cached_result, file_steps
from pybuild.builder.records.keys import history_keys, own_keys, step_keys
from pybuild.builder.records.recording import Recorder, recorded
from pybuild.builder.request import BuildRequest, BuildResult, Output
from pybuild.builder.steps.announcing import announce_cached, announcer
from pybuild.builder.workspace import Workspace
from pybuild.registry import Image, Manifest, Platform
from pybuild.registry.values import replace

if TYPE_CHECKING:
    pass

__all__ = ["BuildRequest", "BuildResult", "Output", "build"]


def build(request: BuildRequest, *, workspace: Workspace, progress: Progress) -> BuildResult:
    """Build an image into the workspace, tag it, and put it where else it was asked for.

    Raises BuildError, RegistryError and DockerfileError. Call it while the process has one thread, if there may be a RUN.
    """
    started = time.monotonic()
    workspace.clean()
    if workspace.database.was_damaged:
        progress.emit(Notice("pybuild.db was damaged, and is begun anew: what earlier builds did is forgotten"))
    try:
        with workspace.store.lock("build", exclusive=False), localised(request, workspace) as here:
            result = _build(here, workspace, progress, started)
    except KeyboardInterrupt:
        raise Interrupted("interrupted") from None
    workspace.clean()
    return result


def _build(request: BuildRequest, workspace: Workspace, progress: Progress, started: float) -> BuildResult:
    store = workspace.store
    if request.outputs or request.push:
        from pybuild.builder.publishing.export import check_outputs

        check_outputs(request)
    platform = request.platform or Platform.here()
    bases.check(request.contexts)
    folders = bases.folders(request.contexts)
    check_folder(request.context)
    source, ignore_names = read_dockerfile(request)
    for name, path in folders.items():
        check_folder(path, hint=f"it is what --build-context {name}={path} names")
    contexts = {"": Context.open(request.context, ignore_names)}
    for name, path in folders.items():
        ignores = () if name in request.plain_contexts else (".dockerignore",)
        contexts[name] = Context.open(path, ignores, called=f"the context {name}")
    plan = make_plan(
        source,
        request,
        workspace,
        platform=platform,
        folders=tuple(folders),
        ignore=contexts[""].ignore,
        resolve=lambda wanted: bases.resolve(wanted, request, store, listener=progress.emit),
    )
    if request.timestamp is None and plan.graph.epoch is not None:
        request = replace(request, timestamp=plan.graph.epoch)
    refuse(plan)
    check_entitlements(plan.graph, request.run.allow, plan.source)
    for warning in (*plan.graph.warnings, *plan.remarks.notices):
        progress.emit(Notice(warning))
    if plan.remarks.broken:
        hint = "mend it ('pybuild lint --fix' does what it can), or take error=true out of its check"
        raise LintFailed(f"{source.name} breaks rules that it wants to be kept: {', '.join(plan.remarks.broken)}", hint=hint)
    with contextlib.ExitStack() as stack:
        uploads = None
        if request.push or request.outputs:
            from pybuild.builder.publishing.uploading import uploading

            uploads = stack.enter_context(uploading(request, workspace, progress))
        recorder = stack.enter_context(recorded(plan, request, workspace, uploads or progress))
        if uploads is not None and (base := _base(plan)):
            uploads.expect(image_layers(plan.graph, {}, base))
        results = _solve(plan, contexts, request, workspace, recorder)
        image = _publish(plan, results, recorder.keys, request, workspace)
        if request.outputs or request.push:
            from pybuild.builder.publishing.export import export

            if uploads is not None:
                uploads.finish()
            if any(output.type not in ("registry", "image") for output in request.outputs):
                bases.complete((image,), request, workspace, listener=recorder.emit)
            export(image, request, workspace, recorder)
        digest = image.manifest.descriptor.digest
        names = tuple(tag.familiar for tag in request.tags)
        recorder.emit(Finished(str(image.id), str(digest), names, time.monotonic() - started))
    return BuildResult(image.id, digest, request.tags, recorder.number)


def _solve(
    plan: Plan, contexts: Mapping[str, Context], request: BuildRequest, workspace: Workspace, progress: Recorder
) -> Mapping[int, Result]:
    """The results of the target's steps, out of the records or freshly made; the recorder gets all keys."""
    graph = plan.graph
    remotes = None
    if any(isinstance(step, HttpStep | GitStep) for step in graph.steps):
        from pybuild.builder.remote.fetching import Remotes

        remotes = Remotes(workspace)

    known: dict[tuple[int, str], str] = {}

    def read(step: Step, origin: str) -> str:
        if (id(step), origin) not in known:
            known[id(step), origin] = look(step, origin)
        return known[id(step), origin]

    def look(step: Step, origin: str) -> str:
        try:
            if isinstance(step, HttpStep | GitStep):
                assert remotes is not None
                digest = remotes.digest(step)
                progress.note_read(step, step.name, digest)
                return digest
            assert isinstance(step, CopyStep | RunStep)
            digest = contexts[origin].digest(choice_of(step, origin), workspace.database)
        except BuildError as error:
            if error.span is None:
                error.span, error.source = step.span, plan.source
            raise
        progress.note_read(step, origin, digest)
        return digest

    keys = progress.keys = step_keys(graph, read, timestamp=request.timestamp)
    wanted = file_steps(graph, graph.target.last)
    fresh: frozenset[int] = frozenset()
    anew: frozenset[int] = frozenset()
    if request.no_cache or request.no_cache_filter:
        from pybuild.builder.records.freshness import fresh_steps, named_steps

        fresh = progress.fresh = fresh_steps(graph, no_cache=request.no_cache, stages=request.no_cache_filter)
        anew = named_steps(graph, no_cache=request.no_cache, stages=request.no_cache_filter)
    cached: dict[int, Result] = {}
    for number in wanted:
        if number not in fresh and (result := cached_result(keys[number], workspace, request.compression)):
            cached[number] = result
    announce = announcer(graph, progress)
    if len(cached) == len(wanted):
        announce_cached(graph, (), announce, progress)
        return cached
    missing = [number for number in wanted if number not in cached]
    # A RUN lays layers out, which takes a pass of its own; the others want their indexes.
    with_indexes = not any(isinstance(step, RunStep) for step in graph.steps)
    read_images = bases.read_images(graph, missing, plan.images)
    bases.complete(read_images, request, workspace, listener=progress.emit, with_indexes=with_indexes)
    from pybuild.builder.steps.execute import Job
    from pybuild.builder.steps.making import make

    job = Job(
        graph=graph,
        keys=keys,
        own=own_keys(graph, read, timestamp=request.timestamp),
        source=plan.source,
        contexts=contexts,
        images=plan.images,
        compression=request.compression,
        now=_now(request),
        cached=cached,
        timestamp=request.timestamp,
        fresh=fresh,
        anew=anew,
        jobs=request.jobs,
        run=request.run,
        remotes=remotes,
    )
    return make(job, workspace, progress)


def _publish(
    plan: Plan, results: Mapping[int, Result], keys: tuple[str, ...], request: BuildRequest, workspace: Workspace
) -> Image:
    """Config, manifest and names into the store."""
    store, graph = workspace.store, plan.graph
    moments = history_keys(graph, keys)
    now = _now(request)

    def moment(number: int) -> str:
        return now if request.timestamp is not None else workspace.database.moment(moments[number], now)

    config = image_config(graph, results, moment)
    if request.timestamp is not None:
        config = replace(config, created=now)
    layers = image_layers(graph, results, _base(plan))
    from pybuild.registry import media

    manifest = Manifest.build(store.add(config.encode(), media.OCI_CONFIG), layers)
    descriptor = store.add(manifest.raw, manifest.media_type)
    descriptor = replace(descriptor, platform=config.platform)
    store.tag(descriptor, *request.tags)
    return Image(descriptor, manifest, config)


def _base(plan: Plan) -> Image | None:
    """The image that the target stands on."""
    source = plan.graph.steps[plan.graph.chain(plan.graph.target.last)[0]]
    assert isinstance(source, SourceStep)
    return plan.images.get(source.digest or "")


def _now(request: BuildRequest) -> str:
    seconds = time.time() if request.timestamp is None else request.timestamp
    fraction = "" if request.timestamp is not None else f".{int(seconds % 1 * 10**9):09d}"
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + fraction + "Z"
