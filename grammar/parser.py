"""The text of a Dockerfile to its instructions: a pass over lines, a lexer, and a small LALR grammar. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import cast

from pybuild.grammar import instructions as ast
from pybuild.grammar.errors import DockerfileError, together
from pybuild.grammar.instructions import Command, Dockerfile, Flag, Heredoc, Instruction, Word
from pybuild.grammar.lalr import Grammar, Token, Tree, UnexpectedToken
from pybuild.grammar.lexer import LineLexer
from pybuild.grammar.lines import Line, split_lines
from pybuild.grammar.source import Source, Span

FLAGS: dict[str, tuple[str, ...]] = {
    "ADD": ("chown", "chmod", "link", "checksum", "keep-git-dir", "unpack", "exclude"),
    "COPY": ("from", "chown", "chmod", "link", "parents", "exclude"),
    "FROM": ("platform",),
    "HEALTHCHECK": ("interval", "timeout", "start-period", "start-interval", "retries"),
    "RUN": ("mount", "network", "security", "device"),
}
_BOOLEAN = ("link", "parents", "keep-git-dir", "unpack")
_REPEATED = ("exclude", "mount", "device")
_BEGIN = "begin with FROM IMAGE, or FROM scratch"
# A file that is no Dockerfile has one in every line.
_MOST_ERRORS = 20
_STAGE_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
_SURROGATES = re.compile("[\ud800-\udfff]")
_USAGE = {
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


def parse(source: Source) -> Dockerfile:
    """The instructions of a Dockerfile. Raises DockerfileError: the first place that is wrong, and the others behind it."""
    lines = split_lines(source)
    errors: list[DockerfileError] = list(lines.errors)
    arguments: list[ast.Arg] = []
    stages: list[ast.Stage] = []
    current: list[Instruction] = []
    start: ast.From | None = None
    for line in lines.lines:
        if len(errors) >= _MOST_ERRORS:
            break
        try:
            instruction = _instruction(source, line, lines.escape)
        except DockerfileError as error:
            errors.append(error)
            continue
        if isinstance(instruction, ast.From):
            if start is not None:
                stages.append(ast.Stage(len(stages), start, tuple(current)))
            start, current = instruction, []
        elif start is not None:
            current.append(instruction)
        elif isinstance(instruction, ast.Arg):
            arguments.append(instruction)
        elif not errors:
            # Behind another error this would be about a FROM that is there, and misspelt.
            errors.append(_outside(source, instruction))
    if errors:
        raise together(sorted(errors, key=lambda error: error.span))
    if start is None:
        raise DockerfileError("there is no FROM", span=Span(1, 1, 1, 1), source=source, hint=_BEGIN)
    stages.append(ast.Stage(len(stages), start, tuple(current)))
    return Dockerfile(source, lines.directives, tuple(arguments), tuple(stages))


def _outside(source: Source, instruction: Instruction) -> DockerfileError:
    message = f"{instruction.keyword} before the first FROM"
    return DockerfileError(message, span=instruction.span, source=source, hint=f"{_BEGIN}; only ARG may stand before it")


@cache
def _grammar() -> Grammar:
    return Grammar("dockerfile.lark", lambda lexer: cast(LineLexer, lexer).tokens())


def _instruction(source: Source, line: Line, escape: str) -> Instruction:
    lexer = LineLexer(source, line, escape)
    try:
        tree = _grammar().parse(lexer)
    except UnexpectedToken as error:
        raise _misfit(lexer, error.token) from None
    found = cast("Tree[Token]", tree.children[0])
    return _Builder(lexer).build(found)


def _misfit(lexer: LineLexer, token: Token) -> DockerfileError:
    words = lexer.text.split()
    keyword = next((word.upper() for word in words if word.upper() != "ONBUILD"), "ONBUILD")
    start, end = cast(int, token.start_pos), cast(int, token.end_pos)
    if token.type == "END":
        head = lexer.text.upper().find(keyword)
        what = "an unfinished instruction" if len(words) > 1 else f"{keyword} with nothing behind it"
        start, end = head, head + len(keyword)
        return lexer.wrong(f"{keyword}: {what}" if len(words) > 1 else what, start, end, _usage(keyword))
    return lexer.wrong(f"{keyword}: unexpected {token!s}", start, end, _usage(keyword))


def _usage(keyword: str) -> str | None:
    return f"write {_USAGE[keyword]}" if keyword in _USAGE else None


class _Builder:
    """One line's tree to its instruction."""

    def __init__(self, lexer: LineLexer) -> None:
        self._lexer = lexer
        self._line = lexer.line

    def build(self, tree: Tree[Token]) -> Instruction:
        head = cast(Token, tree.children[0])
        rest = [
            child for child in tree.children[1:] if child is not None and not (isinstance(child, Token) and child.type == "END")
        ]
        if tree.data == "onbuild":
            inner = self.build(cast("Tree[Token]", rest[0]))
            bodies = "".join(f"\n{heredoc.content}{heredoc.name}" for heredoc in self._line.heredocs)
            return ast.OnBuild(*self._common(head, ()), inner, inner.original + bodies)
        flags: list[Flag] = []
        for child in rest:
            if isinstance(child, Tree):
                flags.append(self._flag(cast(Token, child.children[0]), head, flags))
        tokens = [child for child in rest if isinstance(child, Token)]
        common = self._common(head, tuple(flags))
        return _BUILDERS[str(tree.data)](self, common, tokens)

    def _common(self, head: Token, flags: tuple[Flag, ...]) -> tuple[str, str, Span, tuple[Flag, ...]]:
        start = cast(int, head.start_pos)
        end = len(self._lexer.text.rstrip())
        return head.type, self._lexer.text[start:end], self._line.span(start, end), flags

    def _flag(self, token: Token, head: Token, before: list[Flag]) -> Flag:
        start, end = cast(int, token.start_pos), cast(int, token.end_pos)
        name, equals, value = token[2:].partition("=")
        known = FLAGS.get(head.type, ())
        if name not in known:
            from difflib import get_close_matches

            close = get_close_matches(name, known, 1)
            hint = f"did you mean --{close[0]}?" if close else None
            if hint is None:
                hint = f"{head.type} has {', '.join(f'--{flag}' for flag in known)}" if known else f"{head.type} has no flags"
            raise self._lexer.wrong(f"{head.type} has no flag --{name}", start, end, hint)
        if name not in _REPEATED and any(flag.name == name for flag in before):
            raise self._lexer.wrong(f"--{name} twice", start, end, "remove one of them")
        if name in _BOOLEAN:
            if equals and value.lower() not in ("true", "false"):
                raise self._lexer.wrong(f"--{name} is true or false, not {value!r}", start, end, f"write --{name}")
        elif not equals:
            raise self._lexer.wrong(f"--{name} without a value", start, end, f"write --{name}=VALUE")
        word = self._word(value, end - len(value), end) if equals else None
        return Flag(name, word, self._line.span(start, end))

    def _word(self, text: str, start: int, end: int) -> Word:
        return Word(text, self._line.span(start, end))

    def word(self, token: Token) -> Word:
        return self._word(str(token), cast(int, token.start_pos), cast(int, token.end_pos))

    def words(self, tokens: list[Token]) -> tuple[Word, ...]:
        found: list[Word] = []
        for token in tokens:
            if token.type == "JSON":
                found += [self._word(text, cast(int, token.start_pos), cast(int, token.end_pos)) for text in _json(token)]
            else:
                found.append(self.word(token))
        return tuple(found)

    def command(self, tokens: list[Token]) -> Command:
        if not tokens:
            end = len(self._lexer.text)
            return Command((), False, self._line.span(end, end))
        token = tokens[0]
        span = self._line.span(cast(int, token.start_pos), cast(int, token.end_pos))
        if token.type == "JSON":
            return Command(_json(token), True, span)
        return Command((str(token),), False, span)

    def heredocs(self, tokens: list[Token]) -> tuple[Heredoc, ...]:
        return self._line.heredocs if any(token.type == "HEREDOC" for token in tokens) else ()

    def wrong(self, message: str, span: Span, hint: str | None = None) -> DockerfileError:
        return DockerfileError(message, span=span, source=self._lexer.source, hint=hint)


def _json(token: Token) -> tuple[str, ...]:
    # Half of a surrogate pair is no character: Go reads U+FFFD, and so do we.
    return tuple(_SURROGATES.sub("\ufffd", text) for text in json.loads(token))


_Common = tuple[str, str, Span, tuple[Flag, ...]]


def _from(builder: _Builder, common: _Common, tokens: list[Token]) -> Instruction:
    words = [builder.word(token) for token in tokens if token.type == "WORD"]
    name = words[1] if len(words) > 1 else None
    if name is not None and not _STAGE_NAME.fullmatch(name.text):
        raise builder.wrong(f"not a name for a stage: {name.text}", name.span, "a letter, then letters, digits, '-', '_' and '.'")
    return ast.From(*common, words[0], name)


def _arg(builder: _Builder, common: _Common, tokens: list[Token]) -> Instruction:
    found: list[ast.Definition] = []
    for token in tokens:
        if token.type == "NAME":
            word = builder.word(token)
            if not word.text:
                raise builder.wrong("ARG without a name", word.span, "write ARG NAME=VALUE")
            found.append(ast.Definition(word.text, None, word.span))
        elif token.type == "WORD":
            last = found.pop()
            found.append(ast.Definition(last.name, builder.word(token), last.span))
    return ast.Arg(*common, tuple(found))


def _pairs(builder: _Builder, common: _Common, tokens: list[Token]) -> Instruction:
    words = [builder.word(token) for token in tokens if token.type in ("NAME", "LEGACY", "WORD")]
    pairs = tuple(ast.Pair(name, value) for name, value in zip(words[::2], words[1::2], strict=True))
    for pair in pairs:
        if not pair.name.text:
            raise builder.wrong(f"{common[0]} with an empty name", pair.value.span, f"write {common[0]} NAME=VALUE")
    return ast.Pairs(*common, pairs, tokens[0].type == "LEGACY")


def _copy(builder: _Builder, common: _Common, tokens: list[Token]) -> Instruction:
    words = builder.words([token for token in tokens if token.type != "HEREDOC"])
    heredocs = builder.heredocs(tokens)
    if tokens[-1].type == "HEREDOC":
        raise builder.wrong(f"{common[0]} with a here-document for its destination", builder.word(tokens[-1]).span, "name a path")
    if len(words) + len(heredocs) < 2:
        raise builder.wrong(f"{common[0]} needs a source and a destination", common[2], _usage(common[0]))
    return ast.Copy(*common, words[:-1], words[-1], heredocs)


def _run(builder: _Builder, common: _Common, tokens: list[Token]) -> Instruction:
    command = builder.command([token for token in tokens if token.type != "HEREDOC"])
    return ast.Run(*common, command, builder.heredocs(tokens))


def _command(builder: _Builder, common: _Common, tokens: list[Token]) -> Instruction:
    command = builder.command(tokens)
    if common[0] == "SHELL" and not (command.is_json and command.words):
        raise builder.wrong("SHELL takes the JSON form", command.span, 'write SHELL ["/bin/bash", "-c"]')
    return ast.Start(*common, command)


def _words(builder: _Builder, common: _Common, tokens: list[Token]) -> Instruction:
    words = builder.words(tokens)
    if not words:
        raise builder.wrong(f"{common[0]} with nothing behind it", common[2], _usage(common[0]))
    return ast.Words(*common, words)


def _healthcheck(builder: _Builder, common: _Common, tokens: list[Token]) -> Instruction:
    if tokens[0].type == "NONE":
        return ast.Healthcheck(*common, None)
    command = builder.command(tokens[1:])
    if not command.words:
        raise builder.wrong("HEALTHCHECK CMD without a command", common[2], _usage("HEALTHCHECK"))
    return ast.Healthcheck(*common, command)


_BUILDERS: dict[str, Callable[[_Builder, _Common, list[Token]], Instruction]] = {
    "arg": _arg,
    "command": _command,
    "copy": _copy,
    "from": _from,
    "healthcheck": _healthcheck,
    "pairs": _pairs,
    "run": _run,
    "words": _words,
}
