"""Making the steps that are missing: by this process, or by a child of it that is root in a user namespace.

The child is for who may not mount: it runs sandboxes, and it reads and writes the trees that RUN leaves, whose files belong to
ids that are only there. A build without RUN has neither, and is made here.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping

from pybuild.builder.errors import StepFailed
from pybuild.builder.events import Event, Notice, OneAtATime, Progress
from pybuild.builder.graph import RunStep
from pybuild.builder.records.cache import Result
from pybuild.builder.steps.announcing import announce_cached, announcer
from pybuild.builder.steps.executor import Executor
from pybuild.builder.steps.job import Job
from pybuild.builder.steps.solver import Solver
from pybuild.builder.workspace import Workspace


def make(job: Job, workspace: Workspace, progress: Progress) -> Mapping[int, Result]:
    """Make and pack what the target needs. Raises BuildError and RegistryError.

    For a process with one thread, if there is a RUN.
    """
    serial = OneAtATime(progress)
    if not any(isinstance(step, RunStep) for step in job.graph.steps):
        return _solve(_solver(job, workspace, serial, None), job, serial, None)
    with contextlib.closing(_executor(job, workspace)) as executor:
        solver = _solver(job, workspace, serial, executor)
        if solver.reads_trees and _is_child_needed(job):
            return _make_inside(job, workspace, progress)
        return _solve(solver, job, serial, executor)


def _executor(job: Job, workspace: Workspace) -> Executor:
    if job.executor is not None:
        return job.executor(job, workspace)
    # What only Linux has; a build without RUN does without.
    from pybuild.builder.steps.attachments import Attachments
    from pybuild.builder.steps.running import Runner

    return Runner(workspace, Attachments(workspace, job.contexts, job.keys, job.run), job.run, job.sandboxes)


def _is_child_needed(job: Job) -> bool:
    from pybuild.builder.sandbox.ground import is_user_namespace_needed

    return is_user_namespace_needed(job.run.confinement.isolation)


def _solver(job: Job, workspace: Workspace, progress: Progress, executor: Executor | None) -> Solver:
    announce = announcer(job.graph, progress)
    return Solver(job, workspace, cache=job.cache(workspace), executor=executor, progress=progress, announce=announce)


def _solve(solver: Solver, job: Job, progress: Progress, executor: Executor | None) -> Mapping[int, Result]:
    announce_cached(job.graph, solver.at_work, announcer(job.graph, progress), progress)
    try:
        return solver.run()
    except StepFailed:
        if executor is not None:
            executor.look_into(compression=job.compression, now=job.now)
        raise


class _Told:
    """Progress that the parent shows."""

    def __init__(self, tell: Callable[[object], None]) -> None:
        self._tell = tell

    def emit(self, event: Event) -> None:
        """Take one event."""
        self._tell(event)


def _make_inside(job: Job, workspace: Workspace, progress: Progress) -> Mapping[int, Result]:
    from pybuild.builder.sandbox.inside import inside

    def work(tell: Callable[[object], None]) -> Mapping[int, Result]:
        serial = OneAtATime(_Told(tell))
        with Workspace.open(workspace.store.root) as own, contextlib.closing(_executor(job, own)) as executor:
            return _solve(_solver(job, own, serial, executor), job, serial, executor)

    def show(event: object) -> None:
        progress.emit(event)  # type: ignore[arg-type]

    def warn(reason: str) -> None:
        progress.emit(Notice(f"RUN has no id but root's: a file can be given to nobody else. {reason}"))

    with workspace.apart():
        return inside(work, listen=show, on_one_id=warn, store=workspace.store.root)
