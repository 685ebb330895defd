"""A build from end to end: parse, plan, resolve, solve, publish. Everything that is not needed is not imported either."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from functools import partial

from pybuild.builder.contexts import bases
from pybuild.builder.contexts.context import Context, check_folder, localised
from pybuild.builder.contexts.reading import Reading
from pybuild.builder.errors import Interrupted, LintFailed, PlanError
from pybuild.builder.events import Finished, Notice, Progress
from pybuild.builder.graph import RunStep, SourceStep
from pybuild.builder.planning.entitlements import check_entitlements
from pybuild.builder.planning.memory import Plan, make_plan, read_dockerfile
from pybuild.builder.planning.refusal import refuse
from pybuild.builder.publishing.assemble import image_config, image_layers
from pybuild.builder.records.cache import CacheOf, LocalCache, Result
from pybuild.builder.records.keys import history_keys, own_keys, step_keys
from pybuild.builder.records.recording import Recorder, called, recorded
from pybuild.builder.request import BuildRequest, BuildResult, Output
from pybuild.builder.steps.announcing import announce_cached, announcer
from pybuild.builder.workspace import Workspace
from pybuild.hints import TYPE_CHECKING
from pybuild.registry import Image, Manifest, Platform
from pybuild.values import replace

if TYPE_CHECKING:
    from pybuild.builder.planning.epochs import Dated
    from pybuild.builder.remote.fetching import Remotes
    from pybuild.builder.steps.executor import ExecutorOf
    from pybuild.builder.steps.sandboxes import Sandboxes

__all__ = ["BuildRequest", "BuildResult", "Output", "build"]


def build(
    request: BuildRequest,
    *,
    workspace: Workspace,
    progress: Progress,
    cache: CacheOf = LocalCache,
    executor: ExecutorOf | None = None,
) -> BuildResult:
    """Build an image into the workspace, tag it, and put it where else it was asked for.

    `cache` makes what keeps the results of steps, `executor` what carries out RUNs, this machine for None. Raises BuildError,
    RegistryError and DockerfileError. Call it while the process has one thread, if there may be a RUN.
    """
    started = time.monotonic()
    workspace.clean()
    if workspace.database.was_damaged:
        progress.emit(Notice("pybuild.db was damaged, and is begun anew: what earlier builds did is forgotten"))
    try:
        with workspace.store.lock("build", exclusive=False), localised(request, workspace) as here:
            result = _Build(here, workspace, progress, cache, executor).run(started, called(request))
    except KeyboardInterrupt:
        raise Interrupted("interrupted") from None
    workspace.clean()
    return result


class _Build:
    """One build, whose contexts are folders by now."""

    def __init__(
        self, request: BuildRequest, workspace: Workspace, progress: Progress, cache: CacheOf, executor: ExecutorOf | None
    ) -> None:
        self._request = request
        self._workspace = workspace
        self._progress = progress
        self._cache_of = cache
        self._cache = cache(workspace)
        self._executor = executor
        self._held = contextlib.ExitStack()
        self._sandboxes: Sandboxes | None = None
        self._contexts: dict[str, Context] = {}
        self._remotes: Remotes | None = None

    def run(self, started: float, dockerfile: str) -> BuildResult:
        for name in self._request.tags:
            if name.digest is not None:
                raise PlanError(f"{name.familiar}: its digest is known when it is built", hint="write -t NAME:TAG")
        if self._request.outputs or self._request.push:
            from pybuild.builder.publishing.export import check_outputs

            check_outputs(self._request)
        with self._held as stack:
            plan = self._plan()
            request = self._request
            uploads = None
            if request.push or request.outputs:
                from pybuild.builder.publishing.uploading import uploading

                uploads = stack.enter_context(uploading(request, self._workspace, self._progress))
            listener = uploads or self._progress
            recorder = stack.enter_context(recorded(plan, request, self._workspace, listener, dockerfile=dockerfile))
            if uploads is not None and (base := _base(plan)):
                uploads.expect(image_layers(plan.graph, {}, base))
            results = self._solve(plan, recorder)
            image = self._publish(plan, results, recorder.keys)
            if request.outputs or request.push:
                from pybuild.builder.publishing.export import export

                if uploads is not None:
                    uploads.finish()
                if any(output.type not in ("registry", "image") for output in request.outputs):
                    bases.complete((image,), request, self._workspace, listener=recorder.emit)
                export(image, request, self._workspace, recorder)
            digest = image.manifest.descriptor.digest
            names = tuple(tag.familiar for tag in request.tags)
            recorder.emit(Finished(str(image.id), str(digest), names, time.monotonic() - started))
        return BuildResult(image.id, digest, request.tags, recorder.number)

    def _plan(self) -> Plan:
        """What there is to do; that it may be done has been checked, and what the user should know is told."""
        request = self._request
        platform = request.platform or Platform.here()
        bases.check(request.contexts)
        folders = bases.folders(request.contexts)
        check_folder(request.context)
        source, ignore_names = read_dockerfile(request)
        for name, path in folders.items():
            check_folder(path, hint=f"it is what --build-context {name}={path} names")
        self._contexts[""] = Context.open(request.context, ignore_names)
        for name, path in folders.items():
            ignores = () if name in request.plain_contexts else (".dockerignore",)
            self._contexts[name] = Context.open(path, ignores, called=f"the context {name}")
        plan = make_plan(
            source,
            request,
            self._workspace,
            platform=platform,
            folders=tuple(folders),
            ignore=self._contexts[""].ignore,
            resolve=lambda wanted: bases.resolve(wanted, request, self._workspace.store, listener=self._progress.emit),
            date=self._date,
            on_new=partial(self._foresee, source.text),
        )
        if request.timestamp is None and plan.graph.epoch is not None:
            self._request = replace(request, timestamp=plan.graph.epoch)
        refuse(plan)
        check_entitlements(plan.graph, request.run.allow, plan.source)
        for warning in (*plan.graph.warnings, *plan.remarks.notices):
            self._progress.emit(Notice(warning))
        if plan.remarks.broken:
            hint = "mend it ('pybuild lint --fix' does what it can), or take error=true out of its check"
            raise LintFailed(f"{source.name} breaks rules that it wants to be kept: {', '.join(plan.remarks.broken)}", hint=hint)
        return plan

    def _foresee(self, text: str) -> None:
        """Start what a RUN takes, while the Dockerfile is still to be read."""
        if self._executor is None and self._sandboxes is None and "RUN" in text.upper():
            from pybuild.builder.steps.sandboxes import foreseen

            self._sandboxes = foreseen(text, self._request, self._workspace)
            if self._sandboxes is not None:
                self._held.callback(self._sandboxes.close)

    def _date(self, named: Dated) -> int | None:
        """When something from elsewhere is from; None when that is not known."""
        return dict(self._request.moments).get(named) if isinstance(named, str) else self._asked().moment(named)

    def _asked(self) -> Remotes:
        """What asks for URLs and repositories, each of them once."""
        from pybuild.builder.remote.fetching import Remotes

        if self._remotes is None:
            self._remotes = Remotes(self._workspace)
        return self._remotes

    def _solve(self, plan: Plan, recorder: Recorder) -> Mapping[int, Result]:
        """The results of the target's steps, out of the cache or freshly made; the recorder gets all keys."""
        graph, request = plan.graph, self._request
        reading = Reading(graph, plan.source, self._contexts, self._workspace, recorder.note_read, self._asked)
        reading.ahead(request.jobs)
        keys = recorder.keys = step_keys(graph, reading.digest, timestamp=request.timestamp)
        fresh: frozenset[int] = frozenset()
        anew: frozenset[int] = frozenset()
        if request.no_cache or request.no_cache_filter:
            from pybuild.builder.records.freshness import fresh_steps, named_steps

            fresh = recorder.fresh = fresh_steps(graph, no_cache=request.no_cache, stages=request.no_cache_filter)
            anew = recorder.anew = named_steps(graph, no_cache=request.no_cache, stages=request.no_cache_filter)
        wanted = graph.file_steps(graph.target.last)
        cached: dict[int, Result] = {}
        for number in wanted:
            if number not in fresh and (result := self._cache.packed(keys[number], request.compression)):
                cached[number] = result
        if len(cached) == len(wanted):
            announce_cached(graph, (), announcer(graph, recorder), recorder)
            return cached
        missing = [number for number in wanted if number not in cached]
        # A RUN lays layers out, which takes a pass of its own; the others want their indexes.
        with_indexes = not any(isinstance(step, RunStep) for step in graph.steps)
        read_images = bases.read_images(graph, missing, plan.images)
        bases.complete(read_images, request, self._workspace, listener=recorder.emit, with_indexes=with_indexes)
        from pybuild.builder.steps.job import Job
        from pybuild.builder.steps.making import make

        job = Job(
            graph=graph,
            keys=keys,
            own=own_keys(graph, reading.digest, timestamp=request.timestamp),
            source=plan.source,
            contexts=self._contexts,
            images=plan.images,
            compression=request.compression,
            now=_now(request),
            cached=cached,
            timestamp=request.timestamp,
            fresh=fresh,
            anew=anew,
            jobs=request.jobs,
            run=request.run,
            remotes=reading.remotes,
            cache=self._cache_of,
            executor=self._executor,
            sandboxes=self._sandboxes,
        )
        return make(job, self._workspace, recorder)

    def _publish(self, plan: Plan, results: Mapping[int, Result], keys: tuple[str, ...]) -> Image:
        """Config, manifest and names into the store."""
        store, graph, request = self._workspace.store, plan.graph, self._request
        moments = history_keys(graph, keys)
        now = _now(request)

        def moment(number: int) -> str:
            return now if request.timestamp is not None else self._cache.moment(moments[number], now)

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
