"""Words: quotes removed and variables replaced, as BuildKit's shell lexer does it. Pure.

The forms: `$x ${x} ${x:-w} ${x-w} ${x:+w} ${x+w} ${x:?w} ${x?w} ${x#p} ${x##p} ${x%p} ${x%%p} ${x/p/r} ${x//p/r}`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import cast

from pybuild.grammar.errors import WordError
from pybuild.grammar.lalr import Grammar, Token, Tree, UnexpectedToken
from pybuild.grammar.source import Source, Span

_NAME = re.compile(r"[^\W\d]\w*|\d+|[@*#?!$-]")
# `##` and `%%` are `#` and `%` with a word that begins with the same character: so says BuildKit's lexer.
_MODIFIERS = (":-", ":+", ":?", "//", "-", "+", "?", "#", "%", "/")

Piece = tuple[str, bool]


def expand(text: str, env: Mapping[str, str], *, escape: str = "\\") -> str:
    """One word with its variables replaced and its quotes removed. Raises WordError with the place in the word."""
    return "".join(piece for piece, _ in _pieces(text, env, escape))


def split(text: str, env: Mapping[str, str], *, escape: str = "\\") -> list[str]:
    """The words that a word becomes when its unquoted blanks, and those in unquoted expansions, split it.

    Nothing is left of an empty word, quoted or not. Raises WordError.
    """
    words = [""]
    for piece, is_split in _pieces(text, env, escape):
        first, *others = re.split(r"\s+", piece) if is_split else [piece]
        words[-1] += first
        words += others
    return [word for word in words if word]


def _pieces(text: str, env: Mapping[str, str], escape: str) -> list[Piece]:
    """The parts of the result, and whether blanks in each split it."""
    if not any(character in text for character in ("$", "'", '"', escape)):
        return [(text, True)]
    try:
        tree = _grammar().parse((text, escape))
        return list(_evaluate(tree, env, text))
    except UnexpectedToken as error:
        token = error.token
        raise _wrong(f"cannot read {text!r}", text, cast(int, token.start_pos or 0), len(text)) from None
    except RecursionError:
        raise _wrong("expansions are nested too deep", text, 0, len(text), "use an ARG for the inner ones") from None


@cache
def _grammar() -> Grammar:
    return Grammar("words.lark", lambda pair: _tokens(*cast("tuple[str, str]", pair)))


def _wrong(message: str, text: str, start: int, end: int, hint: str | None = None) -> WordError:
    return WordError(message, span=Span(1, start + 1, 1, max(end, start + 1) + 1), source=Source("word", text), hint=hint)


# Text to tokens


def _tokens(text: str, escape: str) -> Iterator[Token]:
    return _WordLexer(text, escape).top()


class _WordLexer:
    def __init__(self, text: str, escape: str) -> None:
        self._text = text
        self._escape = escape
        self._position = 0

    def _token(self, kind: str, value: str, start: int) -> Token:
        return Token(kind, value, start_pos=start, line=1, column=start + 1, end_pos=self._position)

    def top(self) -> Iterator[Token]:
        yield from self._bare("")
        if self._position < len(self._text):
            raise AssertionError(self._text)

    def _bare(self, stop: str, *, keep_escapes: bool = False) -> Iterator[Token]:
        """Up to the character `stop`, or the end. Escapes stay in a pattern, where they have a meaning of their own."""
        start, literal = self._position, ""
        while self._position < len(self._text):
            character = self._text[self._position]
            if character == stop:
                break
            if character in "'\"$":
                if literal:
                    yield self._token("TEXT", literal, start)
                literal = ""
                yield from self._special(character, keep_escapes=keep_escapes)
                start = self._position
                continue
            if character == self._escape:
                if literal and not keep_escapes:
                    yield self._token("TEXT", literal, start)
                    start, literal = self._position, ""
                self._position += 1
                literal += character if keep_escapes else ""
                if self._position == len(self._text):
                    break
                character = self._text[self._position]
                self._position += 1
                literal += character
                if not keep_escapes:
                    yield self._token("ESCAPED", literal, start)
                    start, literal = self._position, ""
                continue
            literal += character
            self._position += 1
        if literal:
            yield self._token("TEXT", literal, start)

    def _special(self, character: str, *, keep_escapes: bool) -> Iterator[Token]:
        if character == "'":
            yield from self._single()
        elif character == '"':
            yield from self._double(keep_escapes=keep_escapes)
        else:
            yield from self._variable()

    def _single(self) -> Iterator[Token]:
        start = self._position
        end = self._text.find("'", start + 1)
        if end < 0:
            raise _wrong("a single quote without its end", self._text, start, len(self._text), "close it, or escape it")
        self._position = end + 1
        yield self._token("QUOTE", "'", start)
        yield self._token("TEXT", self._text[start + 1 : end], start + 1)
        yield self._token("QUOTE", "'", end)

    def _double(self, *, keep_escapes: bool) -> Iterator[Token]:
        opening = self._position
        self._position += 1
        yield self._token("QUOTE", '"', opening)
        start, literal = self._position, ""
        while True:
            if self._position >= len(self._text):
                raise _wrong("a double quote without its end", self._text, opening, len(self._text), "close it, or escape it")
            character = self._text[self._position]
            if character == '"':
                break
            if character == "$":
                yield self._token("TEXT", literal, start)
                literal = ""
                yield from self._variable()
                start = self._position
                continue
            following = self._text[self._position + 1 : self._position + 2]
            if character == self._escape:
                literal += character if keep_escapes else ""
                if following and following in ('"', "$", self._escape):
                    character = following
                    self._position += 1
            literal += character
            self._position += 1
        yield self._token("TEXT", literal, start)
        self._position += 1
        yield self._token("QUOTE", '"', self._position - 1)

    def _variable(self) -> Iterator[Token]:
        start = self._position
        if not self._text.startswith("${", start):
            match = _NAME.match(self._text, start + 1)
            self._position = match.end() if match else start + 1
            if match:
                yield self._token("NAME", match[0], start)
            else:
                yield self._token("TEXT", "$", start)
            return
        match = _NAME.match(self._text, start + 2)
        if match is None:
            raise _wrong(
                "${ without a name behind it", self._text, start, start + 2, "write ${NAME}, or \\${ for the text itself"
            )
        self._position = match.end()
        yield self._token("OPEN", "${", start)
        yield self._token("NAME", match[0], start + 2)
        if not self._text.startswith("}", self._position):
            yield from self._modifier(start)
        if not self._text.startswith("}", self._position):
            raise _wrong("${ without a } behind it", self._text, start, len(self._text), "close it with }")
        self._position += 1
        yield self._token("CLOSE", "}", self._position - 1)

    def _modifier(self, opening: int) -> Iterator[Token]:
        start = self._position
        if start >= len(self._text):
            raise _wrong("${ without a } behind it", self._text, opening, len(self._text), "close it with }")
        modifier = next((text for text in _MODIFIERS if self._text.startswith(text, start)), None)
        if modifier is None:
            raise _wrong(
                f"unknown modifier {self._text[start : start + 2]!r}",
                self._text,
                start,
                start + 2,
                "there are :- - :+ + :? ? # ## % %% / //",
            )
        self._position += len(modifier)
        yield self._token("MODIFIER", modifier, start)
        if modifier not in ("/", "//"):
            yield from self._bare("}", keep_escapes=modifier in ("#", "%"))
            return
        yield from self._bare("/", keep_escapes=True)
        slash = self._position
        if not self._text.startswith("/", slash):
            raise _wrong(
                f"${{x{modifier} without a second /", self._text, opening, slash, f"write ${{NAME{modifier}PATTERN/TEXT}}"
            )
        self._position += 1
        yield self._token("SLASH", "/", slash)
        yield from self._bare("}", keep_escapes=True)


# Tree to text


def _evaluate(tree: Tree[Token], env: Mapping[str, str], text: str) -> Iterator[Piece]:
    for child in tree.children:
        if isinstance(child, Token):
            yield str(child), child.type == "TEXT"
        elif child.data == "quoted":
            for inner in child.children:
                if isinstance(inner, Token):
                    if inner.type == "TEXT":
                        yield str(inner), False
                else:
                    yield _value(inner, env, text), False
        else:
            yield _value(child, env, text), True


def _value(tree: Tree[Token], env: Mapping[str, str], text: str) -> str:
    parts = [child for child in tree.children if child is not None]
    names = [part for part in parts if isinstance(part, Token)]
    name = next(str(token) for token in names if token.type == "NAME")
    modifier = next((str(token) for token in names if token.type == "MODIFIER"), "")
    operands = [part for part in parts if isinstance(part, Tree)]
    value = env.get(name)
    place = cast(int, names[0].start_pos), cast(int, names[-1].end_pos)
    if not modifier:
        return value or ""
    word = "".join(piece for piece, _ in _evaluate(operands[0], env, text)) if operands else ""
    is_there = bool(value) if modifier.startswith(":") else value is not None
    match modifier[-1]:
        case "-":
            return (value or "") if is_there else word
        case "+":
            return word if is_there else ""
        case "?":
            if not is_there:
                message = word or ("is empty" if value == "" else "is not set")
                hint = f"give it a value: ARG {name}=..., or --build-arg {name}=..."
                raise _wrong(f"{name}: {message}", text, *place, hint)
            return value or ""
    try:
        if modifier in ("#", "%"):
            longest = word.startswith(modifier)
            cut = _without_prefix if modifier == "#" else _without_suffix
            return cut(value or "", word.removeprefix(modifier), longest=longest)
        replacement = "".join(piece for piece, _ in _evaluate(operands[1], env, text))
        return _replaced(value or "", word, replacement, everywhere=modifier == "//")
    except ValueError as error:
        raise _wrong(str(error), text, *place, "in a pattern only * ? \\ / and } are escaped") from None


def _replaced(value: str, pattern: str, replacement: str, *, everywhere: bool) -> str:
    parts: list[str] = []
    end = 0
    for match in re.finditer(_regex(pattern, greedy=True), value):
        # Go leaves out an empty match that touches the one before it.
        if parts and match.start() == match.end() == end:
            continue
        parts += [value[end : match.start()], replacement]
        end = match.end()
        if not everywhere:
            break
    return "".join((*parts, value[end:]))


def _without_prefix(value: str, pattern: str, *, longest: bool) -> str:
    match = re.match(_regex(pattern, greedy=longest), value)
    return value[match.end() :] if match else value


def _without_suffix(value: str, pattern: str, *, longest: bool) -> str:
    expression = re.compile(_regex(pattern, greedy=True) + r"\Z")
    starts = range(len(value) + 1) if longest else range(len(value), -1, -1)
    for start in starts:
        if expression.match(value, start):
            return value[:start]
    return value


def _regex(pattern: str, *, greedy: bool) -> str:
    """The expression for a pattern of `*`, `?` and escapes. Raises ValueError for an escape that means nothing."""
    parts: list[str] = []
    star = ".*" if greedy else ".*?"
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "*":
            if parts[-1:] != [star]:
                parts.append(star)
        elif character == "?":
            parts.append(".")
        elif character == "\\":
            position += 1
            escaped = pattern[position : position + 1]
            if not escaped or escaped not in "*?\\/}":
                raise ValueError(f"\\{escaped} means nothing in a pattern")
            parts.append(re.escape(escaped))
        else:
            parts.append(re.escape(character))
        position += 1
    return "".join(parts)
