"""Words: quotes removed and variables replaced, as BuildKit's shell lexer does it. Pure.

The forms: `$x ${x} ${x:-w} ${x-w} ${x:+w} ${x+w} ${x:?w} ${x?w} ${x#p} ${x##p} ${x%p} ${x%%p} ${x/p/r} ${x//p/r}`.

    >>> expand("${file%.*}-$V", {"file": "lib.so", "V": "1"})
    'lib-1'
    >>> split("$ports 90", {"ports": "80 81/udp"})
    ['80', '81/udp', '90']
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cache

from pybuild.grammar.blanks import SPACES
from pybuild.grammar.lalr import Grammar, Token, Tree
from pybuild.grammar.patterns import replaced, without_prefix, without_suffix
from pybuild.grammar.wordlexer import Mode, tokens, wrong
from pybuild.hints import cast
from pybuild.values import frozen

_SPACES = re.compile(f"[{SPACES}]+")


@frozen
class Piece:
    """A part of the result: `is_split` if blanks in it end a word, and where in the text it comes from.

    `forgets`: what stands before it in the same word is lost when words are split. BuildKit has one buffer for a word and for
    those inside its modifiers, so `a${x:-b}` splits into `b`.
    """

    text: str
    is_split: bool
    start: int
    end: int
    forgets: bool = False


def expand(text: str, env: Mapping[str, str], *, escape: str = "\\") -> str:
    """One word with its variables replaced and its quotes removed.

    Raises WordError with the place in the word: a quote or `${` without its end, an unknown modifier, `${x:?word}` without x,
    a pattern that means nothing. Every name is looked up with `env.get`, also in a default that is not needed.
    Source: BuildKit, shell/lex.go, ProcessWord.
    """
    return "".join(piece.text for piece in pieces(text, env, Mode(escape)))


def split(text: str, env: Mapping[str, str], *, escape: str = "\\") -> list[str]:
    """The words that a text becomes when its unquoted blanks, and those in unquoted expansions, split it, as EXPOSE's do.

    Nothing is left of an empty word, quoted or not. Raises WordError as `expand` does.
    Source: BuildKit, shell/lex.go, ProcessWords.
    """
    return [word for word, _, _ in placed_words(pieces(text, env, Mode(escape)))]


def expand_text(text: str, env: Mapping[str, str]) -> str:
    """The body of a here-document in COPY or ADD: as `expand`, but quotes are text, and the escape is always the backslash."""
    return "".join(piece.text for piece in pieces(text, env, Mode(has_quotes=False)))


def placed_words(found: list[Piece]) -> list[tuple[str, int, int]]:
    """The words that pieces make, each with the offsets of its first and last piece."""
    words: list[tuple[str, int, int]] = []
    parts: list[str] = []
    start = end = 0

    def finish() -> None:
        if word := "".join(parts):
            words.append((word, start, end))
        parts.clear()

    for piece in found:
        if piece.forgets:
            parts.clear()
        for place, part in enumerate(_SPACES.split(piece.text) if piece.is_split else (piece.text,)):
            if place:
                finish()
            if part:
                start = start if parts else piece.start
                end = piece.end
                parts.append(part)
    finish()
    return words


def pieces(text: str, env: Mapping[str, str], mode: Mode, *, keeps_unset: bool = False) -> list[Piece]:
    """The parts of the result; with `keeps_unset` a variable without a value stays as it is written. Raises WordError."""
    specials = ("$", "<<", mode.escape, "'", '"') if mode.has_quotes else ("$", "<<", mode.escape)
    if not any(special in text for special in specials):
        return [Piece(text.removeprefix("\ufeff"), True, 0, len(text))]
    tree = _grammar().parse((text, mode))
    evaluation = _Evaluation(text, env, mode, keeps_unset)
    # From the inside out, and not by recursion: expansions may be nested as deep as somebody likes.
    for subtree in tree.iter_subtrees():
        evaluation.add(subtree)
    return evaluation.of(tree)


@cache
def _grammar() -> Grammar:
    return Grammar("words.lark", lambda pair: tokens(*cast("tuple[str, Mode]", pair)))


class _Evaluation:
    """The pieces of each part of a tree, by the tree's identity; what is inside comes first."""

    def __init__(self, text: str, env: Mapping[str, str], mode: Mode, keeps_unset: bool) -> None:
        self._text = text
        self._env = env
        self._mode = mode
        self._keeps_unset = keeps_unset
        self._pieces: dict[int, list[Piece]] = {}

    def of(self, tree: Tree[Token]) -> list[Piece]:
        return self._pieces[id(tree)]

    def add(self, tree: Tree[Token]) -> None:
        self._pieces[id(tree)] = _RULES[str(tree.data)](self, tree)

    def word(self, tree: Tree[Token]) -> list[Piece]:
        found: list[Piece] = []
        for child in tree.children:
            if isinstance(child, Token):
                found.append(Piece(str(child), child.type == "TEXT", cast(int, child.start_pos), cast(int, child.end_pos)))
            else:
                found += self._pieces.pop(id(child))
        return found

    def quoted(self, tree: Tree[Token]) -> list[Piece]:
        opening, *inside, closing = tree.children
        parts: list[str] = []
        forgets = False
        for child in inside:
            if isinstance(child, Token):
                parts.append(str(child))
            else:
                (piece,) = self._pieces.pop(id(child))
                parts.append(piece.text)
                forgets = forgets or piece.forgets
        quote = '"' if self._mode.keeps_quotes else ""
        start, end = cast(Token, opening).start_pos, cast(Token, closing).end_pos
        return [Piece(f"{quote}{''.join(parts)}{quote}", False, cast(int, start), cast(int, end), forgets)]

    def variable(self, tree: Tree[Token]) -> list[Piece]:
        children = [child for child in tree.children if child is not None]
        named = [child for child in children if isinstance(child, Token)]
        name = next(str(token) for token in named if token.type == "NAME")
        modifier = next((str(token) for token in named if token.type == "MODIFIER"), "")
        operands = ["".join(piece.text for piece in self._pieces.pop(id(child))) for child in children if isinstance(child, Tree)]
        start, end = cast(int, named[0].start_pos), cast(int, named[-1].end_pos)
        value = self._env.get(name)
        if value is None and self._keeps_unset:
            bare = f"${name}" if len(named) == 1 else f"${{{name}{modifier}{'/'.join(operands)}}}"
            return [Piece(bare, True, start, end, bool(modifier))]
        if not modifier:
            return [Piece(value or "", True, start, end)]
        try:
            result = _MODIFIED[modifier](value, operands)
        except KeyError:
            hint = "there are :- - :+ + :? ? # ## % %% / //"
            place = start + 2 + len(name)
            raise wrong(f"unknown modifier {modifier!r}", self._text, place, place + len(modifier), hint) from None
        except _Missing as error:
            hint = f"give it a value: ARG {name}=..., or --build-arg {name}=..."
            raise wrong(f"{name}: {error}", self._text, start, end, hint) from None
        except ValueError as error:
            raise wrong(str(error), self._text, start, end, "in a pattern only * ? \\ / and } are escaped") from None
        return [Piece(result, True, start, end, True)]


_RULES: dict[str, Callable[[_Evaluation, Tree[Token]], list[Piece]]] = {
    "start": _Evaluation.word,
    "quoted": _Evaluation.quoted,
    "variable": _Evaluation.variable,
}


class _Missing(Exception):
    """`${x?word}` without a value: it says the word, or what is wrong."""


def _required(value: str | None, word: str, *, is_colon: bool) -> str:
    if value is None or (is_colon and not value):
        raise _Missing(word or ("is not set" if value is None else "is empty"))
    return value


def _trimmed(value: str | None, pattern: str, mark: str) -> str:
    # `##` and `%%` are `#` and `%` with a pattern that begins with the same character, wherever it comes from.
    cut = without_prefix if mark == "#" else without_suffix
    return cut(value or "", pattern.removeprefix(mark), longest=pattern.startswith(mark))


_Modified = Callable[[str | None, list[str]], str]

_MODIFIED: dict[str, _Modified] = {
    ":-": lambda value, words: value or words[0],
    "-": lambda value, words: words[0] if value is None else value,
    ":+": lambda value, words: words[0] if value else "",
    "+": lambda value, words: "" if value is None else words[0],
    ":?": lambda value, words: _required(value, words[0], is_colon=True),
    "?": lambda value, words: _required(value, words[0], is_colon=False),
    "#": lambda value, words: _trimmed(value, words[0], "#"),
    "%": lambda value, words: _trimmed(value, words[0], "%"),
    "/": lambda value, words: replaced(value or "", words[0], words[1], everywhere=False),
    "//": lambda value, words: replaced(value or "", words[0], words[1], everywhere=True),
}
