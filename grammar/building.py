"""The tree of one line to its instruction: typed values, and the errors that need more than the order of tokens. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable

from pybuild.grammar import instructions as ast
from pybuild.grammar.durations import nanoseconds
from pybuild.grammar.errors import DockerfileError, WordError
from pybuild.grammar.flags import read_flags
from pybuild.grammar.heredocs import HeredocName, heredoc_name, without_tabs
from pybuild.grammar.instructions import Command, Flag, Heredoc, Instruction, Word
from pybuild.grammar.lalr import Token, Tree
from pybuild.grammar.lexer import LineLexer
from pybuild.grammar.source import Span
from pybuild.hints import cast

_STAGE_NAME = re.compile(r"[a-z][a-z0-9_.-]*")
USAGE = {
    "ADD": "ADD SOURCE... DESTINATION",
    "ARG": "ARG NAME[=VALUE]",
    "COPY": "COPY SOURCE... DESTINATION",
    "ENV": "ENV NAME=VALUE ...",
    "EXPOSE": "EXPOSE PORT[/PROTOCOL] ...",
    "FROM": "FROM IMAGE [AS NAME]",
    "HEALTHCHECK": "HEALTHCHECK CMD COMMAND, or HEALTHCHECK NONE",
    "LABEL": "LABEL NAME=VALUE ...",
    "MAINTAINER": "MAINTAINER NAME",
    "STOPSIGNAL": "STOPSIGNAL SIGNAL",
    "USER": "USER NAME[:GROUP]",
    "VOLUME": "VOLUME PATH ...",
    "WORKDIR": "WORKDIR PATH",
}

Common = tuple[str, str, Span, tuple[Flag, ...], str, tuple[str, ...], bool, tuple[Heredoc, ...], int, int]


def usage(keyword: str) -> str | None:
    """How an instruction is written, as a hint."""
    return f"write {USAGE[keyword]}" if keyword in USAGE else None


def build(lexer: LineLexer, tree: Tree[Token]) -> Instruction:
    """The instruction of a tree. Raises DockerfileError."""
    tokens = [child for child in tree.children[1:] if isinstance(child, Token) and child.type != "END"]
    builder = _Builder(lexer)
    return _BUILDERS[str(tree.data)](builder, common(lexer), tokens)


def common(lexer: LineLexer) -> Common:
    """What all instructions have. Raises DockerfileError for a wrong flag."""
    line, head = lexer.line, lexer.head
    span = line.span(head.start, head.end)
    split = lexer.text[head.rest : head.end], tuple(lexer.args), lexer.json is not None
    return lexer.keyword, lexer.original, span, read_flags(lexer), *split, line.heredocs, line.first_line, line.last_line


class _Builder:
    def __init__(self, lexer: LineLexer) -> None:
        self.lexer = lexer
        self._line = lexer.line

    def word(self, token: Token) -> Word:
        return Word(str(token), self._span(token))

    def _span(self, token: Token) -> Span:
        return self._line.span(cast(int, token.start_pos), cast(int, token.end_pos))

    def words(self, tokens: list[Token]) -> tuple[Word, ...]:
        if tokens and tokens[0].type == "JSON":
            span = self._span(tokens[0])
            return tuple(Word(text, span) for text in self.lexer.json or ())
        return tuple(self.word(token) for token in tokens)

    def command(self, tokens: list[Token]) -> Command:
        if not tokens:
            return Command((), False, self._line.span(self.lexer.end, self.lexer.end))
        if tokens[0].type == "JSON":
            return Command(self.lexer.json or (), True, self._span(tokens[0]))
        return Command((str(tokens[0]),), False, self._span(tokens[0]))

    def wrong(self, message: str, span: Span, hint: str | None = None) -> DockerfileError:
        return DockerfileError(message, span=span, source=self.lexer.source, hint=hint)


def _from(builder: _Builder, common: Common, tokens: list[Token]) -> Instruction:
    words = [builder.word(token) for token in tokens]
    joint, name = words[1:] or (None, None)
    if name is not None and not _STAGE_NAME.fullmatch(name.text.lower()):
        raise builder.wrong(f"not a name for a stage: {name.text}", name.span, "a letter, then letters, digits, '-', '_' and '.'")
    return ast.From(*common, words[0], name, joint)


def _arg(builder: _Builder, common: Common, tokens: list[Token]) -> Instruction:
    found: list[ast.Definition] = []
    for place, token in enumerate(tokens):
        if token.type == "NAME":
            word = builder.word(token)
            if not word.text and tokens[place + 1 : place + 2]:
                raise builder.wrong("ARG without a name", word.span, "write ARG NAME=VALUE")
            found.append(ast.Definition(word.text, None, word.span))
        elif token.type == "WORD":
            last = found.pop()
            found.append(ast.Definition(last.name, builder.word(token), last.span))
    return ast.Arg(*common, tuple(found))


def _pairs(builder: _Builder, common: Common, tokens: list[Token]) -> Instruction:
    words = [builder.word(token) for token in tokens if token.type != "EQUALS"]
    pairs = tuple(ast.Pair(name, value) for name, value in zip(words[::2], words[1::2], strict=True))
    for pair in pairs:
        if not pair.name.text:
            raise builder.wrong(f"{common[0]} with an empty name", pair.value.span, f"write {common[0]} NAME=VALUE")
    return ast.Pairs(*common, pairs, tokens[0].type == "LEGACY")


def _copy(builder: _Builder, common: Common, tokens: list[Token]) -> Instruction:
    words = builder.words(tokens)
    if len(words) < 2:
        raise builder.wrong(f"{common[0]} needs a source and a destination", common[2], usage(common[0]))
    *sources, destination = words
    if _named(destination):
        raise builder.wrong(f"{common[0]} with a here-document for its destination", destination.span, "name a path")
    bodies = {heredoc.name: heredoc for heredoc in common[7]}
    plain: list[Word] = []
    heredocs: list[Heredoc] = []
    for word in sources:
        named = _named(word)
        if named is None:
            plain.append(word)
        else:
            raw = bodies[named.name].raw if named.name in bodies else ""
            content = without_tabs(raw) if named.chomp else raw
            heredocs.append(Heredoc(named.name, content, named.expand, named.chomp, word.span, raw))
    return ast.Copy(*common, tuple(plain), destination, tuple(heredocs))


def _named(word: Word) -> HeredocName | None:
    """The here-document that a word names. Here, unlike in the line, one that cannot be read is a path."""
    if "<<" not in word.text:
        return None
    try:
        return heredoc_name(word.text)
    except WordError:
        return None


def _run(builder: _Builder, common: Common, tokens: list[Token]) -> Instruction:
    for heredoc in common[7]:
        if "\0" in heredoc.raw:
            raise builder.wrong("a here-document of RUN with a NUL character", heredoc.span, "remove it: no command can have one")
    return ast.Run(*common, builder.command(tokens), common[7])


def _command(builder: _Builder, common: Common, tokens: list[Token]) -> Instruction:
    command = builder.command(tokens)
    if common[0] == "SHELL" and not (command.is_json and command.words):
        raise builder.wrong("SHELL takes the JSON form", command.span, 'write SHELL ["/bin/bash", "-c"]')
    return ast.Start(*common, command)


def _words(builder: _Builder, common: Common, tokens: list[Token]) -> Instruction:
    words = builder.words(tokens)
    if not words:
        raise builder.wrong(f"{common[0]} with nothing behind it", common[2], usage(common[0]))
    if common[0] == "VOLUME":
        for word in words:
            if not word.text.strip():
                raise builder.wrong("VOLUME with an empty path", word.span, "name a directory")
    return ast.Words(*common, words)


def _healthcheck(builder: _Builder, common: Common, tokens: list[Token]) -> Instruction:
    kind, *rest = tokens
    command = builder.command(rest)
    match kind.upper():
        case "NONE":
            if command.words:
                raise builder.wrong("HEALTHCHECK NONE with a command", command.span, "write CMD COMMAND, or NONE alone")
            return ast.Healthcheck(*common, None, 0, 0, 0, 0, 0)
        case "CMD":
            if not command.words:
                raise builder.wrong("HEALTHCHECK CMD without a command", common[2], usage("HEALTHCHECK"))
        case _:
            message = f"unknown kind of HEALTHCHECK: {kind}"
            raise builder.wrong(message, builder.word(kind).span, "write CMD COMMAND, or NONE")
    flags = {flag.name: flag for flag in common[3]}
    interval, timeout, period, first = (
        _time(builder, flags.get(name)) for name in ("interval", "timeout", "start-period", "start-interval")
    )
    retries = _retries(builder, flags.get("retries"))
    return ast.Healthcheck(*common, command, interval, timeout, period, first, retries)


def _time(builder: _Builder, flag: Flag | None) -> int:
    if flag is None or flag.value is None or not flag.value.text:
        return 0
    try:
        time = nanoseconds(flag.value.text)
    except ValueError as error:
        raise builder.wrong(f"--{flag.name}: {error}", flag.value.span, "write it as 30s, 1m30s or 500ms") from None
    if time and time < 1_000_000:
        raise builder.wrong(f"--{flag.name} is shorter than a millisecond", flag.value.span, "write at least 1ms, or 0")
    return time


def _retries(builder: _Builder, flag: Flag | None) -> int:
    if flag is None or flag.value is None or not flag.value.text:
        return 0
    text = flag.value.text
    digits = text[1:] if text[0] in "+-" else text
    if not digits or digits.strip("0123456789") or len(digits) > 4000 or int(text) >= 1 << 31 or int(text) < 0:
        raise builder.wrong(f"--retries: not a number of times: {text!r}", flag.value.span, "write it as --retries=3")
    return int(text)


_BUILDERS: dict[str, Callable[[_Builder, Common, list[Token]], Instruction]] = {
    "arg": _arg,
    "command": _command,
    "copy": _copy,
    "from": _from,
    "healthcheck": _healthcheck,
    "pairs": _pairs,
    "run": _run,
    "words": _words,
}
