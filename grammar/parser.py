"""The text of a Dockerfile to its instructions: a pass over lines, a lexer, and a small LALR grammar. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import cache

from pybuild.grammar import instructions as ast
from pybuild.grammar.blanks import SPACES
from pybuild.grammar.building import Common, build, common, usage
from pybuild.grammar.errors import DockerfileError, nearest, together
from pybuild.grammar.frontends import frontend_notice, other_form
from pybuild.grammar.instructions import Dockerfile, Instruction, Notice
from pybuild.grammar.lalr import Grammar, Token, Tree, UnexpectedToken
from pybuild.grammar.lexer import FORMS, LineLexer
from pybuild.grammar.lines import Splitter
from pybuild.grammar.source import Source, Span
from pybuild.hints import cast

_BEGIN = "begin with FROM IMAGE, or FROM scratch"
# A file that is no Dockerfile has one in every line.
_MOST_ERRORS = 20
_NOT_BEHIND_ONBUILD = ("ONBUILD", "FROM", "MAINTAINER")
_ONBUILD = re.compile(r"onbuild[\t\n\f\r ]*", re.IGNORECASE)


def parse(source: Source) -> Dockerfile:
    """The instructions of a Dockerfile. Raises DockerfileError: the first place that is wrong, and the others behind it."""
    lines = Splitter(source)
    errors: list[DockerfileError] = []
    notices: list[Notice] = []
    arguments: list[ast.Arg] = []
    stages: list[ast.Stage] = []
    current: list[Instruction] = []
    start: ast.From | None = None
    for line in lines.lines():
        if len(errors) >= _MOST_ERRORS:
            break
        try:
            instruction = _instruction(LineLexer(source, line, lines.escape), notices)
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
        elif not errors and not lines.errors:
            # Behind another error this would be about a FROM that is there, and misspelt.
            errors.append(_outside(source, instruction))
    errors += lines.errors
    if errors:
        raise _all(source, lines.directives, errors)
    if start is None:
        raise DockerfileError("there is no FROM", span=Span(1, 1, 1, 1), source=source, hint=_BEGIN)
    stages.append(ast.Stage(len(stages), start, tuple(current)))
    if notice := frontend_notice(source, lines.directives):
        notices.insert(0, notice)
    return Dockerfile(source, lines.directives, tuple(arguments), tuple(stages), tuple(notices))


def _all(source: Source, directives: tuple[tuple[str, str], ...], errors: list[DockerfileError]) -> DockerfileError:
    if name := other_form(source.text):
        hint = f"pybuild reads Dockerfiles; this is for the frontend {name}"
        return DockerfileError("this is no Dockerfile", span=Span(1, 1, 1, 1), source=source, hint=hint)
    first = together(sorted(errors, key=lambda error: error.span))
    if (notice := frontend_notice(source, directives)) is not None:
        first.hint = f"{first.hint or 'see the language'}; {notice.message}"
    return first


def parse_instruction(source: Source) -> Instruction:
    """The one instruction of a text, as ONBUILD keeps them. Raises DockerfileError."""
    splitter = Splitter(source)
    lines = list(splitter.lines())
    if splitter.errors:
        raise together(splitter.errors)
    if len(lines) != 1:
        message = "there is no instruction" if not lines else "more than one instruction"
        raise DockerfileError(message, span=Span(1, 1, 1, 1), source=source, hint="a trigger is one instruction")
    return _instruction(LineLexer(source, lines[0], splitter.escape), [])


def _outside(source: Source, instruction: Instruction) -> DockerfileError:
    message = f"{instruction.keyword} before the first FROM"
    return DockerfileError(message, span=instruction.span, source=source, hint=f"{_BEGIN}; only ARG may stand before it")


@cache
def _grammar() -> Grammar:
    return Grammar("dockerfile.lark", lambda tokens: cast("Iterable[Token]", tokens))


def _instruction(lexer: LineLexer, notices: list[Notice]) -> Instruction:
    if (place := lexer.text.find("\0")) >= 0:
        hint = "remove it: no path, variable or command can have one; is this a text file?"
        raise lexer.wrong("a NUL character", place, place + 1, hint)
    if lexer.keyword not in FORMS:
        raise _unknown(lexer)
    tokens = list(lexer.tokens())
    return _onbuild(lexer, notices) if lexer.keyword == "ONBUILD" else _built(lexer, tokens)


def _built(lexer: LineLexer, tokens: list[Token]) -> Instruction:
    try:
        tree = _grammar().parse(tokens)
    except UnexpectedToken as error:
        raise _misfit(lexer, error.token) from None
    return build(lexer, cast("Tree[Token]", tree.children[0]))


def _unknown(lexer: LineLexer) -> DockerfileError:
    head = lexer.head
    if not head.keyword:
        hint = "remove it: the line that it continues has nothing in it"
        return lexer.wrong("an escape character and no instruction", 0, len(lexer.text), hint)
    close = nearest(lexer.keyword, FORMS)
    hint = f"did you mean {close}?" if close else "a line starts with an instruction, such as RUN or COPY"
    return lexer.wrong(f"unknown instruction: {head.keyword}", head.start, head.start + len(head.keyword), hint)


def _misfit(lexer: LineLexer, token: Token) -> DockerfileError:
    keyword, head = lexer.keyword, lexer.head
    if token.type != "END":
        start, end = cast(int, token.start_pos), cast(int, token.end_pos)
        return lexer.wrong(f"{keyword}: unexpected {token!s}", start, end, usage(keyword))
    what = f"{keyword}: an unfinished instruction" if head.end > head.rest else f"{keyword} with nothing behind it"
    return lexer.wrong(what, head.start, head.start + len(head.keyword), usage(keyword))


def _onbuild(lexer: LineLexer, notices: list[Notice]) -> ast.OnBuild:
    """ONBUILD and its trigger. What BuildKit only finds wrong when the trigger fires is no error here, but a notice."""
    shared = common(lexer)
    head = lexer.head
    if head.end == head.rest:
        raise lexer.wrong("ONBUILD without an instruction", head.start, head.end, "write ONBUILD RUN ...")
    trigger = LineLexer(lexer.source, lexer.line, lexer.escape, head.rest, head.end)
    if (keyword := trigger.keyword.strip(SPACES).upper()) in _NOT_BEHIND_ONBUILD:
        hint = "put it into the Dockerfile that uses this image"
        raise lexer.wrong(f"ONBUILD {keyword} is not allowed", head.rest, head.end, hint)
    bodies = "".join(f"\n{heredoc.raw}{heredoc.name}" for heredoc in lexer.line.heredocs)
    text = _ONBUILD.sub("", shared[1], count=1) + bodies
    # What is wrong with the trigger's words is an error; what is wrong with their meaning is not.
    tokens = list(trigger.tokens()) if trigger.keyword in FORMS else None
    try:
        if tokens is None:
            raise _unknown(trigger)
        return ast.OnBuild(*shared, _built(trigger, tokens), text)
    except DockerfileError as error:
        return _unfit(error, notices, shared, text)


def _unfit(error: DockerfileError, notices: list[Notice], shared: Common, text: str) -> ast.OnBuild:
    hint = f"builds from this image will fail; {error.hint}" if error.hint else "builds from this image will fail"
    notices.append(Notice(error.message, hint, error.span))
    return ast.OnBuild(*shared, None, text)
