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

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9]+|[@*#?!$-]")
_MODIFIERS = (":-", ":+", ":?", "##", "%%", "//", "-", "+", "?", "#", "%", "/")
_BLANKS = " \t\n"

Piece = tuple[str, bool]


def expand(text: str, env: Mapping[str, str], *, escape: str = "\\") -> str:
    """One word with its variables replaced and its quotes removed. Raises WordError with the place in the word."""
    return "".join(piece for piece, _ in _pieces(text, env, escape))


def split(text: str, env: Mapping[str, str], *, escape: str = "\\") -> list[str]:
    """The words that a word becomes when blanks in unquoted expansions split it. Raises WordError."""
    words: list[str] = []
    current: str | None = None
    for piece, is_split in _pieces(text, env, escape):
        if not is_split:
            current = (current or "") + piece
            continue
        parts = re.split(r"[ \t\n]+", piece)
        for place, part in enumerate(parts):
            if place and current is not None:
                words.append(current)
                current = None
            if part:
                current = (current or "") + part
    if current is not None:
        words.append(current)
    return words


def _pieces(text: str, env: Mapping[str, str], escape: str) -> list[Piece]:
    """The parts of the result, and whether blanks in each come from an unquoted expansion."""
    if not any(character in text for character in ("$", "'", '"', escape)):
        return [(text, False)]
    try:
        tree = _grammar().parse((text, escape))
    except UnexpectedToken as error:
        token = error.token
        raise _wrong(f"cannot read {text!r}", text, cast(int, token.start_pos or 0), len(text)) from None
    return list(_evaluate(tree, env, text))


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

    def _bare(self, stops: str) -> Iterator[Token]:
        """Up to one of the characters in `stops`, or the end."""
        start, literal = self._position, ""
        while self._position < len(self._text):
            character = self._text[self._position]
            if character in stops:
                break
            if character in "'\"$":
                if literal:
                    yield self._token("TEXT", literal, start)
                literal = ""
                yield from self._special(character, in_quotes=False)
                start = self._position
                continue
            if character == self._escape:
                self._position += 1
                if self._position == len(self._text):
                    break
                character = self._text[self._position]
            literal += character
            self._position += 1
        if literal:
            yield self._token("TEXT", literal, start)

    def _special(self, character: str, *, in_quotes: bool) -> Iterator[Token]:
        if character == "'":
            yield from self._single()
        elif character == '"':
            yield from self._double()
        else:
            yield from self._variable(in_quotes)

    def _single(self) -> Iterator[Token]:
        start = self._position
        end = self._text.find("'", start + 1)
        if end < 0:
            raise _wrong("a single quote without its end", self._text, start, len(self._text), "close it, or escape it")
        self._position = end + 1
        yield self._token("QUOTE", "'", start)
        yield self._token("TEXT", self._text[start + 1 : end], start + 1)
        yield self._token("QUOTE", "'", end)

    def _double(self) -> Iterator[Token]:
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
                yield from self._variable(in_quotes=True)
                start = self._position
                continue
            following = self._text[self._position + 1 : self._position + 2]
            if character == self._escape and following and following in ('"', "$", self._escape):
                character = following
                self._position += 1
            literal += character
            self._position += 1
        yield self._token("TEXT", literal, start)
        self._position += 1
        yield self._token("QUOTE", '"', self._position - 1)

    def _variable(self, in_quotes: bool) -> Iterator[Token]:
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
            yield from self._bare("}")
            return
        yield from self._bare("/}")
        slash = self._position
        if not self._text.startswith("/", slash):
            raise _wrong(
                f"${{x{modifier} without a second /", self._text, opening, slash, f"write ${{NAME{modifier}PATTERN/TEXT}}"
            )
        self._position += 1
        yield self._token("SLASH", "/", slash)
        yield from self._bare("}")


# Tree to text


def _evaluate(tree: Tree[Token], env: Mapping[str, str], text: str) -> Iterator[Piece]:
    for child in tree.children:
        if isinstance(child, Token):
            yield str(child), False
        elif child.data == "quoted":
            # An empty quoted word is a word all the same.
            yield "", False
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
                raise _wrong(
                    f"{name}: {message}", text, 0, len(text), f"give it a value: ARG {name}=..., or --build-arg {name}=..."
                )
            return value or ""
        case "#":
            return _without_prefix(value or "", word, longest=modifier == "##")
        case "%":
            return _without_suffix(value or "", word, longest=modifier == "%%")
    replacement = "".join(piece for piece, _ in _evaluate(operands[1], env, text))
    expression = _regex(word, greedy=True)
    return re.sub(expression, lambda _: replacement, value or "", count=0 if modifier == "//" else 1, flags=re.DOTALL)


def _without_prefix(value: str, pattern: str, *, longest: bool) -> str:
    match = re.match(_regex(pattern, greedy=longest), value, re.DOTALL)
    return value[match.end() :] if match else value


def _without_suffix(value: str, pattern: str, *, longest: bool) -> str:
    expression = re.compile(_regex(pattern, greedy=True) + r"\Z", re.DOTALL)
    starts = range(len(value) + 1) if longest else range(len(value), -1, -1)
    for start in starts:
        if expression.match(value, start):
            return value[:start]
    return value


def _regex(pattern: str, *, greedy: bool) -> str:
    parts = []
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "*":
            parts.append(".*" if greedy else ".*?")
        elif character == "?":
            parts.append(".")
        elif character == "\\" and position + 1 < len(pattern):
            position += 1
            parts.append(re.escape(pattern[position]))
        else:
            parts.append(re.escape(character))
        position += 1
    return "".join(parts)
