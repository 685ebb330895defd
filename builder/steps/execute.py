"""Making what is missing: which steps have to run, each as soon as what it stands on is there, and what they leave.

A step is made (its layer exists as entries or as a directory) and then packed (its layer exists as a blob). The next
step waits for the first alone. Layers of stages that are only read are never packed. A step's lock is held from its
making to the end of its packing, so that two builds on one store never do the same step twice.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING

from pybuild.builder.contexts.context import Context
from pybuild.builder.errors import BuildError, Interrupted
from pybuild.builder.events import CANCELED, MAKE, PACK, LayerReady, Notice, Progress, StepFinished, StepOutput, Tick, Worked
from pybuild.builder.graph import BuildGraph, CopyStep, GitStep, HttpStep, MetaStep, Root, RunStep, SourceStep, WorkdirStep
from pybuild.builder.layers.compression import Compression
from pybuild.builder.layers.entry import Entry
from pybuild.builder.layers.packing import pack
from pybuild.builder.layers.unpacking import Archives
from pybuild.builder.records.cached import Result, cached_result, file_steps
from pybuild.builder.records.database import StepRecord
from pybuild.builder.records.resemblance import Resemblance
from pybuild.builder.request import RunOptions
from pybuild.builder.steps.files import Recipe, copy_entries, directory_entries
from pybuild.builder.steps.locks import StepLocks
from pybuild.builder.steps.schedule import Schedule, read_steps, under_runs
from pybuild.builder.steps.snapshots import Form, Snapshots, fetched
from pybuild.builder.workspace import Layer, Workspace
from pybuild.grammar import Source
from pybuild.registry import Image
from pybuild.registry.values import frozen

if TYPE_CHECKING:
    from pybuild.builder.remote.fetching import Remotes
    from pybuild.builder.steps.running import Runner

_POLL_SECONDS = 0.1


@frozen
class Job:
    """One build, as the executor needs it. `cached` has what of the target is there, `fresh` what is not looked up; `remotes` is
    for URLs and git."""

    graph: BuildGraph
    keys: tuple[str, ...]
    source: Source
    contexts: Mapping[str, Context]
    images: Mapping[str, Image]
    compression: str
    now: str
    cached: Mapping[int, Result]
    timestamp: int | None = None
    fresh: frozenset[int] = frozenset()
    jobs: int = 4
    run: RunOptions = RunOptions()
    own: tuple[str, ...] = ()
    anew: frozenset[int] = frozenset()
    remotes: Remotes | None = None


class Executor:
    """Runs one job over a workspace. `announce` is told of each step whose work begins."""

    def __init__(
        self, job: Job, workspace: Workspace, *, progress: Progress, runner: Runner | None, announce: Callable[[int], None]
    ) -> None:
        self._job = job
        self._workspace = workspace
        self._progress = progress
        self._runner = runner
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
        self._resemblance = Resemblance(job.graph, job.keys, job.own, workspace, self._snapshots)
        self._wanted = frozenset(n for n in file_steps(job.graph, job.graph.target.last) if n not in job.cached)
        for number, result in job.cached.items():
            self._snapshots.set(number, Form(layer=result.layer))
        self.making = self._to_make()
        self._under_runs = under_runs(job.graph, self.making)
        self.at_work = (*self.making, *(self._wanted - set(self.making)))

    def run(self) -> Mapping[int, Result]:
        """Make and pack what the target needs. Raises BuildError and RegistryError; leaves nothing half-done."""
        with self._archives, self._resources, self._locks:
            if any(isinstance(self._job.graph.steps[number], RunStep) for number in self.making):
                assert self._runner is not None
                self._runner.start(lambda text: self._progress.emit(Notice(text)))
            for number, result in self._job.cached.items():
                self._tell_of_layer(number, result)
            self._work()
        return self._results

    @property
    def reads_trees(self) -> bool:
        """Whether there is a sandbox to be made, or something to be read that one has left."""
        return bool(self._trees) or any(isinstance(self._job.graph.steps[number], RunStep) for number in self.making)

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
            if not isinstance(step, SourceStep | MetaStep) and not self._is_at_hand(number):
                making.add(number)
                pending += read_steps(step)
        return tuple(sorted(making))

    def _is_at_hand(self, number: int, key: str | None = None) -> bool:
        """Whether the step's layer is there, under its key or another, in a form that others can read."""
        if number in self._results:
            return True
        is_unknown = key is None and number in self._job.fresh
        record = None if is_unknown else self._workspace.database.step(key or self._job.keys[number])
        if record is None:
            return False
        form = None
        if record.is_empty:
            form = Form()
        elif record.tree and os.path.isdir(tree := self._workspace.tree_path(record.tree)):
            form = Form(tree=tree)
            self._trees[number] = record.tree
            self._created[number] = record.created
        elif record.diff_id and number not in self._wanted:
            blobs = (blob for blob in self._workspace.database.blobs(record.diff_id) if self._workspace.store.has(blob))
            form = next((Form(layer=Layer(blob, record.diff_id)) for blob in blobs), None)
        if form is None:
            return False
        self._snapshots.set(number, form)
        return True

    # Work

    def _work(self) -> None:
        schedule = Schedule(self._job.graph, self.making)
        futures: dict[Future[None], tuple[int, bool]] = {}
        threads = max(2, self._job.jobs)
        pool = ThreadPoolExecutor(threads, thread_name_prefix="worker")

        def submit_packing(number: int) -> None:
            if number in self._wanted and number not in self._results:
                futures[pool.submit(self._pack, number)] = (number, False)
            else:
                self._locks.release(self._job.keys[number])

        try:
            for number in sorted(self._wanted - set(self.making)):
                self._start(number)
                submit_packing(number)
            while schedule or futures:
                # No more than keep the threads busy: each holds a lock, and each is looked at whenever one is done.
                for number in schedule.ready(threads * 2 - sum(is_making for _, is_making in futures.values())):
                    taken = self._locks.take(self._job.keys[number])
                    if taken is None:
                        schedule.put_back(number)
                        continue
                    futures[pool.submit(self._make, number, taken.was_busy)] = (number, True)
                done, _ = wait(futures, timeout=_POLL_SECONDS, return_when=FIRST_COMPLETED)
                self._progress.emit(Tick())
                if not futures:
                    time.sleep(_POLL_SECONDS)
                for future in done:
                    number, is_making = futures.pop(future)
                    future.result()
                    if is_making:
                        schedule.done(number)
                        submit_packing(number)
                    else:
                        self._locks.release(self._job.keys[number])
        except BaseException as error:
            self._cancelled.set()
            if self._runner is not None:
                self._runner.interrupt()
            pool.shutdown(wait=True, cancel_futures=True)
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted("interrupted", hint="what was finished is kept: the next build goes on from there") from None
            # Of several that failed at once, the first is the cause, whichever is looked at first.
            raise self._first_error or error from None
        pool.shutdown(wait=True)

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
        # Also when the lock was free: another build may have come and gone since our plan was made.
        if (was_busy or number not in self._job.fresh) and self._done_by_another(number):
            self._finish(number, is_cached=True)
            return
        with self._reporting(number):
            earlier = None if number in self._job.anew else self._resemblance.find(number)
        if earlier is not None and self._take_over(number, earlier):
            self._finish(number, is_cached=True)
            return
        with self._reporting(number), self._timed(number, MAKE):
            step = self._job.graph.steps[number]
            match step:
                case RunStep():
                    self._run(number, step)
                case CopyStep():
                    self._recipe(
                        number, copy_entries(step, self._snapshots, self._job.contexts, self._archives, mtime_ns=self._now_ns)
                    )
                case HttpStep():
                    assert self._job.remotes is not None
                    self._recipe(number, ((self._job.remotes.file(step),), ()))
                case GitStep():
                    assert self._job.remotes is not None
                    self._keep_tree(number, partial(self._job.remotes.checkout, step))
                case WorkdirStep():
                    self._recipe(number, directory_entries(step, self._snapshots, mtime_ns=self._now_ns))
                case _:
                    raise AssertionError(step)
        if number in self._job.anew or not self._came_out_as_before(number):
            if number in self._job.fresh:
                self._resemblance.renew(number)
            self._resemblance.remember(number)
            if number not in self._wanted:
                self._finish(number)

    def _came_out_as_before(self, number: int) -> bool:
        """Whether a copy out of a stage that ran again has the files that it had; its layer then is the one of before."""
        step = self._job.graph.steps[number]
        if not isinstance(step, CopyStep) or number not in self._wanted or all(isinstance(o, str) for o in step.origins):
            return False
        earlier = self._resemblance.find_result(number)
        if earlier is None or not self._take_over(number, earlier):
            return False
        self._finish(number, is_cached=True)
        return True

    def _take_over(self, number: int, earlier: str) -> bool:
        """Make the result of another key this step's; False when it is not there any more."""
        database, key = self._workspace.database, self._job.keys[number]
        result = cached_result(earlier, self._workspace, str(self._compression))
        if number not in self._wanted:
            if not self._is_at_hand(number, earlier):
                return False
        elif result is None:
            return False
        else:
            tree = self._trees.get(number)
            self._results[number] = result
            self._snapshots.set(number, Form(layer=result.layer, tree=self._workspace.tree_path(tree) if tree else None))
            self._tell_of_layer(number, result)
        if result is not None:
            diff_id = result.layer.diff_id if result.layer else None
            tree = self._trees.get(number) if number in self._wanted else None
            self._workspace.replace_step(StepRecord(key, diff_id, tree, result.created))
        self._resemblance.remember(number)
        database.add_maker(key, like=earlier)
        return True

    def _done_by_another(self, number: int) -> bool:
        """Whether another build did the step while this one waited for its lock."""
        key = self._job.keys[number]
        result = cached_result(key, self._workspace, str(self._compression))
        if result is not None:
            self._results[number] = result
            self._snapshots.set(number, Form(layer=result.layer))
            self._tell_of_layer(number, result)
            return True
        return number not in self._wanted and self._is_at_hand(number)

    def _run(self, number: int, step: RunStep) -> None:
        def output(stream: int, content: bytes) -> None:
            self._progress.emit(StepOutput(number, stream, content))

        assert self._runner is not None
        runner = self._runner
        self._keep_tree(
            number, lambda place: runner.run(step, self._snapshots, place, output=output, check=self._check_cancelled)
        )

    def _keep_tree(self, number: int, make: Callable[[str], None]) -> None:
        """Have a step's files made at the place of a new tree, which is theirs from then on."""
        tree = self._workspace.new_tree(self._job.keys[number])
        make(self._workspace.tree_path(tree))
        self._trees[number] = tree
        self._snapshots.set(number, Form(tree=self._workspace.tree_path(tree)))
        self._workspace.replace_step(StepRecord(self._job.keys[number], None, tree, self._job.now))

    @property
    def _now_ns(self) -> int:
        return (int(time.time()) if self._job.timestamp is None else self._job.timestamp) * 10**9

    def _recipe(self, number: int, recipe: Recipe) -> None:
        entries, blobs = recipe
        if self._job.timestamp is not None:
            entries = _clamped(entries, self._job.timestamp)
        entries = self._resources.enter_context(fetched(entries, blobs, self._workspace))
        self._entries[number] = entries
        self._snapshots.set(number, Form(entries=entries) if entries else Form())
        if entries and number in self._under_runs:
            tree = self._workspace.new_tree(self._job.keys[number])
            self._snapshots.as_tree(number, tree)
            self._trees[number] = tree
            if number not in self._wanted:
                # Nobody packs it: the tree is what the next build reads.
                self._workspace.replace_step(StepRecord(self._job.keys[number], None, tree, self._job.now))

    def _pack(self, number: int) -> None:
        self._check_cancelled()
        step = self._job.graph.steps[number]
        created = self._created.get(number, self._job.now)
        with self._reporting(number), self._timed(number, PACK) as sizes:
            entries = self._entries.get(number)
            if entries is None:
                entries = self._snapshots.changes(number, step.parent)  # type: ignore[union-attr]
                if self._job.timestamp is not None:
                    entries = _clamped(entries, self._job.timestamp)
            layer = None
            if entries or not isinstance(step, WorkdirStep):
                packed = pack(entries, self._workspace.store, self._compression, on_bytes=self._check_cancelled)
                layer = Layer(packed.descriptor, packed.diff_id)
                sizes[:] = sum(entry.size for entry in entries), layer.descriptor.size
            self._results[number] = Result(layer, created)
            self._tell_of_layer(number, self._results[number])
        names = [origin for origin in step.origins if isinstance(origin, str)] if isinstance(step, CopyStep) else []
        if any(self._job.contexts[name].has_changed(entries) for name in names):
            self._progress.emit(Notice(f"{step.name}: files changed while they were copied; the step is not cached"))
            self._finish(number)
            return
        if layer is not None:
            self._workspace.database.add_blob(layer.diff_id, str(self._compression), layer.descriptor)
        record = StepRecord(self._job.keys[number], layer.diff_id if layer else None, self._trees.get(number), created)
        self._workspace.replace_step(record)
        self._finish(number)

    def _tell_of_layer(self, number: int, result: Result) -> None:
        """Whoever listens may send it ahead of its image."""
        if result.layer is not None:
            blob = result.layer.descriptor
            self._progress.emit(LayerReady(number, blob.media_type, blob.digest, blob.size))

    def _check_cancelled(self, _: int = 0) -> None:
        if self._cancelled.is_set():
            raise Interrupted("interrupted")


def _clamped(entries: tuple[Entry, ...], timestamp: int) -> tuple[Entry, ...]:
    limit = timestamp * 10**9
    return tuple(entry._replace(mtime_ns=limit) if entry.mtime_ns > limit else entry for entry in entries)
