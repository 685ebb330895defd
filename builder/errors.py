"""Everything that can go wrong with a build.

BuildError
├── PlanError             the Dockerfile means something impossible; carries its place
│   └── NotSupported      an instruction or flag that pybuild does not have yet
├── LintFailed            the Dockerfile breaks rules that it wants to be kept
├── ContextError          the build context: missing, unreadable, changed while read
├── RemoteError           a URL or a git repository that cannot be had, or is not what it has to be
├── CopyError             a COPY or ADD that cannot be done
├── LayerError            a layer that breaks the rules: links out of its root, damaged tar
├── StepFailed            a RUN ended with another code than 0; carries it
├── SandboxError          the sandbox could not be set up
│   ├── SandboxRefused    this place does not allow it; nothing has been run
│   └── NetworkRefused    it could have no network of its own
├── ExportError           the result could not be written where it was asked for
│   └── NoSuchExport      what is asked for makes no sense; nothing has been run
├── NotReproducible       two builds of the same gave different images
└── Interrupted           Ctrl-C
"""

from __future__ import annotations

from pybuild.grammar import Source, Span


class BuildError(Exception):
    """The root of the tree. `hint` says what to do next; a span, when known, is the instruction to blame.

    `others` are further errors, of any class, that have nothing to do with this one: whoever reports this one reports them too.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None, span: Span | None = None, source: Source | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.span = span
        self.source = source
        self.others: tuple[Exception, ...] = ()

    def __reduce__(self) -> tuple[object, ...]:
        # As it is, and not by calling the class: so it comes out of a process pool, too.
        import copyreg

        return copyreg.__newobj__, (type(self), *self.args), self.__dict__  # type: ignore[attr-defined]

    def __str__(self) -> str:
        if self.source is not None and self.span is not None:
            return self.source.show(self.message, self.span)
        return self.message


class PlanError(BuildError):
    """The Dockerfile parses, and means something impossible."""

    exit_code = 2


class NotSupported(PlanError):
    """An instruction or flag of the language that pybuild does not have yet."""


class LintFailed(BuildError):
    """The Dockerfile breaks rules of the linter, and says that it may not."""


class ContextError(BuildError):
    """The build context is missing, unreadable, or changed while it was read."""


class RemoteError(BuildError):
    """A URL or a git repository that cannot be had, or is not what it has to be."""


class CopyError(BuildError):
    """A COPY or ADD that cannot be done."""


class LayerError(BuildError):
    """A layer that breaks the rules of its format, or would reach out of its root."""


class StepFailed(BuildError):
    """A RUN that ended with `exit_code`."""

    def __init__(
        self, message: str, *, exit_code: int, output: str = "", span: Span | None = None, source: Source | None = None
    ) -> None:
        super().__init__(message, span=span, source=source)
        self.exit_code = exit_code
        self.output = output


class SandboxError(BuildError):
    """The sandbox could not be set up: no privilege, or a kernel that refuses."""

    exit_code = 125


class SandboxRefused(SandboxError):
    """This place does not allow what the sandbox is made of. Nothing has been run: it may be tried in another way."""


class NetworkRefused(SandboxError):
    """There is no network for a sandbox but the host's."""


class ExportError(BuildError):
    """The result could not be written where it was asked for."""


class NoSuchExport(ExportError):
    """A place for the result that is none: of an unknown type, without a path, or without a name. Nothing has been run."""

    exit_code = 2


class NotReproducible(BuildError):
    """Two builds of the same gave different images; the message says where they differ."""


class Interrupted(BuildError):
    """The user pressed Ctrl-C, or sent SIGTERM."""

    exit_code = 130
