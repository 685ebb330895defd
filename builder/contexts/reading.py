"""What the steps of a build read from outside of the graph, as digests for their keys: contexts, URLs, repositories."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from pybuild.builder.contexts.context import Context, choice_of
from pybuild.builder.contexts.together import together
from pybuild.builder.errors import BuildError
from pybuild.builder.graph import BuildGraph, CopyStep, GitStep, HttpStep, RunStep, Step
from pybuild.builder.workspace import Workspace
from pybuild.grammar import Source
from pybuild.hints import TYPE_CHECKING

if TYPE_CHECKING:
    from pybuild.builder.remote.fetching import Remotes


class Reading:
    """Digests of what is read, each found out once. `note` is told of each: the step, what it reads from, the digest.

    `remotes` is asked for, if anything is fetched.
    """

    def __init__(
        self,
        graph: BuildGraph,
        source: Source,
        contexts: Mapping[str, Context],
        workspace: Workspace,
        note: Callable[[Step, str, str], None],
        remotes: Callable[[], Remotes],
    ) -> None:
        self._graph = graph
        self._source = source
        self._contexts = contexts
        self._workspace = workspace
        self._note = note
        self._known: dict[tuple[int, str], str] = {}
        self.remotes = remotes() if any(isinstance(step, HttpStep | GitStep) for step in graph.steps) else None

    def ahead(self, jobs: int) -> None:
        """Ask for all that is fetched, several at a time. Raises BuildError and RegistryError."""
        steps = [step for step in self._graph.steps if isinstance(step, HttpStep | GitStep)]
        together([partial(self.digest, step, "") for step in steps], jobs=jobs)

    def digest(self, step: Step, origin: str) -> str:
        """What a step reads out of the context of a name; of what is fetched, all, and the name does not count.

        Raises BuildError and RegistryError, with the step's line.
        """
        if (id(step), origin) not in self._known:
            try:
                digest = self._look(step, origin)
            except BuildError as error:
                if error.span is None:
                    error.span, error.source = step.span, self._source
                raise
            self._note(step, step.name if isinstance(step, HttpStep | GitStep) else origin, digest)
            self._known[id(step), origin] = digest
        return self._known[id(step), origin]

    def _look(self, step: Step, origin: str) -> str:
        if isinstance(step, HttpStep | GitStep):
            assert self.remotes is not None
            return self.remotes.digest(step)
        assert isinstance(step, CopyStep | RunStep)
        return self._contexts[origin].digest(choice_of(step, origin), self._workspace.database)
