"""The solver: which steps have to be made, each as soon as what it stands on is there, and what they leave.

A step is made (its layer exists as entries or as a directory) and then packed (its layer exists as a blob). The next
step waits for the first alone. Layers of stages that are only read are never packed. A step's lock is held from its
making to the end of its packing, so that two builds on one store never do the same step twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial

from pybuild.builder.errors import BuildError, Interrupted
from pybuild.builder.events import (
    CANCELED,
    MAKE,
    PACK,
    LayerGrows,
    LayerReady,
    Notice,
    Progress,
    StepFinished,
    StepOutput,
    Tick,
    Worked,
)
from pybuild.builder.graph import CopyStep, GitStep, HttpStep, MetaStep, Root, RunStep, SourceStep, Step, WorkdirStep
from pybuild.builder.layers.compression import Compression
from pybuild.builder.layers.entry import Entry, clamped
from pybuild.builder.layers.packing import pack
from pybuild.builder.layers.unpacking import Archives
from pybuild.builder.records.cache import Cache, Kept, Result
from pybuild.builder.records.resemblance import Resemblance
from pybuild.builder.steps.announcing import notifier
from pybuild.builder.steps.executor import Executor
from pybuild.builder.steps.files import Recipe, copy_entries, directory_entries
from pybuild.builder.steps.job import Job
from pybuild.builder.steps.locks import StepLocks
from pybuild.builder.steps.schedule import Schedule, read_steps, under_runs
from pybuild.builder.steps.snapshots import Form, Snapshots, fetched
from pybuild.builder.steps.workers import Workers
from pybuild.builder.workspace import Layer, Workspace

_POLL_SECONDS = 0.1


class Solver:
    """Does one job over a workspace: `at_work` are the steps that it has to do something about.

    `executor` carries out RUNs, None when there are none; `announce` is told of each step whose work begins.
    """

    def __init__(
        self,
        job: Job,
        workspace: Workspace,
        *,
        cache: Cache,
        executor: Executor | None,
        progress: Progress,
        announce: Callable[[int], None],
    ) -> None:
        self._job = job
        self._workspace = workspace
        self._cache = cache
        self._executor = executor
        self._progress = progress
        self._announce = announce
        self._compression = Compression.parse(job.compression)
        self._snapshots = Snapshots(job.graph, job.images, workspace)
        self._results: dict[int, Result] = dict(job.cached)
        self._entries: dict[int, tuple[Entry, ...]] = {}
        self._trees: dict[int, str] = {}
        self._created: dict[int, str] = {}
        self._started: dict[int, float] = {}
        self._resources = ExitStack()
        self._locks = StepLocks(workspace.store)
        self._archives = Archives(workspace.store)
        self._cancelled = threading.Event()
        self._first_error: BaseException | None = None
        self._resemblance = Resemblance(job.graph, job.keys, job.own, cache, workspace, self._snapshots)
        self._wanted = frozenset(n for n in job.graph.file_steps(job.graph.target.last) if n not in job.cached)
        for number, result in job.cached.items():
            self._snapshots.set(number, Form(layer=result.layer))
        self._making = self._to_make()
        self._under_runs = under_runs(job.graph, self._making)
        self.at_work = (*self._making, *(self._wanted - set(self._making)))

    def run(self) -> Mapping[int, Result]:
        """Make and pack what the target needs. Raises BuildError and RegistryError; leaves nothing half-done."""
        with self._archives, self._resources, self._locks:
            runs = [step for number in self._making if isinstance(step := self._job.graph.steps[number], RunStep)]
            if runs:
                assert self._executor is not None
                self._executor.start(runs, notifier(self._progress))
            for number, result in self._job.cached.items():
                self._tell_of_layer(number, result)
            self._work()
        return self._results

    @property
    def reads_trees(self) -> bool:
        """Whether there is a sandbox to be made, or something to be read that one has left."""
        return bool(self._trees) or any(isinstance(self._job.graph.steps[number], RunStep) for number in self._making)

    # What to do

    def _to_make(self) -> tuple[int, ...]:
        """The steps to make: those wanted, and all that they read and nobody has."""
        making: set[int] = set()
        seen: set[int] = set()
        pending = list(self._wanted)
        while pending:
            if (number := pending.pop()) in seen:
                continue
            seen.add(number)
            step = self._job.graph.steps[number]
            if not isinstance(step, Root):
                # Whoever reads a file system reads all layers of it.
                pending.append(step.parent)
            if not isinstance(step, SourceStep | MetaStep) and not self._take_known(number):
                making.add(number)
                pending += read_steps(step)
        return tuple(sorted(making))

    def _take_known(self, number: int) -> bool:
        """Have the step's own result as its layer, unless it is to be found out anew."""
        return number in self._results or (number not in self._job.fresh and self._take_kept(number, self._job.keys[number]))

    def _take_kept(self, number: int, key: str) -> bool:
        """Have what the cache keeps under a key as this step's layer; False when that is in no form that others can read."""
        kept = self._cache.found(key)
        if kept is None:
            return False
        if kept.tree is not None:
            form = Form(tree=self._workspace.tree_path(kept.tree))
            self._trees[number] = kept.tree
            self._created[number] = kept.created
        elif not kept.layers:
            form = Form()
        elif number not in self._wanted:
            form = Form(layer=kept.layers[0])
        else:
            return False
        self._snapshots.set(number, form)
        return True

    # Work

    def _work(self) -> None:
        schedule = Schedule(self._job.graph, self._making)
        threads = max(2, self._job.jobs)
        # No more than keep the threads busy: each holds a lock, and each is looked at whenever one is done. Of one step at a time
        # the last is packed beside it.
        most = threads * 2 if self._job.jobs > 1 else 1
        # A step's number, and whether it is being made.
        workers: Workers[tuple[int, bool]] = Workers(threads)

        def submit_packing(number: int) -> None:
            if number in self._wanted and number not in self._results:
                workers.submit((number, False), partial(self._pack, number))
            else:
                self._locks.release(self._job.keys[number])

        try:
            for number in sorted(self._wanted - set(self._making)):
                self._start(number)
                submit_packing(number)
            while schedule or workers.at_work:
                for number in schedule.ready(most - sum(is_making for _, is_making in workers.at_work)):
                    taken = self._locks.take(self._job.keys[number])
                    if taken is None:
                        schedule.put_back(number)
                        continue
                    workers.submit((number, True), partial(self._make, number, taken.was_busy))
                done = workers.take(_POLL_SECONDS)
                self._progress.emit(Tick())
                for (number, is_making), error in done:
                    if error is not None:
                        raise error
                    if is_making:
                        schedule.done(number)
                        submit_packing(number)
                    else:
                        self._locks.release(self._job.keys[number])
        except BaseException as error:
            self._cancelled.set()
            if self._executor is not None:
                self._executor.interrupt()
            workers.close()
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted("interrupted", hint="what was finished is kept: the next build goes on from there") from None
            # Of several that failed at once, the first is the cause, whichever is looked at first.
            raise self._first_error or error from None
        workers.close()

    @contextmanager
    def _reporting(self, number: int) -> Iterator[None]:
        """Give errors the place in the Dockerfile that they come from, and tell of them."""
        try:
            yield
        except BaseException as error:
            if isinstance(error, BuildError) and error.span is None and not isinstance(error, Interrupted):
                error.span, error.source = self._job.graph.steps[number].span, self._job.source
            if self._first_error is None and not isinstance(error, Interrupted | KeyboardInterrupt):
                self._first_error = error
            is_canceled = self._cancelled.is_set() or isinstance(error, Interrupted | KeyboardInterrupt)
            self._finish(number, CANCELED if is_canceled else str(getattr(error, "message", error)))
            raise

    @contextmanager
    def _timed(self, number: int, action: str) -> Iterator[list[int]]:
        """Tell how long a piece of work took, on which thread, and of how much; whether it went well or not."""
        started, sizes = time.monotonic(), [0, 0]
        try:
            yield sizes
        finally:
            thread = threading.current_thread().name
            self._progress.emit(Worked(number, action, thread, started, time.monotonic(), *sizes))

    def _start(self, number: int) -> None:
        self._started[number] = time.monotonic()
        self._announce(number)

    def _finish(self, number: int, error: str | None = None, *, is_cached: bool = False) -> None:
        self._progress.emit(StepFinished(number, time.monotonic() - self._started[number], is_cached=is_cached, error=error))

    def _make(self, number: int, was_busy: bool) -> None:
        self._check_cancelled()
        self._start(number)
        with self._reporting(number):
            is_cached = self._find(number, was_busy)
            if not is_cached:
                with self._timed(number, MAKE):
                    self._carry_out(number, self._job.graph.steps[number])
                is_cached = number not in self._job.anew and self._came_out_as_before(number)
            if not is_cached:
                if number in self._job.fresh:
                    self._resemblance.renew(number)
                self._resemblance.remember(number)
        if is_cached or number not in self._wanted or number in self._results:
            self._finish(number, is_cached=is_cached)

    def _find(self, number: int, was_busy: bool) -> bool:
        """Whether the step need not be made: another build has made it meanwhile, or it was made over the same files."""
        # Also when the lock was free: another build may have come and gone since our plan was made.
        if (was_busy or number not in self._job.fresh) and self._take_anothers(number):
            return True
        earlier = None if number in self._job.anew else self._resemblance.find(number)
        return earlier is not None and self._take_over(number, earlier)

    def _carry_out(self, number: int, step: Step) -> None:
        match step:
            case RunStep():
                self._run(number, step)
            case CopyStep():
                recipe = copy_entries(step, self._snapshots, self._job.contexts, self._archives, mtime_ns=self._now_ns)
                self._recipe(number, recipe)
            case HttpStep():
                assert self._job.remotes is not None
                self._recipe(number, ((self._job.remotes.file(step),), ()))
            case GitStep():
                assert self._job.remotes is not None
                tree = self._new_tree(number)
                self._job.remotes.checkout(step, self._workspace.tree_path(tree))
                self._keep_tree(number, tree)
            case WorkdirStep():
                self._recipe(number, directory_entries(step, self._snapshots, mtime_ns=self._now_ns))
            case _:
                raise AssertionError(step)

    def _came_out_as_before(self, number: int) -> bool:
        """Whether a copy out of a stage that ran again has the files that it had; its layer then is the one of before."""
        step = self._job.graph.steps[number]
        if not isinstance(step, CopyStep) or number not in self._wanted or all(isinstance(o, str) for o in step.origins):
            return False
        earlier = self._resemblance.find_result(number)
        return earlier is not None and self._take_over(number, earlier)

    def _take_over(self, number: int, earlier: str) -> bool:
        """Make the result of another key this step's; False when it is not there any more."""
        key = self._job.keys[number]
        result = self._cache.packed(earlier, str(self._compression))
        if number not in self._wanted:
            if not self._take_kept(number, earlier):
                return False
        elif result is None:
            return False
        else:
            tree = self._trees.get(number)
            self._results[number] = result
            self._snapshots.set(number, Form(layer=result.layer, tree=self._workspace.tree_path(tree) if tree else None))
            self._tell_of_layer(number, result)
        if result is not None:
            tree = self._trees.get(number) if number in self._wanted else None
            self._keep(number, result.layer, tree=tree, created=result.created)
        self._resemblance.remember(number)
        self._workspace.database.add_maker(key, like=earlier)
        return True

    def _take_anothers(self, number: int) -> bool:
        """Have what another build has made of this step as its layer; False when there is nothing."""
        result = self._cache.packed(self._job.keys[number], str(self._compression))
        if result is not None:
            self._results[number] = result
            self._snapshots.set(number, Form(layer=result.layer))
            self._tell_of_layer(number, result)
            return True
        return number not in self._wanted and self._take_known(number)

    def _run(self, number: int, step: RunStep) -> None:
        def output(stream: int, content: bytes) -> None:
            self._progress.emit(StepOutput(number, stream, content))

        assert self._executor is not None
        tree = self._new_tree(number)
        place = self._workspace.tree_path(tree)
        form = self._executor.run(step, self._snapshots, place, output=output, check=self._check_cancelled)
        if form.layer is None:
            self._keep_tree(number, tree)
            return
        self._snapshots.set(number, form)
        self._keep(number, form.layer)
        if number in self._wanted:
            self._results[number] = Result(form.layer, self._job.now)
            self._tell_of_layer(number, self._results[number])

    def _new_tree(self, number: int) -> str:
        return self._workspace.new_tree(self._job.keys[number])

    def _keep_tree(self, number: int, tree: str) -> None:
        """A step's files have been made as a new tree, which is theirs from now on."""
        self._trees[number] = tree
        self._snapshots.set(number, Form(tree=self._workspace.tree_path(tree)))
        self._keep(number, None, tree=tree)

    def _keep(self, number: int, layer: Layer | None, *, tree: str | None = None, created: str | None = None) -> None:
        kept = Kept(created or self._job.now, (layer,) if layer else (), tree)
        self._cache.keep(self._job.keys[number], kept, str(self._compression))

    @property
    def _now_ns(self) -> int:
        return (int(time.time()) if self._job.timestamp is None else self._job.timestamp) * 10**9

    def _recipe(self, number: int, recipe: Recipe) -> None:
        entries, blobs = recipe
        entries = clamped(entries, self._job.timestamp)
        entries = self._resources.enter_context(fetched(entries, blobs, self._workspace))
        self._entries[number] = entries
        self._snapshots.set(number, Form(entries=entries) if entries else Form())
        if entries and number in self._under_runs:
            tree = self._new_tree(number)
            self._snapshots.as_tree(number, tree)
            self._trees[number] = tree
            if number not in self._wanted:
                # Nobody packs it: the tree is what the next build reads.
                self._keep(number, None, tree=tree)

    def _pack(self, number: int) -> None:
        self._check_cancelled()
        step = self._job.graph.steps[number]
        created = self._created.get(number, self._job.now)
        with self._reporting(number), self._timed(number, PACK) as sizes:
            entries = self._entries.get(number)
            if entries is None:
                entries = clamped(self._snapshots.changes(number, step.parent), self._job.timestamp)  # type: ignore[union-attr]
            layer = None
            if entries or not isinstance(step, WorkdirStep):
                packed = pack(
                    entries,
                    self._workspace.store,
                    self._compression,
                    on_bytes=self._check_cancelled,
                    on_growth=lambda path, size: self._progress.emit(LayerGrows(number, path, size)),
                )
                layer = Layer(packed.descriptor, packed.diff_id)
                sizes[:] = sum(entry.size for entry in entries), layer.descriptor.size
            self._results[number] = Result(layer, created)
            self._tell_of_layer(number, self._results[number])
        names = [origin for origin in step.origins if isinstance(origin, str)] if isinstance(step, CopyStep) else []
        if any(self._job.contexts[name].has_changed(entries) for name in names):
            self._progress.emit(Notice(f"{step.name}: files changed while they were copied; the step is not cached"))
            self._finish(number)
            return
        self._keep(number, layer, tree=self._trees.get(number), created=created)
        self._finish(number)

    def _tell_of_layer(self, number: int, result: Result) -> None:
        """Whoever listens may send it ahead of its image."""
        if result.layer is not None:
            blob = result.layer.descriptor
            self._progress.emit(LayerReady(number, blob.media_type, blob.digest, blob.size))

    def _check_cancelled(self, _: int = 0) -> None:
        if self._cancelled.is_set():
            raise Interrupted("interrupted")
