"""The one module that imports lark: grammars by name, with a lexer of ours in front of lark's LALR parser.

Reading a grammar costs lark about 30 ms, most of it for its own language of grammars; reading the tables that come out costs a
few. So the tables lie beside each grammar, as a stamp and JSON. They count only for the grammar's very text and for the version
of lark that made them; otherwise the text is read. `python -m pybuild.grammar.lalr` writes them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from lark import Lark, Token, Tree, __version__
from lark.exceptions import UnexpectedToken
from lark.lexer import Lexer

from pybuild.hints import Any, cast

__all__ = ["Grammar", "Token", "Tree", "UnexpectedToken"]

Tokenize = Callable[[Any], Iterable[Token]]
GRAMMARS = ("dockerfile.lark", "words.lark")


class Grammar:
    """A grammar in this folder, over tokens that `tokenize` makes. Raises UnexpectedToken when they do not fit it."""

    def __init__(self, name: str, tokenize: Tokenize, *, from_text: bool = False) -> None:
        class _Lexer(Lexer):
            def __init__(self, _: object) -> None:
                pass

            def lex(self, source: object) -> Iterator[Token]:  # type: ignore[override]
                return iter(tokenize(source))

        tables = None if from_text else _read_tables(name)
        if tables is None:
            self._lark = Lark(_path(name).read_text(encoding="ascii"), parser="lalr", lexer=_Lexer)
        else:
            tables["data"]["options"]["lexer"] = tables["data"]["parser"]["lexer_conf"]["lexer_type"] = _Lexer
            self._lark = Lark.load(cast(Any, tables))

    def parse(self, source: object) -> Tree[Token]:
        """The tree of a source that `tokenize` understands."""
        return self._lark.parse(cast(str, source))


def _path(name: str) -> Path:
    return Path(__file__).with_name(name)


def _stamp(name: str) -> str:
    """What tables have to be made of: this version of lark, and the text of the grammar as it is now."""
    return f"lark {__version__} sha256:{hashlib.sha256(_path(name).read_bytes()).hexdigest()}"


def _read_tables(name: str) -> dict[str, Any] | None:
    try:
        text = _path(name).with_suffix(".tables").read_text(encoding="ascii")
    except FileNotFoundError:
        return None
    # The stamp is the first line, so that tables which do not count are not read either.
    stamp, _, tables = text.partition("\n")
    if stamp != _stamp(name):
        return None
    return cast("dict[str, Any]", json.loads(tables, object_pairs_hook=_with_numbers))


def _with_numbers(pairs: list[tuple[str, Any]]) -> dict[Any, Any]:
    # lark's tables are numbered, and JSON has no numbers for names.
    return {int(name) if name.isdigit() else name: value for name, value in pairs}


def write_tables(name: str) -> None:
    """Write the tables of a grammar beside it."""
    from lark.grammar import Rule
    from lark.lexer import TerminalDef

    grammar = Grammar(name, lambda _: (), from_text=True)
    data, memo = grammar._lark.memo_serialize([TerminalDef, Rule])
    data["options"]["lexer"] = data["parser"]["lexer_conf"]["lexer_type"] = None
    text = json.dumps({"data": data, "memo": memo}, separators=(",", ":"))
    _path(name).with_suffix(".tables").write_text(f"{_stamp(name)}\n{text}\n", encoding="ascii")


if __name__ == "__main__":
    for each in GRAMMARS:
        write_tables(each)
