"""What one line of a stage can see: its variables, and the config as the lines above it left it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from pybuild.builder.errors import NotSupported, PlanError
from pybuild.builder.graph import Pairs
from pybuild.grammar import DockerfileError, Source, Span, WordError, expand
from pybuild.grammar.instructions import Word
from pybuild.registry import Platform, RunConfig
from pybuild.registry.values import frozen, replace

# Build arguments that need no ARG: they reach RUN, and stay out of history and cache keys.
PROXIES = frozenset(
    name for plain in ("HTTP_PROXY", "HTTPS_PROXY", "FTP_PROXY", "NO_PROXY", "ALL_PROXY") for name in (plain, plain.lower())
)
# Arguments of other builders, which mean nothing here and are no mistake either.
_FOREIGN = ("BUILDKIT_", "SOURCE_DATE_EPOCH")


@frozen
class Options:
    """What the user asks for, beside the Dockerfile. `folders` are the names of the build contexts that are folders."""

    platform: Platform
    build_args: Pairs = ()
    target: str | None = None
    folders: tuple[str, ...] = ()
    labels: Pairs = ()
    network: str = "default"


@frozen
class State:
    """A stage at one of its lines. `last` is the step that it stands on; an argument without a value is None."""

    config: RunConfig
    author: str | None
    last: int
    arguments: tuple[tuple[str, str | None], ...] = ()
    has_cmd: bool = False

    @property
    def variables(self) -> dict[str, str]:
        """What words expand to: ENV always beats an ARG of the same name."""
        return {name: value for name, value in self.arguments if value is not None} | self.config.environment

    def configured(self, **changes: object) -> State:
        """The state with other values in its config."""
        return replace(self, config=replace(self.config, **changes))


@frozen
class Scope:
    """What all lines of a file share."""

    source: Source
    escape: str
    options: Options
    global_args: Mapping[str, str]

    @property
    def build_args(self) -> dict[str, str]:
        """The values of --build-arg."""
        return dict(self.options.build_args)

    def expand(self, word: Word, variables: Mapping[str, str]) -> str:
        """A word with its variables replaced. Raises DockerfileError with the word's place."""
        try:
            return expand(word.text, variables, escape=self.escape)
        except WordError as error:
            raise self.located(error, word.span) from error

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

    def unsupported(self, what: str, span: Span, hint: str | None = None) -> NotSupported:
        """The error for what pybuild does not have yet."""
        hint = hint or "leave it out, or build this file with buildah or docker for now"
        return NotSupported(f"{what} is not supported yet", span=span, source=self.source, hint=hint)


def platform_args(target: Platform, build: Platform, stage: str) -> dict[str, str]:
    """The arguments that every build has: what it is for, and what it runs on."""
    found = {"TARGETSTAGE": stage}
    for prefix, platform in (("TARGET", target), ("BUILD", build)):
        found[f"{prefix}PLATFORM"] = str(platform)
        found[f"{prefix}OS"] = platform.os
        found[f"{prefix}ARCH"] = platform.architecture
        found[f"{prefix}VARIANT"] = platform.variant or ""
    return found


def is_known_argument(name: str) -> bool:
    """Whether --build-arg may name this without an ARG that declares it."""
    return name in PROXIES or name.startswith(_FOREIGN)
