"""The one module that imports lark: grammars by name, with a lexer of ours in front of lark's LALR parser."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedToken
from lark.lexer import Lexer

__all__ = ["Grammar", "Token", "Tree", "UnexpectedToken"]

Tokenize = Callable[[Any], Iterable[Token]]


class Grammar:
    """A grammar in this folder, over tokens that `tokenize` makes. Raises UnexpectedToken when they do not fit it."""

    def __init__(self, name: str, tokenize: Tokenize) -> None:
        class _Lexer(Lexer):
            def __init__(self, _: object) -> None:
                pass

            def lex(self, source: object) -> Iterator[Token]:  # type: ignore[override]
                return iter(tokenize(source))

        text = Path(__file__).with_name(name).read_text(encoding="ascii")
        self._lark = Lark(text, parser="lalr", lexer=_Lexer)

    def parse(self, source: object) -> Tree[Token]:
        """The tree of a source that `tokenize` understands."""
        return self._lark.parse(source)
