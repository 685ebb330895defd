"""What one line of a stage can see: its variables, and the config as the lines above it left it. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pybuild.builder.errors import PlanError
from pybuild.builder.graph import Pairs
from pybuild.builder.planning.wanted import Options
from pybuild.grammar import DockerfileError, Source, Span, WordError, expand
from pybuild.grammar.instructions import Word
from pybuild.registry import RunConfig
from pybuild.values import frozen, replace


class State:
    """A stage at one of its lines; its handlers change it, once nothing can go wrong with their line any more.

    `variables` is what words expand to and RUN sees: the last ENV or ARG of a name says what it is, as in BuildKit; a stage that
    begins lets ENV have its way again. `arguments` are those declared, None without a value. The config's longer parts lie in
    mappings beside it, so that a line costs what it says and not what all lines above it said. `last` is the step stood on.
    """

    __slots__ = (
        *("_pairs", "arguments", "author", "config", "env", "has_cmd", "labels", "last", "ports", "triggers", "variables"),
        "volumes",
    )

    def __init__(self, config: RunConfig, author: str | None, last: int) -> None:
        self.config = config
        self.author = author
        self.last = last
        self.env = config.environment
        self.labels = dict(config.labels)
        self.ports = dict.fromkeys(config.exposed_ports)
        self.volumes = dict.fromkeys(config.volumes)
        self.triggers = list(config.on_build)
        self.arguments: dict[str, str | None] = {}
        self.variables = dict(self.env)
        self.has_cmd = False
        self._pairs: Pairs | None = None

    def fork(self) -> State:
        """The same for a stage that is built on this one. Triggers fire once, so they do not go along."""
        other = State(replace(self.finished(), on_build=()), self.author, self.last)
        other.arguments = dict(self.arguments)
        other.variables = self.variables | self.env
        return other

    def configured(self, **changes: object) -> None:
        """Set other values in the config."""
        self.config = replace(self.config, **changes)

    def set_env(self, pairs: Pairs) -> None:
        """Take in what an ENV says."""
        for name, value in pairs:
            self.env[name] = self.variables[name] = value
        self._pairs = None

    def set_argument(self, name: str, value: str | None) -> None:
        """Take in what an ARG says. A name keeps its first place, which the history shows."""
        self.arguments[name] = value
        if value is not None:
            self.variables[name] = value
            self._pairs = None

    @property
    def environment(self) -> Pairs:
        """The variables as RUN has them; one value for all RUNs between two changes."""
        if self._pairs is None:
            self._pairs = tuple(self.variables.items())
        return self._pairs

    def finished(self) -> RunConfig:
        """The whole config."""
        return replace(
            self.config,
            env=tuple(f"{name}={value}" for name, value in self.env.items()),
            labels=tuple(self.labels.items()),
            exposed_ports=tuple(self.ports),
            volumes=tuple(self.volumes),
            on_build=tuple(self.triggers),
        )


@frozen
class Scope:
    """What all lines of a file share."""

    source: Source
    escape: str
    options: Options
    global_args: Mapping[str, str]
    build_args: Mapping[str, str]

    def expand(self, word: Word, variables: Mapping[str, str]) -> str:
        """A word with its variables replaced. Raises DockerfileError with the word's place."""
        try:
            return expand(word.text, variables, escape=self.escape)
        except WordError as error:
            raise self.located(error, word.span) from error

    def unset(self, word: Word, variables: Mapping[str, str]) -> tuple[str, ...]:
        """The variables of a word that have no value."""
        watched = _Watched(variables)
        self.expand(word, watched)
        return tuple(watched.missing)

    def located(self, error: DockerfileError, span: Span) -> DockerfileError:
        """An error inside a word, with its place in the file: that of the word if it was not written as it is, as in JSON."""
        word, inside = error.source.text if error.source else "", error.span
        if span.line == span.end_line and span.end_column - span.column == len(word):
            before = span.column - 1
            span = Span(span.line, before + inside.column, span.line, before + min(inside.end_column, len(word) + 1))
        return DockerfileError(error.message, span=span, source=self.source, hint=error.hint)

    def wrong(self, message: str, span: Span, hint: str | None = None) -> PlanError:
        """An error about a place in the file."""
        return PlanError(message, span=span, source=self.source, hint=hint)


class _Watched(Mapping[str, str]):
    """Variables that keep in mind which ones were asked for and are not there."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self.missing: dict[str, None] = {}

    def __getitem__(self, name: str) -> str:
        if name not in self._variables:
            self.missing.setdefault(name)
        return self._variables[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)
