"""The parsed Dockerfile: one frozen class for each instruction, every part with its place in the text.

Words are kept as they were written; variables are expanded when a build is planned.
"""

from __future__ import annotations

from pybuild.grammar.source import Source, Span
from pybuild.values import frozen


@frozen
class Word:
    """One raw word: quotes, escapes and variables still in it."""

    text: str
    span: Span


@frozen
class Flag:
    """`--name=value`, or `--name`, whose value is None.

    The value is without quotes and escapes, which flags lose before anything is expanded; `text` is what is written.
    """

    name: str
    value: Word | None
    span: Span
    text: str


@frozen
class Heredoc:
    """A here-document: `expand` unless its name was quoted, `chomp` for `<<-`.

    `content` is what it means, without the tabs that `<<-` drops; `raw` is what is written.
    """

    name: str
    content: str
    expand: bool
    chomp: bool
    span: Span
    raw: str


@frozen
class Command:
    """What RUN, CMD, ENTRYPOINT and SHELL take: the JSON form is the words, the shell form is one text."""

    words: tuple[str, ...]
    is_json: bool
    span: Span


@frozen
class Pair:
    """`name=value` of ENV and LABEL."""

    name: Word
    value: Word


@frozen
class Instruction:
    """What all instructions have: `keyword` in upper case, `original` as written with continuations joined.

    `args` are the raw words as the language splits them, in order; those of the JSON form are its texts. `rest` is what they
    are split from, all that stands behind the flags. `bodies` are the here-documents behind the line, whatever is made of them.
    `first_line` and `last_line` are those of the file, bodies included.
    """

    keyword: str
    original: str
    span: Span
    flags: tuple[Flag, ...]
    rest: str
    args: tuple[str, ...]
    is_json: bool
    bodies: tuple[Heredoc, ...]
    first_line: int
    last_line: int

    def flag(self, name: str) -> Flag | None:
        """The flag of this name, if it was given."""
        return next((flag for flag in self.flags if flag.name == name), None)


@frozen
class From(Instruction):
    """FROM image [AS name]; `joint` is the AS as it is written."""

    image: Word
    name: Word | None
    joint: Word | None


@frozen
class Definition:
    """`name` or `name=value` of ARG."""

    name: str
    value: Word | None
    span: Span


@frozen
class Arg(Instruction):
    """ARG name[=value]..."""

    definitions: tuple[Definition, ...]


@frozen
class Pairs(Instruction):
    """ENV and LABEL; `is_legacy` for the form without `=`."""

    pairs: tuple[Pair, ...]
    is_legacy: bool


@frozen
class Copy(Instruction):
    """ADD and COPY. A source may be a here-document's name; then it is in `heredocs`, not in `sources`.

    In the JSON form such a name has no body: it is an empty file.
    """

    sources: tuple[Word, ...]
    destination: Word
    heredocs: tuple[Heredoc, ...]


@frozen
class Run(Instruction):
    """RUN"""

    command: Command
    heredocs: tuple[Heredoc, ...]


@frozen
class Start(Instruction):
    """CMD, ENTRYPOINT and SHELL"""

    command: Command


@frozen
class Words(Instruction):
    """EXPOSE, VOLUME, WORKDIR, USER, STOPSIGNAL, MAINTAINER: words and nothing else.

    WORKDIR, USER, STOPSIGNAL and MAINTAINER have exactly one, the rest of the line.
    """

    words: tuple[Word, ...]


@frozen
class Healthcheck(Instruction):
    """HEALTHCHECK; `command` is None for NONE. Durations are nanoseconds; 0 is the default of whoever runs the image."""

    command: Command | None
    interval: int
    timeout: int
    start_period: int
    start_interval: int
    retries: int


@frozen
class OnBuild(Instruction):
    """ONBUILD and the instruction behind it; `text` is that instruction as written.

    `inner` is None when it is one that no build will be able to carry out: that is not this build's error.
    """

    inner: Instruction | None
    text: str


@frozen
class Stage:
    """FROM and what follows up to the next one."""

    index: int
    start: From
    instructions: tuple[Instruction, ...]

    @property
    def name(self) -> str:
        """The name behind AS in lower case, else the index."""
        return self.start.name.text.lower() if self.start.name else str(self.index)


@frozen
class Notice:
    """Something that is no error, and that the user had better know."""

    message: str
    hint: str
    span: Span

    def on(self, source: Source) -> str:
        """It, in one line, with its place."""
        return f"{source.name}:{self.span.line}: {self.message}; {self.hint}"


@frozen
class Dockerfile:
    """A whole file: directives, the ARGs before the first FROM, the stages, and what is worth a warning."""

    source: Source
    directives: tuple[tuple[str, str], ...]
    arguments: tuple[Arg, ...]
    stages: tuple[Stage, ...]
    notices: tuple[Notice, ...]

    @property
    def instructions(self) -> tuple[Instruction, ...]:
        """All instructions in the order of the text."""
        staged = (instruction for stage in self.stages for instruction in (stage.start, *stage.instructions))
        return (*self.arguments, *staged)

    @property
    def escape(self) -> str:
        """The escape character: a backslash unless a directive says so."""
        return dict(self.directives).get("escape", "\\")
